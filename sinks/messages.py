"""A message as it stands on a topic: key, value and headers, whichever client carries it."""

from dataclasses import dataclass

from detectors.errors import BadInput


@dataclass(frozen=True, slots=True)
class Message:
    """A message without its place."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]

    def header(self, name: str) -> bytes | None:
        """Return the value of a header, or None if there is none of that name.

        Raises
        ------
        BadInput
            If there are several: which of them counts must not depend on who reads.
        """
        found = [value for key, value in self.headers if key == name]
        if len(found) > 1:
            message = f"header {name}: found {len(found)} times; allowed: once"
            raise BadInput(message)
        return found[0] if found else None
