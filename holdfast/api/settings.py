"""Settings of the HTTP API and of the webhooks that it sends."""

from ipaddress import ip_address
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct, field

from detectors.policy import Name, duration_ms
from detectors.verdict import Action
from holdfast.live.durations import between
from holdfast.located import Place, Problems, join, quoted

WEBHOOKS_MAX: Final = 50
"""Most targets: each has a thread and a consumer of its own."""

DELIVERY_MS_MAX: Final = 240_000
"""Longest that one event may be tried for: a consumer group gives up on a member that is away for longer."""

PathText = Annotated[str, Meta(min_length=1, extra={"allowed": "the path of a file"})]


def is_loopback(host: str) -> bool:
    """Tell whether a host can only be this machine.

    Examples
    --------
    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "127.0.0.1.example.com")]
    [True, True, True, False, False]
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def target(url: str) -> None:
    """Check that an address may be sent to: by https, or by http to this machine.

    Raises
    ------
    ValueError
        If it may not.
    """
    allowed = "allowed: https://HOST/PATH, or http:// to this machine, without a user, a fragment or blanks"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(allowed) from error
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host or ""))
    if not host or not is_safe or "@" in parts.netloc or parts.fragment or port == 0:
        raise ValueError(allowed)


class Webhook(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where events are sent, what of them, and how long that is tried.

    `secret` is a file with one secret, or two while they are changed.
    """

    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=50,
            pattern="^[a-z0-9-]+$",
            extra={"allowed": "1 to 50 small letters, digits and hyphens"},
        ),
    ]
    url: Annotated[
        str,
        Meta(
            max_length=2_000, pattern=r"^[!-~]+$", extra={"allowed": "an address in printable ASCII", "parse": target}
        ),
    ]
    secret: PathText
    actions: Annotated[list[Action], Meta(min_length=1, max_length=4)] = field(
        default_factory=lambda: ["advance", "wait", "halt", "revert"]
    )
    attempts: Annotated[int, Meta(ge=1, le=20)] = 6
    timeout: Annotated[str, between("100ms", "1m")] = "10s"
    backoff: Annotated[str, between("10ms", "1m")] = "1s"
    backoff_max: Annotated[str, between("10ms", "2m")] = "30s"

    @property
    def delivery_ms_max(self) -> int:
        """The longest that one event can be tried for."""
        first, longest = duration_ms(self.backoff), duration_ms(self.backoff_max)
        pauses = sum(min(longest, first << number) for number in range(self.attempts - 1))
        return self.attempts * duration_ms(self.timeout) + pauses


class Api(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where `holdfast serve` listens, whom it lets in, and its bounds; port 0 is any free one."""

    host: Name = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 9480
    tokens: PathText | None = None
    open_probes: bool = False
    certificate: PathText | None = None
    key: PathText | None = None
    body_bytes_max: Annotated[int, Meta(ge=1_000, le=64_000_000)] = 8_000_000
    requests_max: Annotated[int, Meta(ge=1, le=1_000)] = 32
    timeout: Annotated[str, between("100ms", "10m")] = "30s"
    stale_after: Annotated[str, between("1s", "1h")] = "60s"
    history: Annotated[str, between("1m", "366d")] = "7d"
    webhooks: Annotated[list[Webhook], Meta(max_length=WEBHOOKS_MAX)] = []

    @property
    def is_open(self) -> bool:
        """Whether everybody on this machine is let in."""
        return self.tokens is None


def api_rules(document: Place, problems: Problems) -> None:
    """Note what the section says that does not fit together, though each key by itself may be right."""
    api = document.child("api")
    if api is None:
        return
    host, tokens = api.child("host"), api.child("tokens")
    if host is not None and tokens is None and host.string() is not None and not is_loopback(host.string() or ""):
        text = (
            f"found {quoted(host.string() or '')} without api.tokens; allowed: this machine alone, or a file of tokens"
        )
        problems.add(host, "api.host", text)
    certificate, key = api.child("certificate"), api.child("key")
    if (certificate is None) != (key is None):
        problems.add(certificate or key or api, "api.certificate", "allowed: certificate and key together, or neither")
    bearers: dict[str, str] = {}
    webhooks = api.child("webhooks")
    for index, each in enumerate(webhooks.items() if webhooks else []):
        path = join("api.webhooks", index)
        name = each.child("name")
        bearer = name.string() if name else None
        if name is not None and bearer is not None:
            if bearer in bearers:
                found = f"found {quoted(bearer)}, the name of {bearers[bearer]} too; allowed: each name once"
                problems.add(name, f"{path}.name", found)
            bearers.setdefault(bearer, path)
        _delivery(each, path, problems)


def _delivery(webhook: Place, path: str, problems: Problems) -> None:
    """Note a target that one event could be tried on for too long."""
    given = webhook.mapping()
    keys = ("attempts", "timeout", "backoff", "backoff_max")
    told: dict[str, object] = {key: given[key].value for key in keys if key in given}
    try:
        named: dict[str, object] = {"name": "x", "url": "https://x", "secret": "x"}
        tried = msgspec.convert(named | told, Webhook)
        longest = tried.delivery_ms_max
    except (msgspec.ValidationError, ValueError):
        return  # has an error of its own
    if longest > DELIVERY_MS_MAX:
        text = f"one event could be tried for {longest / 1_000:g} s; allowed: at most {DELIVERY_MS_MAX // 1_000} s"
        problems.add(webhook, path, f"{text} (attempts x timeout, and the pauses between them)")
