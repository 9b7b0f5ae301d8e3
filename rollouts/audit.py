"""The audit log: who did what and when, each entry bound to the one before it by that one's hash.

An entry's hash is SHA-256 over the text `dev.holdfast.audit.v1`, a line feed and the bytes of the entry, which are
JSON in one form alone. The first entry follows the hash of a beginning that names the installation, so that the log of
one is not that of another. Pure: records in, links and breaks out.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from detectors.errors import BadInput
from detectors.policy import Name
from rollouts.document import Timestamp

ENTRY_BYTES_MAX: Final = 200_000
"""Largest entry; what people sign has some hundred bytes."""

BREAKS_MAX: Final = 100
"""Most breaks of a log that are spelled out."""

LEAP_MAX: Final = 1_000_000
"""Most entries that may be missing at one place: a number beyond that is made up, and is not followed."""

_ENTRY: Final = b"dev.holdfast.audit.v1\n"
_BEGINNING: Final = b"dev.holdfast.audit.beginning.v1\n"

YEARS: Final = range(1970, 2200)
"""Years of times that are taken; the store can hold them."""

Hash = Annotated[
    str, Meta(pattern="^[0-9a-f]{64}$", extra={"allowed": "a SHA-256 of 64 lower-case hexadecimal digits"})
]
Kind = Annotated[str, Meta(max_length=100, pattern="^[a-z][a-z_]*([.][a-z_]+)*$")]
Subject = Annotated[str, Meta(max_length=200)]
"""What an entry is about, as the name of a rollout; empty where it is about everything."""

Broken = Literal["unreadable", "doubled", "forked", "beginning", "changed", "hole", "reordered", "cut"]

STRAYS: Final[frozenset[Broken]] = frozenset({"unreadable", "doubled", "forked"})
"""Breaks by a record that is too much. It counts for nothing, and nothing is missing."""


class Entry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One thing that was done.

    `sequence` counts from 0, `previous` is the hash of the entry before, `time` is by the clock of whoever wrote it.
    """

    sequence: Annotated[int, Meta(ge=0, lt=1 << 53)]
    previous: Hash
    time: Timestamp
    who: Name
    kind: Kind
    subject: Subject
    body: dict[str, object]


class Record(Struct, frozen=True, kw_only=True):
    """A record of the topic: its bytes, its offset, and when it was written by the broker's clock, if that is known."""

    raw: bytes
    offset: int
    written: datetime | None = None


class Link(Struct, frozen=True, kw_only=True):
    """An entry that counts, its hash, and where it stands."""

    entry: Entry
    hash: Hash
    offset: int
    written: datetime | None = None


class Break(Struct, frozen=True, kw_only=True):
    """Where a log is not what it was: the record at which that shows, and what is wrong in a sentence.

    `offset` and `sequence` are None for what was cut off, and `sequence` for what cannot be read.
    """

    kind: Broken
    offset: int | None
    sequence: int | None
    sentence: str


_DECODER: Final = msgspec.json.Decoder(Entry)


def beginning(installation: str) -> str:
    """Return what the first entry of an installation follows."""
    return hashlib.sha256(_BEGINNING + installation.encode()).hexdigest()


def hash_of(raw: bytes) -> str:
    """Return the hash of an entry as it stands on the topic.

    Examples
    --------
    >>> hash_of(b"{}")[:16]
    'bf3037729910faad'
    """
    return hashlib.sha256(_ENTRY + raw).hexdigest()


def encode(entry: Entry) -> bytes:
    """Write an entry in its one form.

    Raises
    ------
    BadInput
        If it is larger than `ENTRY_BYTES_MAX`.
    """
    raw = msgspec.json.encode(entry, order="deterministic")
    if len(raw) > ENTRY_BYTES_MAX:
        message = f"{entry.kind}: an entry of {len(raw)} bytes; allowed: at most {ENTRY_BYTES_MAX}"
        raise BadInput(message)
    return raw


def decode(raw: bytes) -> Entry:
    """Read an entry.

    Raises
    ------
    BadInput
        If it is none, or is not written in the one form, in which nobody can hide anything.
    """
    if len(raw) > ENTRY_BYTES_MAX:
        message = f"not an entry: {len(raw)} bytes; allowed: at most {ENTRY_BYTES_MAX}"
        raise BadInput(message)
    try:
        entry = _DECODER.decode(raw)
        written = msgspec.json.encode(entry, order="deterministic")
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        message = f"not an entry: {error}"
        raise BadInput(message) from error
    if entry.time.year not in YEARS:
        message = f"not an entry: time: allowed: the years {YEARS.start} to {YEARS.stop - 1}"
        raise BadInput(message)
    if written != raw:
        message = "not an entry: not in the form in which holdfast writes them (order of keys, spaces, repeated keys)"
        raise BadInput(message)
    return entry


