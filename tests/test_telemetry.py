"""What a worker counts of itself."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from holdfast.live import telemetry
from holdfast.live.telemetry import Page, Telemetry


def values(*workers: Telemetry) -> dict[str, float]:
    """Return what stands on the page, without role and worker: `name{label=value}`."""
    page = CollectorRegistry()
    page.register(Page([each.registry for each in workers]))
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(generate_latest(page).decode()):
        for sample in family.samples:
            rest = {name: value for name, value in sample.labels.items() if name not in ("role", "worker")}
            found[sample.name + "".join(f"{{{name}={value}}}" for name, value in sorted(rest.items()))] = sample.value
    return found


@pytest.fixture
def worker() -> Telemetry:
    return Telemetry("judge", "one")


def test_what_loops_tell_stands_on_the_page(worker: Telemetry) -> None:
    worker.samples("metrics", "arrow", 10_000)
    worker.samples("metrics", "otlp", 500)
    worker.dropped({"late": 3, "future": 2})
    worker.dead_letter("undecodable")
    worker.ticks_closed(4)
    worker.ticks_open(7)
    worker.ticks_open(3)
    worker.past(2, 700)
    worker.tick_judged(500, {"late": 1})
    worker.checkpoint("bot-0312", 2_000)
    worker.checkpoint("bot-0312", 3_000)
    worker.checkpoint_unfit()
    worker.uncertified(2)
    worker.stored("evidence", 7)
    worker.store_failure()
    worker.queues({"metrics": 12}, 5)
    found = values(worker)
    assert {
        "holdfast_samples_total{format=arrow}{topic=metrics}": 10_000,
        "holdfast_samples_total{format=otlp}{topic=metrics}": 500,
        "holdfast_samples_dropped_total{reason=late}": 3,
        "holdfast_samples_dropped_total{reason=future}": 2,
        "holdfast_dead_letters_total{reason=undecodable}": 1,
        "holdfast_ticks_closed_total": 4,
        "holdfast_ticks_open": 3,
        "holdfast_past_rollouts": 2,
        "holdfast_past_messages": 700,
        "holdfast_ticks_judged_total": 1,
        "holdfast_samples_judged_total": 500,
        "holdfast_samples_judged_dropped_total{reason=late}": 1,
        "holdfast_checkpoint_bytes{rollout=bot-0312}": 3_000,
        "holdfast_checkpoint_written_bytes_total": 5_000,
        "holdfast_checkpoints_unfit_total": 1,
        "holdfast_rollouts_uncertified": 2,
        "holdfast_rows_stored_total{table=evidence}": 7,
        "holdfast_store_failures_total": 1,
        "holdfast_backlog_messages{topic=metrics}": 12,
        "holdfast_producer_queue_messages": 5,
    }.items() <= found.items()


def test_only_transactions_that_were_committed_count_as_messages_and_time(worker: Telemetry) -> None:
    worker.transaction(0.02, is_committed=True, records=9)
    worker.transaction(0.0, is_committed=False, records=9)
    found = values(worker)
    assert found["holdfast_transactions_total{outcome=committed}"] == 1
    assert found["holdfast_transactions_total{outcome=aborted}"] == 1
    assert found["holdfast_transaction_seconds_count"] == 1
    assert found["holdfast_records_out_total"] == 9


def test_a_tick_without_a_new_verdict_has_a_latency_all_the_same(worker: Telemetry) -> None:
    worker.decided(0.2, None)
    worker.decided(0.03, "revert")
    found = values(worker)
    assert found["holdfast_tick_to_verdict_seconds_count"] == 2
    assert found["holdfast_tick_to_verdict_seconds_bucket{le=0.05}"] == 1
    assert found["holdfast_verdicts_total{action=revert}"] == 1


def test_partitions_that_come_and_go_are_counted(worker: Telemetry) -> None:
    worker.rebalance("assigned", 6)
    worker.rebalance("revoked", 2)
    worker.rebalance("lost", 1)
    worker.rejoined()
    found = values(worker)
    assert found["holdfast_rejoins_total"] == 1
    assert found["holdfast_partitions_assigned"] == 3
    assert found["holdfast_rebalances_total{kind=lost}"] == 1


def test_a_lag_grows_while_nothing_comes(worker: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    worker.open_partitions({"metrics/0": 90_000, "metrics/1": None})
    worker.colos({"ams01": 80_000})
    monkeypatch.setattr(telemetry, "now_ms", lambda: 100_000)
    found = values(worker)
    assert found["holdfast_partition_lag_seconds{partition=metrics/0}"] == 10.0
    assert found["holdfast_colo_lag_seconds{colo=ams01}"] == 20.0
    assert found["holdfast_partitions_idle"] == 1
    monkeypatch.setattr(telemetry, "now_ms", lambda: 160_000)
    assert values(worker)["holdfast_partition_lag_seconds{partition=metrics/0}"] == 70.0


def test_a_partition_without_data_has_no_lag_that_could_pass_as_none(worker: Telemetry) -> None:
    worker.open_partitions({"metrics/1": None})
    assert "holdfast_partition_lag_seconds{partition=metrics/1}" not in values(worker)


def test_partitions_that_were_given_up_are_gone(worker: Telemetry) -> None:
    worker.open_partitions({"metrics/0": 1, "metrics/1": 1})
    worker.open_partitions({"metrics/0": 1})
    assert [name for name in values(worker) if "lag" in name] == ["holdfast_partition_lag_seconds{partition=metrics/0}"]


def test_names_from_outside_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "now_ms", lambda: 10_000)
    worker = Telemetry("aggregate", "one", names_max=2)
    for number in range(5):
        worker.dropped({f"reason-{number}": 1})
    worker.dropped({"reason-0": 1})
    worker.colos({"ams01": 9_000, "fra02": 8_000, "gru01": 7_000, "hkg01": 4_000})
    found = values(worker)
    assert found["holdfast_samples_dropped_total{reason=reason-0}"] == 2
    assert found["holdfast_samples_dropped_total{reason=other}"] == 3
    assert len([name for name in found if name.startswith("holdfast_samples_dropped_total")]) == 3
    # The worst of the rest: it must not hide behind the others.
    assert found["holdfast_colo_lag_seconds{colo=other}"] == 6.0


def test_workers_share_a_page_and_nothing_else() -> None:
    aggregate, judge = Telemetry("aggregate", "one"), Telemetry("judge", "one")
    aggregate.ticks_closed(3)
    page = CollectorRegistry()
    page.register(Page([aggregate.registry, judge.registry]))
    text = generate_latest(page).decode()
    assert text.count("# TYPE holdfast_ticks_closed_total counter") == 1
    assert 'holdfast_ticks_closed_total{role="aggregate",worker="one"} 3.0' in text
    assert 'holdfast_ticks_closed_total{role="judge",worker="one"} 0.0' in text


def test_a_loop_that_goes_round_is_not_silent(worker: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("holdfast.live.telemetry.time.monotonic", lambda: clock[0])
    worker.alive()
    clock[0] = 107.5
    assert worker.silent_seconds == 7.5
    assert values(worker)["holdfast_loop_silent_seconds"] == 7.5
