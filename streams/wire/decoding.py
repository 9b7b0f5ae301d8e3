"""Which format a frame has, and what is in it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from streams.recording import Samples
from streams.wire import arrow, json_rows, otlp, remote_write
from streams.wire.frame import BadFrame

_ARROW_CONTINUATION: Final = b"\xff\xff\xff\xff"
_WHITE_SPACE: Final = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the frames of a format, which it can name; `decode` raises `BadFrame` if a frame cannot be read."""

    format: str
    decode: Callable[[bytes], Samples]


_ARROW: Final = Reader("arrow", arrow.decode)
_JSON: Final = Reader("json", json_rows.decode)
_OTLP: Final = Reader("otlp", otlp.decode)
_PROMETHEUS: Final = Reader("prometheus", remote_write.decode)

_BY_TYPE: Final[dict[str, Reader]] = {
    arrow.CONTENT_TYPE: _ARROW,
    json_rows.CONTENT_TYPE: _JSON,
    json_rows.CONTENT_TYPE_LINES: _JSON,
}
_PROTOBUF: Final = ("application/x-protobuf", "application/protobuf", "application/vnd.google.protobuf")
_BY_PROTO: Final[dict[str, Reader]] = {
    "prometheus.writerequest": _PROMETHEUS,
    "io.prometheus.write.v2.request": _PROMETHEUS,
    "opentelemetry.proto.collector.metrics.v1.exportmetricsservicerequest": _OTLP,
    "opentelemetry.proto.metrics.v1.metricsdata": _OTLP,
}
"""Names of messages, in small letters, as the parameter `proto` gives them."""


def decode(payload: bytes, content_type: str | None) -> Samples:
    """Read a frame in the format that its content type names, or that its first bytes tell.

    Raises
    ------
    BadFrame
        If it cannot be read.
    """
    return reader_of(payload, content_type).decode(payload)


def reader_of(payload: bytes, content_type: str | None) -> Reader:
    """Return what reads a frame, by its content type, or else by its first bytes.

    Raises
    ------
    BadFrame
        If neither names a format.
    """
    if not payload:
        msg = "an empty frame; allowed: Arrow, JSON, OTLP or Prometheus remote write"
        raise BadFrame(msg)
    if content_type is None:
        return _guessed(payload)
    if content_type in _BY_TYPE:  # as most are written
        return _BY_TYPE[content_type]
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]
    if kind in _PROTOBUF:
        named = [text.partition("=")[2].strip('" ') for text in parameters if text.partition("=")[0].strip() == "proto"]
        if not named:
            # Senders of either format leave the parameter out.
            return _PROMETHEUS if remote_write.looks_like(payload) else _OTLP
        if named[0] in _BY_PROTO:
            return _BY_PROTO[named[0]]
    msg = (
        f"content type {content_type!r}; allowed: {', '.join(_BY_TYPE)}, and application/x-protobuf for OTLP metrics "
        "and Prometheus remote write, perhaps with proto=prometheus.WriteRequest or io.prometheus.write.v2.Request"
    )
    raise BadFrame(msg)


def _guessed(payload: bytes) -> Reader:
    """Tell the format by the first bytes."""
    if payload[:4] == _ARROW_CONTINUATION:
        return _ARROW
    if payload.lstrip(_WHITE_SPACE)[:1] in (b"{", b"["):
        return _JSON
    if remote_write.looks_like(payload):
        return _PROMETHEUS
    if otlp.looks_like(payload):
        return _OTLP
    msg = (
        f"its first bytes, {payload[:8].hex(' ')}, are those of no known format; allowed: Arrow, JSON, OTLP metrics or "
        "Prometheus remote write, best named by a header content-type"
    )
    raise BadFrame(msg)
