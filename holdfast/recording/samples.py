"""The samples of a recording's folder, wherever they are."""

from pathlib import Path

from detectors.errors import BadInput
from holdfast.recording.folder import Show
from streams.recording import MetricsFile, Source


def samples_of(path: Path, show: Show = lambda *_: None) -> Source:
    """Open the metrics of a recording folder: its own, or those that its `source.yaml` describes."""
    described = path / "source.yaml"
    if not described.exists():
        return MetricsFile(path / "metrics.parquet")
    if (path / "metrics.parquet").exists():
        msg = f"{described}: found beside metrics.parquet; allowed: one of them, as both say what the samples are"
        raise BadInput(msg)
    from holdfast.recording.direct import Drawn

    return Drawn(path, show)
