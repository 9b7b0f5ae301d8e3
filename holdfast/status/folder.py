"""The last snapshot as files, which any web server can hand out when everything else is down."""

from pathlib import Path
from typing import Final

import msgspec

from holdfast.errors import BadInput
from holdfast.files import write_whole
from holdfast.status.site import Site
from holdfast.status.snapshot import Public

INCIDENTS: Final = "incidents"
JSON: Final = "status.json"


class Folder:
    """A folder of public pages. Each file is written aside and renamed; the first page comes last.

    Parameters
    ----------
    path
        It is made if there is none.

    Raises
    ------
    BadInput
        If it cannot be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: dict[str, bytes] = {}
        try:
            (path / INCIDENTS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"{path}: cannot be made: {error.strerror or error}; allowed: a folder that may be written to"
            raise BadInput(message) from error

    def read(self) -> Public | None:
        """Return what the files say; None if there are none that can be read."""
        try:
            return msgspec.json.decode((self._path / JSON).read_bytes(), type=Public)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def write(self, site: Site) -> int:
        """Write what has changed, and return how many files that is.

        Files of incidents that are no longer told of stay: their addresses were given away.

        Raises
        ------
        BadInput
            If a file cannot be written.
        """
        count = 0
        for place, content in site.files():
            if self._written.get(place) == content:
                continue
            file = self._path / place
            try:
                file.parent.mkdir(exist_ok=True)
            except OSError as error:
                message = f"{file.parent}: cannot be made: {error.strerror or error}"
                raise BadInput(message) from error
            write_whole(file, content)
            self._written[place] = content
            count += 1
        return count