class Chain:
    """The entries of a log, taken in the order of their partition.

    An entry whose link is broken counts all the same if it is newer than what is there: what people signed is not lost
    because somebody tampered with the log before it. But `is_whole` is false then, and it is for whoever acts on an
    entry to ask for that.

    Parameters
    ----------
    installation
        Whose log it is.
    after
        An entry that is taken for right without those before it. By the end of a log alone nothing of it is proved.

    Attributes
    ----------
    links
        The entries that count.
    breaks
        Where it is broken, at most `BREAKS_MAX`.
    is_whole
        Whether nothing is missing, changed or out of order as far as can be seen; what is too much does no harm.
    head
        Hash of the last entry, or the beginning.
    """

    def __init__(self, installation: str, after: Link | None = None) -> None:
        self.installation = installation
        self.links: list[Link] = [] if after is None else [after]
        self.breaks: list[Break] = []
        self.is_whole = True
        self.head = beginning(installation) if after is None else after.hash
        self._hashes = {self.head}
        self._next = 0 if after is None else after.entry.sequence + 1
        self._missing: dict[int, int] = {}  # by the number that is missing: which break says so

    def __contains__(self, wanted: str) -> bool:
        """Tell whether some hash is that of an entry which counts, or of the beginning."""
        return wanted in self._hashes

    def take(self, record: Record) -> Link | None:
        """Take the next record, and return the entry if it counts."""
        try:
            entry = decode(record.raw)
        except BadInput as error:
            self._broken("unreadable", record, None, f"offset {record.offset}: {error}")
            return None
        link = Link(entry=entry, hash=hash_of(record.raw), offset=record.offset, written=record.written)
        counts = self._is_next(link) if entry.sequence >= self._next else self._is_late(link)
        if not counts:
            return None
        self.links.append(link)
        self._hashes.add(link.hash)
        if entry.sequence >= self._next:
            self.head, self._next = link.hash, entry.sequence + 1
        return link

    def following(
        self, *, time: datetime, who: str, kind: str, subject: str, body: Mapping[str, object]
    ) -> tuple[Entry, bytes]:
        """Make the entry that comes next, and its bytes; it is not taken.

        Raises
        ------
        BadInput
            If it cannot be one, as when `body` is too large.
        """
        entry = Entry(
            sequence=self._next,
            previous=self.head,
            time=time,
            who=who,
            kind=kind,
            subject=subject,
            body=dict(body),
        )
        raw = encode(entry)
        return decode(raw), raw

    def first_break(self, expect_head: str | None = None) -> Break | None:
        """Name the first broken link, or None if there is none.

        Parameters
        ----------
        expect_head
            A hash that was noted elsewhere when it was that of the last entry. Whoever cuts off the end of a log leaves
            a shorter one in which all links hold: only this tells.
        """
        if self.breaks:
            return self.breaks[0]
        if expect_head is None or expect_head in self:
            return None
        last = f"entry {self._next - 1}, {self.head[:12]}" if self.links else "no entry"
        sentence = (
            f"no entry has the hash {expect_head[:12]}…, which was noted as the last one: the log ends with {last}"
        )
        return Break(kind="cut", offset=None, sequence=None, sentence=sentence)

    def _is_next(self, link: Link) -> bool:
        found, wanted, here = link.entry.sequence, self._next, f"offset {link.offset}: entry {link.entry.sequence}"
        missing = range(wanted, found)
        if len(missing) > LEAP_MAX:
            self._broken("forked", link, found, f"{here}: the entry after {wanted - 1} cannot have that number")
            return False
        if missing:
            named = f"entry {wanted} is" if len(missing) == 1 else f"entries {wanted} to {found - 1} are"
            where = "at the beginning" if not self.links else f"before it, after offset {self.links[-1].offset}"
            number = self._broken(
                "hole" if self.links else "beginning", link, found, f"{here}: {named} missing {where}"
            )
            self._missing |= dict.fromkeys(missing, number)
        elif link.entry.previous != self.head:
            follows = f"{here}: follows {link.entry.previous[:12]}…"
            if not self.links:
                text = f"{follows}, but the log of {self.installation!r} begins with {self.head[:12]}…"
                self._broken(
                    "beginning", link, found, f"{text}: it is another installation's, or its beginning was cut"
                )
            else:
                last = self.links[-1]
                text = f"entry {last.entry.sequence} at offset {last.offset} has {last.hash[:12]}…"
                self._broken("changed", link, found, f"{follows}, but {text}: one of both is not what was written")
        return True

    def _is_late(self, link: Link) -> bool:
        found, here = link.entry.sequence, f"offset {link.offset}: entry {link.entry.sequence}"
        if link.hash in self._hashes:
            self._broken("doubled", link, found, f"{here}: is there twice")
            return False
        number = self._missing.pop(found, None)
        if number is None:
            self._broken("forked", link, found, f"{here}: there is another entry of that number before it")
            return False
        if number < len(self.breaks):
            before = self.breaks[number]
            text = (
                f"offset {before.offset}: entry {before.sequence}: stands before entry {found}, at offset {link.offset}"
            )
            self.breaks[number] = msgspec.structs.replace(before, kind="reordered", sentence=text)
        return True

    def _broken(self, kind: Broken, at: Record | Link, sequence: int | None, sentence: str) -> int:
        """Note a break, and return its number."""
        self.is_whole &= kind in STRAYS
        number = len(self.breaks)
        if number < BREAKS_MAX:
            self.breaks.append(Break(kind=kind, offset=at.offset, sequence=sequence, sentence=sentence))
        return number


def verify(records: Iterable[bytes], installation: str, expect_head: str | None = None) -> Break | None:
    """Prove a log, or name its first broken link.

    Parameters
    ----------
    records
        Its records in their order; they are counted from offset 0.
    installation
        Whose log it has to be.
    expect_head
        See `Chain.first_break`.
    """
    chain = Chain(installation)
    for offset, raw in enumerate(records):
        chain.take(Record(raw=raw, offset=offset))
    return chain.first_break(expect_head)
