"""Opening a source of samples, whichever it is."""

from contextlib import AbstractContextManager

from holdfast.recording.document import (
    ClickHouseSource,
    CsvSource,
    KafkaSource,
    ParquetSource,
    PrometheusSource,
    Source,
)
from holdfast.recording.origin import Origin


def opened(source: Source) -> AbstractContextManager[Origin]:
    """Open a source.

    Raises
    ------
    BadInput
        If it is not as the document says, or has not the columns that are needed.
    Unreachable, StoreError
        If it does not answer.
    """
    if isinstance(source, KafkaSource):
        from holdfast.recording.topic import kafka

        return kafka(source)
    if isinstance(source, ClickHouseSource):
        from holdfast.recording.query import clickhouse

        return clickhouse(source)
    if isinstance(source, PrometheusSource):
        from holdfast.recording.prometheus import prometheus

        return prometheus(source)
    from holdfast.recording.files import files

    assert isinstance(source, ParquetSource | CsvSource)
    return files(source)
