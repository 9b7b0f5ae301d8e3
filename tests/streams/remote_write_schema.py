"""The messages of remote write as google.protobuf knows them, from what the protocol has published of their fields."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]

# The messages of prompb/types.proto, prompb/remote.proto and prompb/io/prometheus/write/v2/types.proto: field name,
# number and type; a type that is the name of a message, or ends in *, is repeated.
MESSAGES = {
    "Label": [("name", 1, "string"), ("value", 2, "string")],
    "Sample": [("value", 1, "double"), ("timestamp", 2, "int64")],
    "Histogram": [("sum", 3, "double")],
    "TimeSeries": [("labels", 1, "Label"), ("samples", 2, "Sample"), ("histograms", 4, "Histogram")],
    "MetricMetadata": [("metric_family_name", 2, "string")],
    "WriteRequest": [("timeseries", 1, "TimeSeries"), ("metadata", 3, "MetricMetadata")],
    "TimeSeriesV2": [("labels_refs", 1, "uint32*"), ("samples", 2, "Sample"), ("histograms", 3, "Histogram")],
    "Request": [("symbols", 4, "string*"), ("timeseries", 5, "TimeSeriesV2")],
}


def schema() -> dict[str, type[Any]]:
    file = descriptor_pb2.FileDescriptorProto(name="remote_write.proto", package="prometheus", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind in fields:
            field = message.field.add(name=field_name, number=number)
            repeated = kind in MESSAGES or kind.endswith("*")
            field.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            field.type = kinds.TYPE_MESSAGE if kind in MESSAGES else getattr(kinds, f"TYPE_{kind.rstrip('*').upper()}")
            if kind in MESSAGES:
                field.type_name = f".prometheus.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"prometheus.{name}")) for name in MESSAGES
    }


SCHEMA = schema()
