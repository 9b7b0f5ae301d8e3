"""Grafana's dashboards as files: what is committed is what the descriptions make, and Grafana can take it."""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from dashboards.build import HERE, SOURCE, SQL, description, names, query, written
from dashboards.macros import ALL, Range, asked
from sinks.store import Store
from tests.dashboard_rows import SHOWN, Reader

NAMES = names()
FILES = [(path.parent.name, path.stem) for path in sorted(SQL.rglob("*.sql"))]
KINDS = {"bargauge", "histogram", "row", "stat", "state-timeline", "status-history", "table", "timeseries"}
TABLES = re.compile(r"(?<!ARRAY )\b(?:FROM|JOIN)\s+(\w+(?:\.\w+)?)")
MERGED = {"verdicts", "evidence", "cohort_ticks", "rollouts", "rollout_events", "ticks", "dead_letters"}


def dashboard(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return read


def shown(name: str) -> list[dict[str, Any]]:
    """Return the panels that ask something."""
    return [panel for panel in dashboard(name)["panels"] if panel["type"] != "row"]


def test_there_are_four() -> None:
    assert NAMES == ["engine", "fleet", "quality", "rollout"]
    assert sorted(path.stem for path in HERE.glob("*.json")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_is_what_make_dashboards_writes(name: str) -> None:
    assert (HERE / f"{name}.json").read_text(encoding="utf-8") == written(name), "run `make dashboards`"


@pytest.mark.parametrize("name", NAMES)
def test_each_file_of_sql_is_shown_and_each_that_is_shown_is_there(name: str) -> None:
    told = description(name)
    used = {file for panel in told["panels"] for file in panel.get("queries", [])}
    used |= {f"annotation_{each['query']}" for each in told.get("annotations", [])}
    used |= {f"variable_{each['name']}" for each in told["variables"] if each.get("of", name) == name}
    assert {file for folder, file in FILES if folder == name} == used


@pytest.mark.parametrize("name", NAMES)
def test_no_query_stands_in_a_dashboard_twice(name: str) -> None:
    written_down = (HERE / f"{name}.json").read_text(encoding="utf-8")
    for folder, file in FILES:
        if folder == name:
            assert written_down.count(json.dumps(query(name, file), ensure_ascii=False)) == 1


@pytest.mark.parametrize("name", NAMES)
def test_panels_have_numbers_of_their_own_and_kinds_that_grafana_has(name: str) -> None:
    panels = dashboard(name)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["type"] for panel in panels} <= KINDS
    assert all((panel["title"] and panel.get("description")) or panel["type"] == "row" for panel in panels)


@pytest.mark.parametrize("name", NAMES)
def test_no_panel_lies_on_another_or_beyond_the_edge(name: str) -> None:
    places = [panel["gridPos"] for panel in dashboard(name)["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 and place["h"] > 0 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above


@pytest.mark.parametrize("name", NAMES)
def test_grafana_can_take_it(name: str) -> None:
    made = dashboard(name)
    assert (made["uid"], made["schemaVersion"]) == (f"holdfast-{name}", 39)
    assert made["title"] == description(name)["title"]
    variables = made["templating"]["list"]
    assert {each["type"] for each in variables} == {"query"}
    asking = [*shown(name), *variables, *made["annotations"]["list"]]
    assert all(each["datasource"] == SOURCE for each in asking)
    targets = [target for panel in shown(name) for target in panel["targets"]]
    assert all(target["datasource"] == SOURCE and target["editorType"] == "sql" for target in targets)
    assert {(target["queryType"], target["format"]) for target in targets} <= {("table", 1), ("timeseries", 0)}
    for panel in shown(name):
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_that_is_asked_by_is_there(name: str) -> None:
    known = {each["name"] for each in dashboard(name)["templating"]["list"]}
    used = {word for folder, file in FILES if folder == name for word in re.findall(r"\$\{(\w+)", query(name, file))}
    assert used <= known


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_dashboards_that_are_there(name: str) -> None:
    text = json.dumps(dashboard(name))
    assert set(re.findall(r"/d/([\w-]+)", text)) <= {f"holdfast-{each}" for each in NAMES}


# ---------------------------------------------------------------- the SQL


@pytest.mark.parametrize(("name", "file"), FILES)
def test_every_query_names_its_database_and_reads_each_row_once(name: str, file: str) -> None:
    sql = query(name, file)
    inner = set(re.findall(r"\b(\w+) AS\s*\(", sql))
    named = [table for table in TABLES.findall(sql) if table not in inner]
    assert all(table.startswith("holdfast.") for table in named)
    for table in MERGED:
        for found in re.finditer(rf"holdfast\.{table}\b(?P<rest>.{{0,6}})", sql):
            assert found["rest"].startswith(" FINAL"), f"{table} without FINAL"


@pytest.mark.parametrize(("name", "file"), FILES)
def test_series_and_tables_have_a_fixed_order_and_an_end(name: str, file: str) -> None:
    sql = query(name, file)
    assert "ORDER BY" in sql or file in {"verdict", "variable_metric", "abstained"}
    panels = {each: panel for panel in description(name)["panels"] for each in panel.get("queries", [])}
    if file in panels and panels[file]["kind"] == "table":
        assert "LIMIT" in sql or file in {"verdict", "rates"}


def test_texts_in_variables_are_quoted_and_all_leaves_the_condition_out() -> None:
    sql = "SELECT $__conditionalAll(metric IN (${metric:singlequote}), $metric) AND place = ${rollout:singlequote}"
    span = Range(1_000, 2_000, 10)
    some = asked(sql, span, {"metric": ["it's", "b"], "rollout": "x"})
    assert some == "SELECT metric IN ('it\\'s','b') AND place = 'x'"
    assert asked(sql, span, {"metric": ALL, "rollout": "x"}) == "SELECT 1=1 AND place = 'x'"


def test_macros_become_what_the_plug_in_makes_of_them() -> None:
    sql = "$__timeInterval(time) | $__timeFilter(time) | $__timeFilter_ms(time) | $__fromTime_ms | $__toTime"
    assert asked(f"{sql} | $__interval_s", Range(1_415_792_726_371, 1_447_328_726_371, 20), {}).split(" | ") == [
        "toStartOfInterval(toDateTime(time), INTERVAL 20 second)",
        "time >= toDateTime(1415792726) AND time <= toDateTime(1447328726)",
        "time >= fromUnixTimestamp64Milli(1415792726371) AND time <= fromUnixTimestamp64Milli(1447328726371)",
        "fromUnixTimestamp64Milli(1415792726371)",
        "toDateTime(1447328726)",
        "20",
    ]


@pytest.mark.parametrize("sql", ["SELECT $__nothing(time)", "SELECT ${metric}", "SELECT $metric"])
def test_what_nobody_would_replace_is_an_error(sql: str) -> None:
    with pytest.raises(ValueError, match=r"\$"):
        asked(sql, SHOWN, {"metric": "errors"})


# ---------------------------------------------------------------- an empty store


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("empty") / "store"
    with Store(folder):
        reader = Reader(folder)
        yield reader
        reader.close()


@pytest.mark.parametrize("is_chosen", [True, False])
@pytest.mark.parametrize(("name", "file"), FILES)
def test_an_empty_store_gives_no_rows_and_no_error(name: str, file: str, is_chosen: bool, empty: Reader) -> None:
    """Grafana puts an empty text in the place of a variable that has no values to choose from."""
    by_all = (
        {"origin": ALL, "rollout": ALL} if name in {"engine", "quality"} else {"origin": "live", "rollout": "bot-a"}
    )
    variables = (
        by_all | {"stage": ALL, "metric": "errors"} if is_chosen else dict.fromkeys((*by_all, "stage", "metric"), "")
    )
    assert empty.ask(name, file, SHOWN, **variables) == []
