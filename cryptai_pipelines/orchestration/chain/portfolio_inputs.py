"""What a portfolio reads: of each of its series what a single trial reads and its strategy decides, on several threads. A
series that fails, fails alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pandas as pd

from cryptai_pipelines.backtest.market_arrays import BarArrays, joined
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain import validated_bars
from cryptai_pipelines.orchestration.chain.assessment import GateEvidence, together
from cryptai_pipelines.orchestration.chain.backtest_results import Trial
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Progress
from cryptai_pipelines.orchestration.chain.trial_inputs import nothing_simulated, read_inputs
from cryptai_pipelines.orchestration.chain.walk import one_line
from cryptai_pipelines.storage import state
from cryptai_pipelines.storage.database import Database, DatabaseUnavailable

logger = logging.getLogger(__name__)

_ATTEMPTS = 3


@dataclass(frozen=True)
class SeriesInputs:
    """`arrays`: the bars of the trial's window with what is decided on them, nothing else of them being kept. `closes`: one a
    day. `filled`: how many bars are filled. `revision`: that of the validated bars."""

    arrays: BarArrays
    closes: pd.Series
    filled: int
    gates: GateEvidence
    revision: int


def read_together(
    database: Database, series: Sequence[Series], trial: Trial, threads: int, on_progress: OnProgress
) -> tuple[dict[Series, SeriesInputs], dict[Series, Exception]]:
    """The inputs of each series, and the errors of those that have none, both in the order of `series`, whatever the number of
    threads. `DatabaseUnavailable` is everyone's."""
    pool = ThreadPoolExecutor(max_workers=max(1, min(threads, len(series))), thread_name_prefix="series")
    try:
        futures = {one: pool.submit(_read_or_fail, database, one, trial, on_progress) for one in series}
        read = {one: future.result() for one, future in futures.items()}
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    failures = {one: found for one, found in read.items() if isinstance(found, Exception)}
    return {one: found for one, found in read.items() if isinstance(found, SeriesInputs)}, failures


def gates_together(inputs: Mapping[Series, SeriesInputs]) -> GateEvidence:
    """What the gates said on all bars of all series, of which there is at least one."""
    return together([one.gates for one in inputs.values()])


def _read_or_fail(database: Database, series: Series, trial: Trial, on_progress: OnProgress) -> SeriesInputs | Exception:
    try:
        return _read(database, series, trial, on_progress)
    except DatabaseUnavailable:
        raise
    except Exception as error:  # a strategy may raise anything on a series, and must not keep the others from their result
        logger.warning("%s failed: %s", series, one_line(error), exc_info=logger.isEnabledFor(logging.DEBUG))
        return error


def _read(database: Database, series: Series, trial: Trial, on_progress: OnProgress) -> SeriesInputs:
    """Nothing is written, so no lease is taken, which would hold up those who write the series; bars that changed in the midst
    of it are read again."""
    for _ in range(_ATTEMPTS):
        inputs, parts, bars = read_inputs(database, series, trial), list[BarArrays](), 0
        start, end = inputs.span
        for end_ms, arrays in inputs.blocks:
            parts.append(arrays)
            bars += len(arrays.ts)
            on_progress(Progress("portfolio", series, end_ms - start, end - start, bars))
        judged = state.read_state(database, validated_bars.ASSET, series)
        if judged is not None and judged.revision == inputs.revision:
            if not parts:
                raise nothing_simulated(trial, series, inputs.whole)
            evidence = together(inputs.gates)
            return SeriesInputs(joined(parts), inputs.daily_closes(), sum(inputs.filled), evidence, inputs.revision)
    raise CryptaiError(f"bars of {series} were written {_ATTEMPTS} times while they were read; run it again")
