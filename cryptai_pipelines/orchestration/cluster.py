"""Tasks of a search on the workers of a Dask cluster. What a task is stands in `backtest.evaluation`, workers of this machine
are in `backtest.workers`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cryptai_pipelines.backtest.evaluation import Answer, Evaluator, Task
from cryptai_pipelines.backtest.subject import Subject
from cryptai_pipelines.backtest.workers import Submit
from cryptai_pipelines.market.errors import CryptaiError

_PATIENCE = "5s"
# What a worker process made of the subject that it was sent; the subject is kept beside it, so that its id stays its own.
_evaluators: dict[int, tuple[Subject, Evaluator]] = {}


@contextmanager
def cluster_workers(subject: Subject, scheduler: str) -> Iterator[Submit]:
    """The workers of the cluster at `scheduler`, such as `tcp://10.0.0.5:8786`: each is sent the subject once. They must run
    the same version of this package. `CryptaiError` when Dask is not installed, or when nobody answers."""
    try:
        from distributed import Client
    except ImportError:
        raise CryptaiError("--scheduler needs Dask; install it with: pip install 'cryptai-pipelines[cluster]'") from None
    try:
        client = Client(scheduler, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise CryptaiError(f"no Dask scheduler answers at {scheduler}: {' '.join(str(error).split())}") from None
    with client:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise CryptaiError(f"the Dask scheduler at {scheduler} has no workers; start some with: dask worker {scheduler}")
        shared = client.scatter(subject, broadcast=True, hash=False)
        executor = client.get_executor(pure=False)
        yield lambda task: executor.submit(evaluate, shared, task)


def evaluate(subject: Subject, task: Task) -> Answer:
    """The answer to a task, with what this process made of the subject before."""
    if id(subject) not in _evaluators:
        _evaluators.clear()
        _evaluators[id(subject)] = (subject, Evaluator(subject))
    return _evaluators[id(subject)][1].evaluate(task)
