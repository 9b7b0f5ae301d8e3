"""Grafana's dashboards out of short descriptions and the SQL of their panels: `make dashboards`.

Each `<name>.yaml` here becomes `<name>.json`. The SQL stands in `sql/<name>/`, one file a query, and nowhere else: the
JSON is made of it. Panels flow from left to right and top to bottom, so that none lies on another.
"""

import copy
import json
from pathlib import Path
from typing import Any, Final

import yaml

HERE: Final = Path(__file__).resolve().parent
SQL: Final = HERE / "sql"

Node = dict[str, Any]

SOURCE: Final = {"type": "grafana-clickhouse-datasource", "uid": "clickhouse"}
SCHEMA_VERSION: Final = 39
COLUMNS: Final = 24
ROW_HEIGHT: Final = 1

_FORMATS: Final = {"timeseries": 0, "table": 1}
"""What the plug-in calls the two forms of an answer, in words and as Grafana's backend numbers them."""

_COLOURS: Final = {
    "advance": "green",
    "wait": "blue",
    "halt": "orange",
    "revert": "red",
    "finished": "text",
    "caught": "green",
    "passed": "green",
    "late": "orange",
    "missed": "red",
    "false alarm": "red",
    "unjudged": "text",
}

_LEGEND: Final = {"displayMode": "list", "placement": "bottom", "showLegend": True}


def names() -> list[str]:
    """Name the dashboards, sorted."""
    return sorted(path.stem for path in HERE.glob("*.yaml"))


def description(name: str) -> Node:
    """Read what a dashboard is to be like."""
    read: Node = yaml.safe_load((HERE / f"{name}.yaml").read_text(encoding="utf-8"))
    return read


def query(name: str, file: str) -> str:
    """Read a query of a dashboard, macros and variables as they stand."""
    return (SQL / name / f"{file}.sql").read_text(encoding="utf-8").strip()


def build(name: str) -> Node:
    """Put a dashboard together, as Grafana reads it."""
    told = description(name)
    return {
        "uid": f"holdfast-{name}",
        "title": told["title"],
        "description": told["description"],
        "tags": ["holdfast"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "utc",
        "refresh": told.get("refresh", ""),
        "time": {"from": told["from"], "to": "now"},
        "links": [_link()],
        "templating": {"list": [_variable(name, each) for each in told["variables"]]},
        "annotations": {"list": [_annotation(name, each) for each in told.get("annotations", [])]},
        "panels": _panels(name, told["panels"]),
    }


def written(name: str) -> str:
    """Return the text of a dashboard's JSON file."""
    return json.dumps(build(name), indent=2, ensure_ascii=False) + "\n"


def _link() -> Node:
    return {
        "type": "dashboards",
        "tags": ["holdfast"],
        "title": "holdfast",
        "asDropdown": False,
        "keepTime": True,
        "includeVars": False,
    }


def _variable(name: str, told: Node) -> Node:
    sql = query(told.get("of", name), f"variable_{told['name']}")
    has_all = told.get("all", False)
    first = {"text": "All", "value": "$__all"} if has_all else told.get("current", {})
    multi = told.get("multi", False)
    return {
        "name": told["name"],
        "label": told["label"],
        "type": "query",
        "datasource": SOURCE,
        "query": {"refId": "A", "editorType": "sql", "queryType": "table", "format": 1, "rawSql": sql},
        "refresh": 2,  # whenever the range of time changes, too
        "sort": 0,
        "multi": multi,
        "includeAll": has_all,
        "current": {key: [value] for key, value in first.items()} if multi else first,
        "options": [],
    }


def _annotation(name: str, told: Node) -> Node:
    target = {"refId": "Anno", "editorType": "sql", "queryType": "table", "format": 1}
    return {
        "name": told["name"],
        "datasource": SOURCE,
        "enable": True,
        "iconColor": told["colour"],
        "target": target | {"rawSql": query(name, f"annotation_{told['query']}")},
    }


def _panels(name: str, told: list[Node]) -> list[Node]:
    """Lay panels out; one that does not fit into the rest of its line begins a new one."""
    panels = []
    x = y = line_height = 0
    for number, each in enumerate(told, start=1):
        width, height = each.get("size", [COLUMNS, ROW_HEIGHT])
        if x + width > COLUMNS:
            x, y, line_height = 0, y + line_height, 0
        place = {"x": x, "y": y, "w": width, "h": height}
        panels.append({"id": number, "gridPos": place, "title": each["title"]} | _body(name, each))
        x, line_height = x + width, max(line_height, height)
    return panels


def _body(name: str, told: Node) -> Node:
    """Return what a panel shows and how."""
    kind = told["kind"]
    repeated = {"repeat": told["repeat"]} if "repeat" in told else {}
    if kind == "row":
        return {"type": "row", "collapsed": False, "panels": []} | repeated
    look = copy.deepcopy(_LOOKS[kind])
    form = look.pop("form")
    fields = look["fieldConfig"]
    fields["defaults"] |= {"noValue": "none"} | told.get("defaults", {})
    fields["defaults"]["custom"] = fields["defaults"].get("custom", {}) | told.get("custom", {})
    fields["overrides"] = [_override(field, told_of) for field, told_of in told.get("fields", {}).items()]
    look["options"] |= told.get("options", {})
    added = {key: told[key] for key in ("transformations", "maxDataPoints", "interval") if key in told}
    targets = [
        {
            "refId": "ABCDEF"[place],
            "datasource": SOURCE,
            "editorType": "sql",
            "queryType": form,
            "format": _FORMATS[form],
            "rawSql": query(name, file),
        }
        for place, file in enumerate(told["queries"])
    ]
    return look | {"datasource": SOURCE, "description": told["description"].strip(), "targets": targets} | added


def _override(field: str, told: Node) -> Node:
    """Say how one field is shown, found by its name."""
    properties = [{"id": key, "value": value} for key, value in told.items()]
    return {"matcher": {"id": "byName", "options": field}, "properties": properties}


def _mapped() -> list[Node]:
    """Give actions and outcomes their colours."""
    options = {word: {"color": colour, "index": place} for place, (word, colour) in enumerate(_COLOURS.items())}
    return [{"type": "value", "options": options}]


def _lines(**custom: object) -> Node:
    base = {"drawStyle": "line", "lineWidth": 2, "fillOpacity": 0, "showPoints": "auto", "spanNulls": False}
    return {
        "type": "timeseries",
        "form": "timeseries",
        "fieldConfig": {"defaults": {"color": {"mode": "palette-classic"}, "custom": base | custom}},
        "options": {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}},
    }


