"""Recording from a real Prometheus: every sample as it was scraped, and none that was not."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from holdfast.errors import BadInput, Unreachable
from holdfast.recording.document import PrometheusSource, load_source
from holdfast.recording.prometheus import HISTOGRAMS, _numbers, _selector
from tests.prometheus import between as faults
from tests.prometheus.between import Between
from tests.prometheus.server import Prometheus
from tests.recorded import canonical, directly, documents, recorded, verdicts


def source(url: str, recording: Path, **changes) -> PrometheusSource:
    """Name a Prometheus, all metrics of a policy and the time of the recording."""
    found = documents(recording)
    start, end = found.rollout.started - timedelta(hours=1), found.rollout.started + timedelta(hours=1)
    metrics: list[str] = found.metrics
    given: dict[str, Any] = {"url": url, "start": start, "end": end, "select": {"metric": metrics}}
    return PrometheusSource(**given | changes)


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.recording.http.PAUSE_SECONDS", 0.01)


def test_every_sample_is_recorded_as_it_was_scraped(prometheus: Prometheus, recording: Path, tmp_path: Path) -> None:
    found = recorded(tmp_path / "out", source(prometheus.url, recording), recording)
    expected = canonical(recording / "metrics.parquet")
    assert found.samples == expected.num_rows
    assert canonical(tmp_path / "out" / "metrics.parquet").equals(expected)


def test_a_direct_replay_gives_the_verdicts_of_the_recording(
    prometheus: Prometheus, recording: Path, tmp_path: Path
) -> None:
    asked = source(prometheus.url, recording)
    recorded(tmp_path / "out", asked, recording)
    assert directly(tmp_path, asked, recording) == verdicts(tmp_path / "out") == verdicts(recording)


def test_a_server_that_limits_samples_is_asked_for_less_at_a_time(recording: Path, tmp_path: Path, prometheus) -> None:
    with Prometheus(recording / "metrics.parquet", "--query.max-samples=2000") as server:
        recorded(tmp_path / "out", source(server.url, recording), recording)
    assert canonical(tmp_path / "out" / "metrics.parquet").equals(canonical(recording / "metrics.parquet"))


def test_a_limit_below_a_second_of_samples_is_told(recording: Path, tmp_path: Path, prometheus) -> None:
    with (
        Prometheus(recording / "metrics.parquet", "--query.max-samples=1") as server,
        pytest.raises(BadInput, match=r"even 1 s of these metrics are too much .* too many samples"),
    ):
        recorded(tmp_path / "out", source(server.url, recording), recording)


def test_with_a_step_there_is_a_sample_a_step_and_none_in_steps_that_have_none(
    prometheus: Prometheus, recording: Path, tmp_path: Path
) -> None:
    last = pq.read_table(recording / "metrics.parquet")["time"].to_numpy().max()
    asked = source(prometheus.url, recording, step="30s", select={"metric": "cpu_busy"})
    recorded(tmp_path / "out", asked, recording)
    times = pq.read_table(tmp_path / "out" / "metrics.parquet")["time"].to_numpy()
    steps = np.unique(times)
    assert set(np.diff(steps).astype(int)) == {30_000}
    # The lookback of five minutes would have repeated the last value until long after the end.
    assert times.max() - last < np.timedelta64(30, "s")


def test_labels_get_the_names_that_they_are_to_have(prometheus: Prometheus, recording: Path, tmp_path: Path) -> None:
    asked = source(
        prometheus.url, recording, columns={"colo": "region", "site": "colo"}, labels=["site", "host", "cohort"]
    )
    recorded(tmp_path / "out", asked, recording)
    table = pq.read_table(tmp_path / "out" / "metrics.parquet")
    assert table.schema.names == ["time", "metric", "value", "colo", "cohort", "host", "site"]
    assert set(table["colo"].to_pylist()) == {"eu", "us"}


def test_a_selection_is_made_by_the_server(between: Between, recording: Path, tmp_path: Path) -> None:
    asked = source(between.url, recording, select={"metric": "http_*", "cohort": "canary"})
    found = recorded(tmp_path / "out", asked, recording)
    table = pq.read_table(tmp_path / "out" / "metrics.parquet")
    assert set(table["metric"].to_pylist()) == {"http_requests", "http_5xx", "http_seconds_bucket"}
    assert (set(table["cohort"].to_pylist()), found.left_out) == ({"canary"}, {})


@pytest.mark.parametrize("fault", [faults.half, faults.half_without_length, faults.says(503, b"busy")])
def test_trouble_that_passes_leaves_no_trace(fault, between: Between, recording: Path, tmp_path: Path) -> None:
    between.faults = [None, fault, None, fault]
    recorded(tmp_path / "out", source(between.url, recording), recording)
    assert canonical(tmp_path / "out" / "metrics.parquet").equals(canonical(recording / "metrics.parquet"))


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (faults.half, Unreachable, "ended in the middle of its answer; tried 4 times"),
        (faults.half_without_length, Unreachable, r"ended in the middle of its answer, or it is no JSON: .*; tried 3"),
        (faults.late, Unreachable, r"does not answer within 0\.2 s; tried 4 times"),
        (faults.warns, BadInput, "answers in part, and warns: store b is away; a part is not recorded"),
        (faults.says(500, b"oh"), Unreachable, "answers with status 500: oh; tried 4 times"),
        (faults.says(401, b"who?"), BadInput, r"status 401: who\?; --bearer-token-file, or --username and"),
        (faults.says(404, b"<html>"), BadInput, "status 404: <html>; allowed: an address under which /api/v1/query is"),
        (faults.says(302, b""), BadInput, "status 302: nothing more; allowed: the address that it is at now"),
        (faults.says(200, b'{"status":"success","data":{"resultType":"vector","result":[]}}'), BadInput, "a vector"),
        (faults.says(200, b'{"status":"success","data":[]}'), BadInput, "answers what Prometheus does not"),
        (
            faults.says(
                200, b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"x"]]}]}}'
            ),
            BadInput,
            "answers with values that are no numbers, as in '1,x'",
        ),
        (faults.says(400, b'{"status":"error","errorType":"bad_data","error":"no"}'), BadInput, "400: bad_data: no"),
    ],
)
def test_trouble_that_stays_is_one_clear_error_and_leaves_nothing(
    fault, kind, message: str, between: Between, recording: Path, tmp_path: Path
) -> None:
    between.faults = [None, None, *[fault] * 10]
    timeout = "200ms" if fault is faults.late else "30s"
    with pytest.raises(kind, match=message) as caught:
        recorded(tmp_path / "out", source(between.url, recording, timeout=timeout), recording)
    assert str(caught.value).startswith(between.url)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_runs_out_of_time_is_asked_for_less(between: Between, recording: Path, tmp_path: Path) -> None:
    slow = faults.says(503, b'{"status":"error","errorType":"timeout","error":"query timed out"}')
    between.faults = [slow, None, slow]
    recorded(tmp_path / "out", source(between.url, recording), recording)
    assert canonical(tmp_path / "out" / "metrics.parquet").equals(canonical(recording / "metrics.parquet"))


def test_native_histograms_are_counted_as_lost(between: Between, recording: Path, tmp_path: Path) -> None:
    answer = (
        b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"histograms":[[1,{}],[2,{}]]}]}}'
    )
    between.faults = [faults.says(200, answer)]
    assert recorded(tmp_path / "out", source(between.url, recording), recording).lost == {HISTOGRAMS: 2}


def test_nobody_answers_where_there_is_no_server(recording: Path, tmp_path: Path, prometheus) -> None:
    with pytest.raises(Unreachable, match=r"^http://127\.0\.0\.1:9: cannot be asked: .*refused; tried 4 times$"):
        recorded(tmp_path / "out", source("http://127.0.0.1:9", recording), recording)


def test_metrics_that_are_not_there_are_told(prometheus: Prometheus, recording: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r'no series of \{__name__="nope"\} in that stretch of time'):
        recorded(tmp_path / "out", source(prometheus.url, recording, select={"metric": "nope"}), recording)


def test_a_token_or_a_password_is_sent_and_never_shown(between: Between, recording: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush\n")
    recorded(tmp_path / "a", source(between.url, recording, bearer_token_file=str(secret)), recording)
    recorded(tmp_path / "b", source(between.url, recording, username="u", password_file=str(secret)), recording)
    assert {headers["Authorization"] for _, headers in between.seen} == {"Bearer hush", "Basic dTpodXNo"}


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no such file"), (b"", "found nothing"), (b"a\nb", "more than one line")]
)
def test_a_file_that_holds_no_secret_is_told(
    content: bytes | None, message: str, recording: Path, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    asked = source("http://127.0.0.1:9", recording, bearer_token_file=str(tmp_path / "token"))
    with pytest.raises(BadInput, match=re.compile(f"^bearer_token_file: .*{message}", re.IGNORECASE)):
        recorded(tmp_path / "out", asked, recording)


def test_a_source_of_a_prometheus_needs_a_time_and_metrics(tmp_path: Path) -> None:
    path = tmp_path / "source.yaml"
    path.write_text("from: prometheus\nurl: http://a\ncolumns: {time: t}\nbearer_token_file: a\nusername: b\n")
    with pytest.raises(BadInput) as caught:
        load_source(path)
    lines = [line.removeprefix(str(path)) for line in str(caught.value).splitlines()]
    assert [line.split(": ")[1] for line in lines] == [
        "start", "end", "select.metric", "columns.time", "bearer_token_file", "username"
    ]  # fmt: skip


def test_globs_become_patterns_that_match_the_same() -> None:
    assert _selector("a", {"b": ["x?[!a-c].d", "[", "*"]}) == '{__name__="a",b=~"x.[^a-c]\\\\.d|\\\\[|.*"}'


@pytest.mark.parametrize("text", [b"1,", b"1,x", b"1 2", b"0x1"])
def test_what_is_no_number_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"string or file|reshape|convert"):
        _numbers(text).reshape(1, 2)


def test_numbers_are_read_to_their_last_bit() -> None:
    values = [0.1, 1e-300, float("inf"), -1e17, 5e-324, 1773314400.123]
    text = msgspec.json.encode([repr(value) for value in values]).replace(b'"', b"")[1:-1]
    assert _numbers(text.replace(b"inf", b"+Inf")).tolist() == values
