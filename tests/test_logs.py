"""Structured logs."""

import io
import json
import logging
import sys

import pytest

from holdfast.live.logs import REPEATS_MAX, WINDOW_SECONDS, Lines, configure


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Log:
    """A logger of its own, and what it wrote."""

    def __init__(self, form: str = "json") -> None:
        self.stream, self.clock = io.StringIO(), Clock()
        self.lines = Lines(self.stream, "json" if form == "json" else "text", self.clock)
        self.logger = logging.getLogger("holdfast.test")
        self.logger.handlers, self.logger.propagate = [self.lines], False
        self.logger.setLevel(logging.DEBUG)

    def written(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


def test_a_line_is_an_object_with_time_level_logger_and_message() -> None:
    log = Log()
    log.logger.warning("%s: judged again\nfrom the journal", "bot-0312")
    (line,) = log.written()
    assert line["message"] == "bot-0312: judged again\nfrom the journal"
    assert (line["level"], line["logger"]) == ("warning", "holdfast.test")
    assert str(line["time"]).endswith("Z")


def test_the_time_is_that_of_the_record() -> None:
    log = Log()
    log.lines.handle(logging.makeLogRecord({"msg": "x", "created": 1_773_314_400.25}))
    assert log.written()[0]["time"] == "2026-03-12T11:20:00.250Z"


def test_extra_fields_stand_beside_the_message() -> None:
    log = Log()
    log.logger.info("closed", extra={"rollout": "bot-0312", "ticks": 3, "level": "mine"})
    (line,) = log.written()
    assert (line["rollout"], line["ticks"], line["level"]) == ("bot-0312", 3, "info")


def test_an_exception_is_told_with_its_trace() -> None:
    log = Log()
    try:
        raise ValueError("that is wrong")
    except ValueError:
        log.logger.exception("ended")
    assert "ValueError: that is wrong" in str(log.written()[0]["error"])


@pytest.mark.parametrize("form", ["json", "text"])
def test_secrets_are_not_written(form: str) -> None:
    log = Log(form)
    log.logger.info("sasl.password=hunter2 and {'ssl.key.password': 'hunter2', 'token': 'hunter2'}")
    log.logger.info("connecting", extra={"sasl_password": "hunter2"})
    try:
        raise ValueError("secret: hunter2")
    except ValueError:
        log.logger.exception("ended")
    assert "hunter2" not in log.stream.getvalue()
    assert log.stream.getvalue().count("***") == 6  # the trace quotes the line of the source too


def test_words_are_one_line_with_the_fields_behind() -> None:
    log = Log("text")
    log.logger.info("closed %d ticks", 3, extra={"rollout": "bot"})
    assert log.stream.getvalue().endswith("Z info    closed 3 ticks rollout=bot\n")


def test_of_a_line_that_repeats_itself_some_pass_and_the_rest_is_counted() -> None:
    log = Log()
    for number in range(5_000):
        log.logger.error("offset %d cannot be read", number)
    assert len(log.written()) == REPEATS_MAX
    log.clock.now = WINDOW_SECONDS
    log.logger.info("something else")
    summary = log.written()[REPEATS_MAX]
    assert summary["message"] == f"{5_000 - REPEATS_MAX} more like this one: offset 4999 cannot be read"
    assert (summary["repeated"], summary["level"]) == (5_000 - REPEATS_MAX, "error")


def test_other_lines_pass_meanwhile() -> None:
    log = Log()
    for number in range(100):
        log.logger.error("offset %d cannot be read", number)
    log.logger.error("and this is new")
    assert log.written()[-1]["message"] == "and this is new"


def test_in_a_new_window_lines_pass_again() -> None:
    log = Log()
    for _ in range(2):
        for _ in range(REPEATS_MAX):
            log.logger.warning("again")
        log.clock.now += WINDOW_SECONDS
    assert [line["message"] for line in log.written()] == ["again"] * 2 * REPEATS_MAX


def test_what_was_counted_is_told_at_the_end() -> None:
    log = Log()
    for _ in range(REPEATS_MAX + 4):
        log.logger.warning("again")
    log.lines.close()
    assert log.written()[-1]["repeated"] == 4


def test_kinds_of_lines_are_bounded_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.live.logs._KINDS_MAX", 3)
    log = Log()
    for _ in range(REPEATS_MAX + 7):
        log.logger.warning("first")
    for kind in ("second", "third", "fourth"):
        log.logger.warning(kind)
    assert len(log.lines._seen) == 3
    assert 7 in [line.get("repeated") for line in log.written()]


def test_the_root_logger_writes_to_standard_error_in_the_form_that_fits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure("warning")
        logging.getLogger("holdfast.x").info("too little")
        logging.getLogger("holdfast.x").warning("enough")
        assert json.loads(capsys.readouterr().err)["message"] == "enough"
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        configure()
        logging.getLogger("holdfast.x").info("for people")
        assert capsys.readouterr().err.endswith("info    for people\n")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
