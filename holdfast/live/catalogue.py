"""What outlives a process of the aggregate: the series of a source partition, and how far it has come."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import pyarrow as pa
from msgspec import Struct

from holdfast.live.joining import JoiningMarks
from holdfast.live.records import Record
from holdfast.live.settings import Settings
from sinks.arrow_stream import stream
from streams.live.frames import SourcePartition
from streams.live.partition import Marks

_SEGMENT_ROWS: Final = 20_000
"""Series in one message of the catalogue: far below a megabyte."""

_METADATA_BYTES_MAX: Final = 3_500
"""Most that rides along with an offset; brokers take 4 kB."""


class KeptMarks(Marks, frozen=True):
    """What a restart needs beside messages and series, as the catalogue holds it.

    Without `joining` it is of a version in which every open rollout had joined.
    """

    joining: JoiningMarks | None = None


class Metadata(Struct, frozen=True):
    """What rides along with a committed offset; without `marks`, these are in the catalogue, with all that follows."""

    segments: int = 0
    marks: Marks | None = None
    joining: JoiningMarks | None = None


@dataclass(frozen=True, slots=True)
class Catalogued:
    """What the catalogue holds of a source partition: number and series of each segment, and marks if there are any."""

    segments: Sequence[tuple[int, pa.Table]]
    marks: KeptMarks | None


Catalogue = Callable[[SourcePartition], Catalogued]
"""Reads the catalogue of a source partition to its end."""


def marks_key(source: SourcePartition) -> bytes:
    """Return the key under which the catalogue holds what is too much to ride along with an offset."""
    return f"{source.topic}/{source.partition}/marks".encode()


def catalogue_partition(source: SourcePartition, partitions: int) -> int:
    """Return the partition of the catalogue topic that holds a source partition's series."""
    return zlib.crc32(f"{source.topic}/{source.partition}".encode()) % partitions


def series_records(settings: Settings, source: SourcePartition, number: int, series: pa.Table) -> list[Record]:
    """Write series for the catalogue, in segments of bounded size, of which `number` is the first."""
    records: list[Record] = []
    for start in range(0, series.num_rows, _SEGMENT_ROWS):
        segment = stream(series.slice(start, _SEGMENT_ROWS), "zstd")
        key = f"{source.topic}/{source.partition}/{number + len(records)}".encode()
        place = catalogue_partition(source, settings.partitions)
        records.append(Record(settings.topics.catalogue, key, segment, [], place))
    return records


def metadata_of(
    settings: Settings, source: SourcePartition, segments: int, marks: Marks, joining: JoiningMarks
) -> tuple[str, list[Record]]:
    """Write what rides along with an offset; what is too much for that goes into the catalogue."""
    metadata = msgspec.json.encode(Metadata(segments, marks, joining))
    if len(metadata) <= _METADATA_BYTES_MAX:
        return metadata.decode(), []
    kept = KeptMarks(marks.position, marks.clocks, marks.groups, joining)
    place = catalogue_partition(source, settings.partitions)
    record = Record(settings.topics.catalogue, marks_key(source), msgspec.json.encode(kept), [], place)
    return msgspec.json.encode(Metadata(segments)).decode(), [record]
