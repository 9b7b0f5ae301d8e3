"""Holding a part of a corpus out: what was chosen on one part is shown on the other. Pure."""

from collections.abc import Sequence

import numpy as np

from holdfast.corpus.loading import Recorded


def incidents(recordings: Sequence[Recorded]) -> list[int]:
    """Return a number for the incident of each recording: the same samples, or one folder below the corpus, are one.

    Recordings of one incident resemble each other; one of them among those that are learned from would tell of the
    other that is held out.
    """
    number: dict[str, int] = {}
    result: list[int] = []
    for each in recordings:
        keys = [f"samples {each.metrics_digest}"]
        if "/" in each.name:
            keys.append(f"folder {each.name.rpartition('/')[0]}")
        known = sorted({number[key] for key in keys if key in number})
        own = known[0] if known else len(result)
        for other in known[1:]:  # what was two incidents by now is one
            number = {key: own if value == other else value for key, value in number.items()}
            result = [own if value == other else value for value in result]
        number |= dict.fromkeys(keys, own)
        result.append(own)
    return result


def held_out(recordings: Sequence[Recorded], share: float, seed: int) -> list[bool]:
    """Choose at random which recordings [recording] are held out: whole incidents, the same share of bad and harmless.

    Of a class of which there are at least two incidents one is held out at least, and one is not; with a share of 0
    nothing is.

    Parameters
    ----------
    recordings
        The corpus.
    share
        Part of the incidents of each class that is held out.
    seed
        Of the choice.
    """
    numbers = incidents(recordings)
    bad = {number for number, each in zip(numbers, recordings, strict=True) if each.truth.bad}
    rng = np.random.default_rng([seed, 3])
    out: set[int] = set()
    for kind in (sorted(bad), sorted(set(numbers) - bad)):
        count = round(share * len(kind))
        if share > 0 and len(kind) > 1:
            count = min(len(kind) - 1, max(1, count))
        drawn: list[int] = rng.permutation(len(kind))[:count].tolist()
        out |= {kind[place] for place in drawn}
    return [number in out for number in numbers]
