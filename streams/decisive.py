"""What a reason adds where the change over the whole stage does not say what was decided on."""

import math

from streams.quantiles import unit_of
from streams.wording import View, change_in_words, metric_of, strand_of


def decisive(view: View, test: int, quoted: float | None) -> str:
    """Tell what a stop was decided on, if the change that is quoted is within what is tolerated.

    Harm that began late is spread over the whole stage by its mean; and a quantile moves less than the share of events
    beyond a bucket edge, which is what is tested. It is empty where the quoted change says by itself why the stage was
    stopped. The start of late harm was chosen by what came after it, so it has no bounds that hold.

    Parameters
    ----------
    quoted
        The change as the reason quotes it, relative; None is unbounded.
    """
    evidence, strand = view.evidence, strand_of(view.running, test)
    is_log = bool(evidence.test_is_log[test])
    tolerance = {side: float(limit[test]) for side, limit in zip((1, -1), evidence.tolerance(), strict=True)}
    sides = [side for side, is_worse in ((1, strand.up), (-1, strand.down)) if is_worse]
    whole, edge = float(view.effect[test]), f"{strand.edge:g}"
    if strand.quantile:
        metric = view.running.plan.policy.metrics[metric_of(view, test)]
        allowed, edge = metric.tolerate, edge + unit_of(metric.histogram or "")
        shown, limit = quoted, max(allowed.relative, allowed.absolute / strand.edge)
        says_it = shown is None or any(side * math.log1p(max(shown, -0.999)) > math.log1p(limit) for side in sides)
    else:
        says_it = any(side * whole > tolerance[side] for side in sides)
    if says_it:
        return ""
    for side in sides:
        effects, ages = evidence.portfolio.late(float(side))
        since, ticks = float(effects[test]), int(ages[test])
        bound = f"where the tolerance comes to {change_in_words(side * tolerance[side], is_log)}"
        span = f"The last {ticks} ticks decided" if ticks > 1 else "The last tick decided"
        if side * whole > tolerance[side]:
            return f" What decided: events beyond {edge} changed by {change_in_words(whole, is_log)}, {bound}."
        if ticks and side * since > tolerance[side]:
            changed = change_in_words(since, is_log)
            if not strand.quantile:
                return f" {span}, with {changed}."
            return f" {span}: events beyond {edge} changed by {changed}, {bound}."
    return ""
