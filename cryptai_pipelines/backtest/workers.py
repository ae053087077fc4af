"""Where tasks of `evaluation` are done: in this process, on its threads, or in processes that share the bars by memory-mapped
files. Results do not depend on it. What is evaluated in which order is the affair of `search`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.evaluation import Answer, Evaluator, Task
from cryptai_pipelines.backtest.parameters import MarketRules
from cryptai_pipelines.backtest.subject import Subject
from cryptai_pipelines.market.bars import OHLCV, index_ms, ts_index
from cryptai_pipelines.market.timeframe import parse_timeframe

_COLUMNS = (*OHLCV, "is_filled")
_evaluator: Evaluator | None = None


class Submit(Protocol):
    """Hands a task to whoever does it next."""

    def __call__(self, task: Task) -> Future[Answer]:
        """The answer, when it is there."""


@contextmanager
def local_workers(subject: Subject, jobs: int | None = None, *, one_signal_set: bool = False) -> Iterator[Submit]:
    """Workers of this machine, `jobs` of them (None: one per core).

    one_signal_set: the points differ in nothing that the strategy reads. What is left to compute then runs on threads at full
    speed, and no process has to be started.
    """
    count = jobs or os.cpu_count() or 1
    if count == 1 or one_signal_set:
        evaluator = Evaluator(subject)
        with _closing(ThreadPoolExecutor(count)) as threads:
            yield lambda task: threads.submit(evaluator.evaluate, task)
    else:
        with tempfile.TemporaryDirectory(prefix="cryptai-sweep-") as folder:
            save_subject(subject, Path(folder))
            with _closing(ProcessPoolExecutor(count, get_context("spawn"), _begin, (folder,))) as processes:
                yield lambda task: processes.submit(_work, task)


@contextmanager
def _closing(pool: Executor) -> Iterator[Executor]:
    """The pool, and its end without what is still to be begun: after a failure nobody wants those answers."""
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def save_subject(subject: Subject, folder: Path) -> None:
    """Write the subject to `folder`, one file per column."""
    np.save(folder / "ts.npy", index_ms(subject.bars.index))
    for name in _COLUMNS:
        np.save(folder / f"{name}.npy", subject.bars[name].to_numpy())
    plain = {"timeframe": subject.timeframe.code, "strategy": subject.strategy}
    parameters = {"defaults": dict(subject.defaults), "asked": dict(subject.asked)}
    (folder / "subject.json").write_text(json.dumps({**plain, **parameters, "market": subject.market.told}))


def load_subject(folder: Path) -> Subject:
    """The subject that `save_subject` wrote, its columns mapped from the files."""
    told = json.loads((folder / "subject.json").read_text())
    columns = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _COLUMNS}
    bars = pd.DataFrame(columns, index=ts_index(np.load(folder / "ts.npy")), copy=False)
    market = MarketRules(**told["market"])
    return Subject(bars, parse_timeframe(told["timeframe"]), told["strategy"], told["defaults"], told["asked"], market)


def _begin(folder: str) -> None:
    global _evaluator
    sys.stdout = sys.stderr  # the output of a command is its result, not what a strategy prints
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    _evaluator = Evaluator(load_subject(Path(folder)))


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, killed even: nobody else would ever end it."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(task: Task) -> Answer:
    assert _evaluator is not None
    return _evaluator.evaluate(task)
