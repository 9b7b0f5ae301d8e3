"""What a stage stands on: whether what came up since it began changes anything for it."""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np

from streams.cohorts import RowKey
from streams.plan import Plan
from streams.strata import others_of
from streams.totals import limit_of


def judged_rows(plan: Plan, index: int, keys: Sequence[RowKey]) -> list[RowKey]:
    """Return the rows that a stage is judged by.

    They are those of its canaries and its controls, those that tell which colos the rollout has reached, and those of
    the metrics whose totals are watched, whoever was summed.
    """
    membership = plan.membership
    reached = np.array([0 <= stage <= index for stage, _ in membership.signatures], np.bool_)
    counts = (membership.canary(index) | membership.controls(index) | reached).tolist()
    is_watched = [limit_of(metric) > 0 for metric in plan.policy.metrics] + [False]
    return [key for key in keys if counts[key.signature] or is_watched[key.metric]]


def basis_of(plan: Plan, index: int, keys: Sequence[RowKey], first: int | None) -> str:
    """Return a digest of all that a stage is begun with but the past: two of the same are judged alike, bit for bit.

    Signatures count by what they say of this stage, whatever their numbers are.

    Parameters
    ----------
    plan, index
        The rollout, and which of its stages it is.
    keys
        [row] What is known.
    first
        First tick of the stage's past; None if it has none.
    """
    membership = plan.membership
    others = others_of(membership, plan.others, first)
    changing = [other for other, since in enumerate(others.since) if since is not None]
    said = zip(
        membership.canary(index).tolist(),
        membership.controls(index).tolist(),
        [0 <= stage <= index for stage, _ in membership.signatures],
        others.reached[:, changing].tolist(),
        strict=True,
    )
    meaning = list(said)
    rows = [(*key[:4], *meaning[key.signature]) for key in judged_rows(plan, index, keys)]
    edges = sorted({(key.metric, key.edge) for key in keys if key.edge})
    rivals = [(others.names[other], others.stages[other], others.since[other]) for other in changing]
    whole = plan.stages[index], len(plan.stages), first, rivals, edges, rows
    return sha256(repr(whole).encode()).hexdigest()
