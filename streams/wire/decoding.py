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
    "application/json": json_rows.decode,
    "application/x-ndjson": json_rows.decode,
}


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
    if kind in ("application/x-protobuf", "application/vnd.google.protobuf", "application/protobuf"):
        proto = next((text.removeprefix("proto=") for text in parameters if text.startswith("proto=")), "")
        if proto == "prometheus.writerequest":
            return remote_write.decode
        if not proto:
            return remote_write.decode if remote_write.looks_like(payload) else otlp.decode
    msg = (
        f"content type {content_type!r}; allowed: {', '.join(_BY_TYPE)}, and application/x-protobuf for OTLP metrics "
        "or, with proto=prometheus.WriteRequest, Prometheus remote write"
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
