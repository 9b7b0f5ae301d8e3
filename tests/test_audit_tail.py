"""The end of an audit log, taken for the whole where nothing but its head is needed; without a broker."""

import pytest

from holdfast.control.audit_log import _tail
from rollouts.audit import Chain, Record, hash_of, verify
from tests.overrides import HERE, Log


def records(log: Log, first: int = 0) -> list[Record]:
    return [Record(raw=raw, offset=offset) for offset, raw in enumerate(log.raws)][first:]


def long_log(entries: int = 20) -> Log:
    log = Log()
    for number in range(entries):
        log.put("test.entry", {"number": number})
    return log


def test_what_follows_a_tail_follows_the_whole_log() -> None:
    log = long_log()
    chain = _tail(records(log, 12), HERE)
    assert chain is not None
    assert chain.head == log.chain().head
    _, raw = chain.following(time=log.chain().links[0].entry.time, who="ada", kind="test.entry", subject="", body={})
    assert verify([*log.raws, raw], HERE) is None


def broken(what: str) -> list[Record]:
    log = long_log()
    match what:
        case "junk":
            log.raws[-1] = b"junk"
        case "junk at the beginning":
            log.raws[12] = b"junk"
        case "hole":
            del log.raws[15]
        case "changed":
            log.raws[15] = log.raws[15].replace(b'"number":15', b'"number":99')
        case "doubled":
            log.raws.append(log.raws[15])
        case "reordered":
            log.raws[15], log.raws[16] = log.raws[16], log.raws[15]
        case "forked":
            other = long_log(16)
            other.put("test.entry", {"number": "another"})
            log.raws.append(other.raws[-1])
        case "one entry":
            return records(log, 19)
        case _:
            return []
    return records(log, 12)


@pytest.mark.parametrize(
    "what",
    ["junk", "junk at the beginning", "hole", "changed", "doubled", "reordered", "forked", "one entry", "nothing"],
)
def test_a_tail_that_does_not_hang_together_is_not_taken(what: str) -> None:
    assert _tail(broken(what), HERE) is None


def test_a_chain_that_begins_in_the_middle_names_a_record_that_comes_from_before_it() -> None:
    log = long_log()
    whole = log.chain()
    chain = Chain(HERE, whole.links[10])
    for record in records(log, 11):
        chain.take(record)
    assert (chain.breaks, chain.head) == ([], hash_of(log.raws[-1]))
    assert chain.take(Record(raw=log.raws[3], offset=20)) is None
    assert [each.kind for each in chain.breaks] == ["forked"]
