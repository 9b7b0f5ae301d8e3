"""How often somebody may ask for something: counted in a sliding window, for a bounded number of names."""

from collections import OrderedDict, deque
from ipaddress import IPv6Address, ip_address
from typing import Final

NAMES_MAX: Final = 10_000
"""Most names that are counted; of those beyond them whoever asked longest ago is forgotten."""


class Limit:
    """Lets through so many in a time.

    Parameters
    ----------
    most
        How many.
    window_s
        In which time, in seconds.
    """

    def __init__(self, most: int, window_s: float) -> None:
        self._most, self._window_s = most, window_s
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()

    def passes(self, name: str, now_s: float) -> bool:
        """Tell whether one more of that name is let through, and count it if so."""
        seen = self._seen.pop(name, None) or deque(maxlen=self._most)
        self._seen[name] = seen
        while len(self._seen) > NAMES_MAX:
            self._seen.popitem(last=False)
        if len(seen) == self._most and now_s - seen[0] < self._window_s:
            return False
        seen.append(now_s)
        return True


def network(host: str) -> str:
    """Return what all clients have in common that one person may well have: of IPv6 it is a /64.

    Examples
    --------
    >>> network("203.0.113.7"), network("2001:db8:1:2:3:4:5:6"), network("::ffff:203.0.113.7"), network("testclient")
    ('203.0.113.7', '2001:db8:1:2::', '203.0.113.7', 'testclient')
    """
    try:
        found = ip_address(host)
    except ValueError:
        return host[:64]
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Address(int(found) >> 64 << 64))
