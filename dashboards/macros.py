"""What Grafana and its ClickHouse plug-in make of a query before the server sees it, for tests and benchmarks.

After the plug-in's documentation and what its version 4 does: `$__conditionalAll` first, then variables, then macros.
Nothing here runs in Grafana.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

ALL: Final = "$__all"
"""What a variable holds on which "All" is chosen."""

_CONDITIONAL: Final = "$__conditionalAll("
_VARIABLE: Final = re.compile(r"\$\{(\w+):singlequote\}")
_MACRO: Final = re.compile(r"\$__(\w+)(?:\(([^()]*)\))?")


@dataclass(frozen=True, slots=True)
class Range:
    """What the time picker says: both ends in epoch milliseconds, and the width of an interval in seconds."""

    start_ms: int
    end_ms: int
    interval_seconds: int


def asked(sql: str, shown: Range, variables: Mapping[str, str | Sequence[str]]) -> str:
    """Put range and variables into a query.

    Parameters
    ----------
    sql
        As it stands in its file.
    shown
        The range of time.
    variables
        Value of each variable: a text, several texts, or `ALL`.

    Raises
    ------
    ValueError
        If something is left that nobody would replace.
    """
    text = _chosen(sql, variables)
    text = _VARIABLE.sub(lambda found: _quoted(variables[found[1]]), text)
    text = _MACRO.sub(lambda found: _expanded(found[1], found[2] or "", shown), text)
    if "$" in text:
        message = f"what is behind $ is neither a variable nor a macro: {text[text.index('$') :][:40]}"
        raise ValueError(message)
    return text


def _chosen(sql: str, variables: Mapping[str, str | Sequence[str]]) -> str:
    """Leave out conditions on variables that hold "All"."""
    while (start := sql.rfind(_CONDITIONAL)) >= 0:
        depth, end = 1, start + len(_CONDITIONAL)
        while depth:
            depth += {"(": 1, ")": -1}.get(sql[end], 0)
            end += 1
        condition, _, variable = sql[start + len(_CONDITIONAL) : end - 1].rpartition(",")
        is_all = variables[variable.strip().removeprefix("$")] == ALL
        sql = sql[:start] + ("1=1" if is_all else condition) + sql[end:]
    return sql


def _quoted(value: str | Sequence[str]) -> str:
    values = [value] if isinstance(value, str) else value
    return ",".join("'" + each.replace("'", "\\'") + "'" for each in values)


def _expanded(name: str, argument: str, shown: Range) -> str:
    argument = argument.strip()
    start, end = f"toDateTime({shown.start_ms // 1000})", f"toDateTime({shown.end_ms // 1000})"
    start_ms, end_ms = (f"fromUnixTimestamp64Milli({end})" for end in (shown.start_ms, shown.end_ms))
    width = shown.interval_seconds
    known = {
        "fromTime": start,
        "toTime": end,
        "fromTime_ms": start_ms,
        "toTime_ms": end_ms,
        "timeFilter": f"{argument} >= {start} AND {argument} <= {end}",
        "timeFilter_ms": f"{argument} >= {start_ms} AND {argument} <= {end_ms}",
        "timeInterval": f"toStartOfInterval(toDateTime({argument}), INTERVAL {width} second)",
        "interval_s": str(width),
    }
    if name not in known:
        message = f"${'__'}{name} is no macro that the dashboards use; allowed: {', '.join(sorted(known))}"
        raise ValueError(message)
    return known[name]
