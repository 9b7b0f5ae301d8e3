"""Structured logs: a JSON object a line on standard error, or words on a terminal.

A partition full of what cannot be read would say the same thousands of times a second. So of each kind of line some
pass, the others are counted, and the count is told.
"""

import json
import logging
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

Form = Literal["json", "text"]
Level = Literal["debug", "info", "warning", "error"]

REPEATS_MAX: Final = 10
"""Lines of a kind that pass in each window."""

WINDOW_SECONDS: Final = 60.0
_KINDS_MAX: Final = 1_000
"""Kinds of lines that are told apart; the one not heard of the longest gives way."""

# Whoever wrote the line should not have; but a password in a log is in many hands soon.
_SECRET: Final = re.compile(r"(?i)((?:password|passwd|secret|token|private.key)[\"']?\s*[=:]\s*[\"']?)([^\s\"',;}]+)")
_SECRET_NAME: Final = re.compile(r"(?i)password|passwd|secret|token|private.key")
_HIDDEN: Final = "***"

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
"""Attributes that every record has; whatever else there is was given as `extra`."""


def configure(level: Level = "info", form: Form | None = None) -> None:
    """Have all logs of this process written to standard error.

    Parameters
    ----------
    level
        The least that is written.
    form
        `json` or `text`; by default words on a terminal, and JSON elsewhere.
    """
    chosen = form or ("text" if sys.stderr.isatty() else "json")
    logging.basicConfig(level=level.upper(), handlers=[Lines(sys.stderr, chosen)], force=True)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """Return what was given as `extra`, without secrets."""
    return {
        name: _HIDDEN if _SECRET_NAME.search(name) else value
        for name, value in record.__dict__.items()
        if name not in _STANDARD
    }


def _without_secrets(text: str) -> str:
    return _SECRET.sub(rf"\g<1>{_HIDDEN}", text)


class Structured(logging.Formatter):
    """One JSON object a line, whatever line breaks the message has."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _without_secrets(record.getMessage()),
            **{name: value for name, value in _fields(record).items() if name not in ("time", "level", "logger")},
        }
        if record.exc_info:
            line["error"] = _without_secrets(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


class Words(logging.Formatter):
    """A line for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        fields = " ".join(f"{name}={_without_secrets(str(value))}" for name, value in _fields(record).items())
        text = f"{_time(record)} {record.levelname.lower():7} {_without_secrets(record.getMessage())} {fields}".rstrip()
        if record.exc_info:
            text += "\n" + _without_secrets(self.formatException(record.exc_info))
        return text


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class _Seen:
    """One kind of line: since when its window runs, and how many came in it."""

    begun: float
    count: int
    last: logging.LogRecord


class Lines(logging.StreamHandler[TextIO]):
    """Writes lines; of those that repeat themselves some, and then how many there were.

    Lines are of a kind if logger, level and the text before its arguments are put in are the same.

    Parameters
    ----------
    stream
        Where to.
    form
        `json` or `text`.
    clock
        Gives the time in seconds, on a clock that only goes forward.
    """

    def __init__(self, stream: TextIO, form: Form, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self.setFormatter(Structured() if form == "json" else Words())
        self._clock = clock
        self._seen: OrderedDict[tuple[str, int, str], _Seen] = OrderedDict()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it."""
        now = self._clock()
        self._sum_up(now)
        kind = (record.name, record.levelno, str(record.msg))
        seen = self._seen.setdefault(kind, _Seen(now, 0, record))
        seen.count += 1
        seen.last = record
        if seen.count <= REPEATS_MAX:
            super().emit(record)
        if len(self._seen) > _KINDS_MAX:
            self._tell(self._seen.popitem(last=False)[1])

    def close(self) -> None:
        """Tell what was counted and not told yet, and end."""
        self.acquire()
        try:
            while self._seen:
                self._tell(self._seen.popitem(last=False)[1])
        finally:
            self.release()
        super().close()

    def _sum_up(self, now: float) -> None:
        """Close the windows that are over; they stand in the order in which they began."""
        while self._seen:
            kind, seen = next(iter(self._seen.items()))
            if now - seen.begun < WINDOW_SECONDS:
                return
            del self._seen[kind]
            self._tell(seen)

    def _tell(self, seen: _Seen) -> None:
        left_out = seen.count - REPEATS_MAX
        if left_out <= 0:
            return
        last = seen.last
        summary = logging.makeLogRecord(
            {
                "name": last.name,
                "levelno": last.levelno,
                "levelname": last.levelname,
                "msg": "%d more like this one: %s",
                "args": (left_out, last.getMessage()),
                "repeated": left_out,
            }
        )
        super().emit(summary)
