"""A recording without samples of its own: `source.yaml` says where they are, and opening it reads them."""

import logging
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Final

from holdfast.errors import BadInput
from holdfast.recording.document import FILE, load_source
from holdfast.recording.folder import Show
from holdfast.recording.metrics import write
from holdfast.recording.record import gathered, nothing
from streams.recording import MetricsFile

_NO_GAP_MS: Final = 1 << 62

log = logging.getLogger(__name__)


class Drawn(MetricsFile):
    """Samples of a source, drawn once into a temporary file, from which they are read as often as wanted.

    What is read later is so the same each time, whatever happens to the source; and it is what `holdfast record` would
    have written. The file is there as long as this is.

    Parameters
    ----------
    folder
        The recording.
    show
        Is told how far it has come.

    Raises
    ------
    BadInput
        If the document or the source is not as it should be, or has no sample that could be judged.
    Unreachable, StoreError
        If the source does not answer.
    """

    def __init__(self, folder: Path, show: Show = lambda *_: None) -> None:
        document = folder / FILE
        source = load_source(document)
        place = Path(tempfile.mkdtemp(prefix="holdfast-"))
        weakref.finalize(self, shutil.rmtree, place, ignore_errors=True)
        gathering, name, lost, notes = gathered(source, place, show)
        path = place / "metrics.parquet"
        written = write(
            gathering,
            path,
            gap_ms=_NO_GAP_MS,
            compression="lz4",
            show=lambda done, total: show("writing", done, total),
        )
        if written is None:
            message = f"{document}: {nothing(name, source, gathering, dict(gathering.left_out), lost)}"
            raise BadInput(message)
        for reason, count in lost.items():
            log.warning("%s: lost: %d %s", document, count, reason)
        for note in notes:
            log.warning("%s: %s", document, note)
        super().__init__(path)
        self.name = str(document)
