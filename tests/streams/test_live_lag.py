"""How far each colo has come."""

from streams.live.partition import Partition
from tests.samples import Row, columns, gauge, sample, stage
from tests.streams.living import group


def told(*rows: Row) -> dict[str, int]:
    partition = Partition()
    partition.announce([group(gauge("cpu"), stages=[stage({"host": "a"})])])
    partition.push(columns(rows), 0)
    return partition.newest_by_colo()


def cpu(tick: int, host: str, colo: str) -> Row:
    return sample(tick, "cpu", 1.0, host=host, colo=colo, early_ms=0)


def test_each_colo_has_its_own_time() -> None:
    rows = [cpu(2, "a", "ams01"), cpu(3, "b", "fra02")]
    assert told(*rows) == {"ams01": 20_000, "fra02": 30_000}


def test_one_clock_that_runs_ahead_does_not_make_a_colo_look_fresh() -> None:
    rows = [cpu(2, "a", "ams01"), cpu(3, "b", "ams01"), cpu(363, "c", "ams01")]
    assert told(*rows) == {"ams01": 30_000}


def test_before_anything_came_there_are_none() -> None:
    partition = Partition()
    assert partition.newest_by_colo() == {}
    partition.announce([group(gauge("cpu"), stages=[stage({"host": "a"})])])
    assert partition.newest_by_colo() == {}
