"""The blend of a strategy's own score with sentiment and prediction. Where those come from, and what a strategy makes of the
blend, is not said here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from cryptai_pipelines.market.errors import BadArgument

WEIGHTS = {"strategy": 0.60, "sentiment": 0.20, "ml": 0.20}
"""Unless asked otherwise (design section 7)."""

_ROUNDING = 1e-9


class Blend(NamedTuple):
    """`score`: in [-1, 1], NaN where no part is known. `coverage`: the weight of the parts that are, in [0, 1]. float64."""

    score: np.ndarray
    coverage: np.ndarray


def blend(parts: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> Blend:
    """The weighted mean of `parts` (float64 in [-1, 1], NaN where absent), row by row over those that are there: what is absent
    is left out and the other weights grow in proportion. `BadArgument` for weights that are not on the simplex, or not those of
    the parts."""
    check_weights(weights)
    if parts.keys() != weights.keys():
        raise BadArgument(f"weights {', '.join(weights)} are not those of the parts {', '.join(parts)}")
    known = {name: ~np.isnan(values) for name, values in parts.items()}
    coverage = np.add.reduce([known[name] * weight for name, weight in weights.items()])
    # Shares of the coverage, not of 1: a part that is there alone is the score to the last bit.
    covered = np.where(coverage > 0, coverage, np.nan)
    shares = {name: known[name] * weight / covered for name, weight in weights.items()}
    score = np.add.reduce([np.where(known[name], parts[name], 0.0) * share for name, share in shares.items()])
    return Blend(np.clip(score, -1.0, 1.0), coverage)


def check_weights(weights: Mapping[str, float]) -> None:
    """`BadArgument` for a weight below 0, or weights whose sum is not 1."""
    for name, weight in weights.items():
        if not weight >= 0:
            raise BadArgument(f"weight of {name} {weight!r} is not accepted; accepted: 0 and above")
    if not abs(sum(weights.values()) - 1) <= _ROUNDING:
        told = " + ".join(f"{name} {weight:g}" for name, weight in weights.items())
        raise BadArgument(f"weights {told} are {sum(weights.values()):g} together; accepted: 1")
