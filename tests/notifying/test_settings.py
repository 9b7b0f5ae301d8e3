"""How notices are sent: what the settings may say, and what does not fit together."""

from pathlib import Path

import pytest

from detectors.policy import duration_ms
from holdfast.errors import BadInput
from holdfast.live.settings import load
from holdfast.live.topics import wanted
from holdfast.notifying.settings import Notify


def errors(folder: Path, text: str) -> list[str]:
    path = folder / "holdfast.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load(path, {})
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def test_without_a_word_there_are_bounds() -> None:
    assert load(None, {}).settings.notify == Notify()
    assert Notify().attempts == 6
    assert duration_ms(Notify().age_max) == 6 * 3_600_000


def test_a_variable_sets_one() -> None:
    assert load(None, {"HOLDFAST_NOTIFY__TIMEOUT": "20s"}).settings.notify.timeout == "20s"


@pytest.mark.parametrize("text", ["notify: {age_max: 7d}\nretention: 6d\n", "retention: 5h\n"])
def test_what_was_sent_must_be_remembered_for_as_long_as_it_may_be_sent(tmp_path: Path, text: str) -> None:
    (error,) = errors(tmp_path, text)
    assert "notify.age_max: longer than `retention`, after which it is forgotten what was sent" in error


@pytest.mark.parametrize(
    "link",
    ["status.example.net", "ftp://x/{incident}", "https://x/{id}", "https://x/ {incident}", "javascript:alert(1)"],
)
def test_a_link_is_an_address_of_the_web(tmp_path: Path, link: str) -> None:
    (error,) = errors(tmp_path, f'notify: {{link: "{link}"}}\n')
    assert "notify.link: found" in error


@pytest.mark.parametrize("text", ["attempts: 0", "attempts: 21", "timeout: 2m", "backoff: 0s", "age_max: 30s", "x: 1"])
def test_what_has_no_bound_is_refused(tmp_path: Path, text: str) -> None:
    (error,) = errors(tmp_path, f"notify: {{{text}}}\n")
    assert "notify" in error


def test_what_was_told_has_a_topic_of_one_partition_that_forgets_in_time() -> None:
    settings = load(None, {"HOLDFAST_RETENTION": "1d"}).settings
    (found,) = [each for each in wanted(settings) if each.topic == "holdfast.notified"]
    assert found.partitions == 1
    assert found.config["cleanup.policy"] == "compact,delete"
    assert found.config["retention.ms"] == "86400000"
