"""Which format a frame has, and what is in it."""

from collections.abc import Callable
from typing import Final

from streams.recording import Samples
from streams.wire import arrow, json_rows, otlp, remote_write
from streams.wire.frame import BadFrame

_ARROW_CONTINUATION: Final = b"\xff\xff\xff\xff"
_WHITE_SPACE: Final = b" \t\r\n"

_BY_TYPE: Final[dict[str, Callable[[bytes], Samples]]] = {
    arrow.CONTENT_TYPE: arrow.decode,
    json_rows.CONTENT_TYPE: json_rows.decode,
    json_rows.CONTENT_TYPE_LINES: json_rows.decode,
}
_PROTOBUF: Final = ("application/x-protobuf", "application/protobuf", "application/vnd.google.protobuf")
_BY_PROTO: Final[dict[str, Callable[[bytes], Samples]]] = {
    "prometheus.writerequest": remote_write.decode,
    "io.prometheus.write.v2.request": remote_write.decode,
    "opentelemetry.proto.collector.metrics.v1.exportmetricsservicerequest": otlp.decode,
    "opentelemetry.proto.metrics.v1.metricsdata": otlp.decode,
}
"""Names of messages, in small letters, as the parameter `proto` gives them."""


def decode(payload: bytes, content_type: str | None) -> Samples:
    """Read a frame in the format that its content type names, or that its first bytes tell.

    Raises
    ------
    BadFrame
        If it cannot be read.
    """
    if not payload:
        msg = "an empty frame; allowed: Arrow, JSON, OTLP or Prometheus remote write"
        raise BadFrame(msg)
    return _reader(payload, content_type)(payload)


def _reader(payload: bytes, content_type: str | None) -> Callable[[bytes], Samples]:
    if content_type is None:
        return _guessed(payload)
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]
    if kind in _PROTOBUF:
        named = [text.partition("=")[2].strip('" ') for text in parameters if text.partition("=")[0].strip() == "proto"]
        if not named:
            # Senders of either format leave the parameter out.
            return remote_write.decode if remote_write.looks_like(payload) else otlp.decode
        if named[0] in _BY_PROTO:
            return _BY_PROTO[named[0]]
    msg = (
        f"content type {content_type!r}; allowed: {', '.join(_BY_TYPE)}, and application/x-protobuf for OTLP metrics "
        "and Prometheus remote write, perhaps with proto=prometheus.WriteRequest or io.prometheus.write.v2.Request"
    )
    raise BadFrame(msg)


def _guessed(payload: bytes) -> Callable[[bytes], Samples]:
    """Tell the format by the first bytes."""
    if payload[:4] == _ARROW_CONTINUATION:
        return arrow.decode
    if payload.lstrip(_WHITE_SPACE)[:1] in (b"{", b"["):
        return json_rows.decode
    if remote_write.looks_like(payload):
        return remote_write.decode
    if otlp.looks_like(payload):
        return otlp.decode
    msg = (
        f"its first bytes, {payload[:8].hex(' ')}, are those of no known format; allowed: Arrow, JSON, OTLP metrics or "
        "Prometheus remote write, best named by a header content-type"
    )
    raise BadFrame(msg)
