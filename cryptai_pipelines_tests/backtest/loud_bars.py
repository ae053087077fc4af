"""A small strategy for the tests of searches: buy after a bar of large volume."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from cryptai_pipelines.strategy.parameters import parameter
from cryptai_pipelines.strategy.protocol import Inputs, Strategy


@dataclass(frozen=True)
class Parameters:
    """How loud is loud, and a number that only some values of the other go with."""

    volume: float = parameter(5.0, above=0)
    every: int = parameter(1, low=1, high=9)


def decide(inputs: Inputs, parameters: Parameters) -> pd.DataFrame:
    """A long after a bar with more than `volume`, at every so manieth hour only."""
    if parameters.every == 9:
        raise ZeroDivisionError("nine")
    loud = (inputs.bars["volume"] > parameters.volume) & (inputs.bars.index.hour % parameters.every == 0)
    return pd.DataFrame({"side": loud.astype("int8")}, index=inputs.bars.index)


LOUD_BARS = Strategy(name="loud_bars", code_version="1", parameters=Parameters, decide=decide)
