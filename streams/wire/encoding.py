"""Samples as a frame in any of the formats: for load generation, re-keying and tests."""

from streams.choices import FORMS, Form
from streams.recording import Samples
from streams.wire import arrow, json_rows, otlp, remote_write

__all__ = ["FORMS", "Form", "encode"]


def encode(samples: Samples, form: Form) -> tuple[bytes, str]:
    """Write samples as one frame, and name its content type."""
    match form:
        case "arrow":
            return arrow.encode(samples), arrow.CONTENT_TYPE
        case "json":
            return json_rows.encode(samples), json_rows.CONTENT_TYPE
        case "json-grouped":
            return json_rows.encode_grouped(samples), json_rows.CONTENT_TYPE
        case "otlp":
            return otlp.encode(samples), "application/x-protobuf"
        case "prometheus":
            return remote_write.encode(samples), "application/x-protobuf;proto=prometheus.WriteRequest"
