"""In which partition a key is: the murmur2 partitioner, which is that of Java clients and of holdfast's producers."""

from typing import Final

MURMUR2: Final = "murmur2_random"
"""Its name among librdkafka's partitioners. "Random" are keys of null alone, which holdfast never writes."""

_FACTOR: Final = 0x5BD1E995
_SEED: Final = 0x9747B28C
_WORD: Final = 0xFFFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key.

    Source: Austin Appleby's MurmurHash2 (public domain), with the seed and the sign bit dropped as in Kafka's
    `Utils.murmur2` and `BuiltInPartitioner.partitionForKey`.

    Parameters
    ----------
    key
        The key of a message.
    partitions
        How many the topic has.

    Examples
    --------
    >>> [partition_of(name, 12) for name in (b"kafka", b"21", b"")]
    [4, 0, 9]
    """
    end = len(key) & ~3
    value = _SEED ^ len(key)
    for start in range(0, end, 4):
        part = int.from_bytes(key[start : start + 4], "little") * _FACTOR & _WORD
        part = (part ^ part >> 24) * _FACTOR & _WORD
        value = value * _FACTOR & _WORD ^ part
    if end < len(key):
        value = (value ^ int.from_bytes(key[end:], "little")) * _FACTOR & _WORD
    value = (value ^ value >> 13) * _FACTOR & _WORD
    return ((value ^ value >> 15) & 0x7FFFFFFF) % partitions
