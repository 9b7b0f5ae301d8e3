"""What the tests of recording share: a small fleet, and what came of recording it from somewhere."""

import sys
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holdfast.cli import main
from holdfast.recording.document import Source
from holdfast.recording.documents import Documents, from_files
from holdfast.recording.record import Recorded, described, lay, record
from holdfast.replaying import replay_recording
from streams.fleet import Fleet, write

FLEET = Fleet(
    seed=3, colos=3, hosts=4, canary_hosts=1, regions=2, pre_ticks=40, live_ticks=30, scenario="errors", onset_ticks=4
)


def made(folder: Path) -> Path:
    """Simulate the fleet."""
    path = folder / "bots"
    write(FLEET, path)
    return path


def documents(recording: Path) -> Documents:
    return from_files(recording / "rollout.yaml", recording / "policy.yaml", recording / "truth.yaml", [])


def recorded(out: Path, source: Source, recording: Path) -> Recorded:
    """Record a source beside the documents of the recording that is in it."""
    return record(out, source, documents(recording))


def verdicts(recording: Path) -> bytes:
    """Judge a recording; the same verdicts are the same bytes."""
    return msgspec.json.encode(replay_recording(recording).verdicts)


def directly(folder: Path, source: Source, recording: Path) -> bytes:
    """Judge a recording without samples of its own."""
    lay(folder / "direct", source, documents(recording))
    assert (folder / "direct" / "source.yaml").read_bytes() == described(source)
    return verdicts(folder / "direct")


def canonical(metrics: Path) -> pa.Table:
    """Return samples in the order that recordings have, whatever types their labels have."""
    table = pq.read_table(metrics)
    names = ["time", "value", *sorted(set(table.schema.names) - {"time", "value"})]
    texts = {name: table[name].cast(pa.string()) for name in names[2:]}
    plain = pa.table({"time": table["time"], "value": table["value"], **texts})
    return plain.sort_by([("time", "ascending"), *((name, "ascending") for name in names[2:])])


class Shell:
    """Runs the command line in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Run a command; return its exit status, output and errors."""
        self._monkeypatch.setattr(sys, "argv", ["holdfast", *words])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = self._capsys.readouterr()
        return int(str(left.value.code)), out, err