_LOOKS: Final[dict[str, Node]] = {
    "lines": _lines(),
    "bars": _lines(drawStyle="bars", fillOpacity=80, lineWidth=0, stacking={"mode": "normal", "group": "A"}),
    "table": {
        "type": "table",
        "form": "table",
        "fieldConfig": {"defaults": {"custom": {"align": "auto", "filterable": True}, "mappings": _mapped()}},
        "options": {"showHeader": True, "cellHeight": "sm"},
    },
    "numbers": {
        "type": "stat",
        "form": "table",
        "fieldConfig": {"defaults": {"color": {"mode": "fixed", "fixedColor": "text"}}},
        "options": {
            "reduceOptions": {"values": True, "calcs": [], "fields": "", "limit": 20},
            "textMode": "value_and_name",
            "colorMode": "value",
            "graphMode": "none",
        },
    },
    "bar-gauge": {
        "type": "bargauge",
        "form": "table",
        "fieldConfig": {"defaults": {"color": {"mode": "palette-classic"}, "min": 0}},
        "options": {
            "reduceOptions": {"values": True, "calcs": [], "fields": "", "limit": 100},
            "orientation": "horizontal",
            "displayMode": "basic",
            "showUnfilled": True,
        },
    },
    "states": {
        "type": "state-timeline",
        "form": "table",
        "fieldConfig": {"defaults": {"custom": {"fillOpacity": 80, "lineWidth": 0}, "mappings": _mapped()}},
        "options": {"mergeValues": True, "showValue": "auto", "rowHeight": 0.85, "legend": _LEGEND},
    },
    "heat": {
        "type": "status-history",
        "form": "timeseries",
        "fieldConfig": {"defaults": {"color": {"mode": "continuous-GrYlRd"}, "custom": {"fillOpacity": 80}}},
        "options": {"showValue": "never", "rowHeight": 0.9, "colWidth": 1, "legend": _LEGEND},
    },
    "histogram": {
        "type": "histogram",
        "form": "table",
        "fieldConfig": {"defaults": {"color": {"mode": "palette-classic"}, "custom": {"fillOpacity": 80}}},
        "options": {"legend": _LEGEND},
    },
}


def main() -> None:
    """Write the JSON files."""
    for name in names():
        (HERE / f"{name}.json").write_text(written(name), encoding="utf-8")


if __name__ == "__main__":
    main()
