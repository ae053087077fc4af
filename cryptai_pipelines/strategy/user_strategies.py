"""Strategies that are not ours: of a user's file, or of an installed package. What a strategy is stands in `protocol`, the
names of all in `signals`.

A file is run by whoever names it on their own machine; a name that comes from elsewhere must not be looked up here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from cryptai_pipelines.market.errors import BadArgument, BadInput
from cryptai_pipelines.strategy.inputs import indicator_columns
from cryptai_pipelines.strategy.parameters import check_parameters, parameters_of
from cryptai_pipelines.strategy.protocol import Strategy

GROUP = "cryptai_pipelines.strategies"
"""The entry point group: a package's `name = "module:strategy"`."""

_PATH = re.compile(r"(?P<path>.+\.py)(:(?P<member>\w+))?")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,58}")
_PREFERRED = "strategy"


def is_path(name: str) -> bool:
    """Whether `name` is of the form FILE.py or FILE.py:NAME."""
    return _PATH.fullmatch(name) is not None


def strategy_of_file(name: str, taken: Mapping[str, Strategy]) -> Strategy:
    """The strategy of `FILE.py[:NAME]`: the one that is called NAME there, else the one called `strategy`, else the only one.
    Its code version is that of the file's text unless it has one. `taken`: the strategies whose names it may not bear.

    `BadArgument`: no such file, a file that raises, no strategy in it, several of them, one that is not sound.
    """
    found = _PATH.fullmatch(name)
    if found is None:
        raise BadArgument(f"strategy {name!r} is not of the form FILE.py or FILE.py:NAME")
    path = Path(found["path"])
    chosen = _chosen(load_file(path), path, found["member"])
    version = chosen.code_version or hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return _sound(replace(chosen, code_version=version), str(path), taken)


def installed(taken: Mapping[str, Strategy]) -> dict[str, EntryPoint]:
    """The strategies of installed packages by name, not yet imported. `BadArgument` for a name that is in `taken`."""
    found = {one.name: one for one in entry_points(group=GROUP)}
    for name in sorted(found.keys() & taken.keys()):
        raise BadArgument(f"strategy {name!r} of {found[name].value} is called like one of ours; call it otherwise")
    return found


def installed_strategy(entry: EntryPoint, taken: Mapping[str, Strategy]) -> Strategy:
    """The strategy behind an entry point. `BadArgument` as for `strategy_of_file`."""
    try:
        thing = entry.load()
    except (Exception, SystemExit) as error:  # whatever a package does when it is imported is told as its own fault
        raise BadArgument(f"strategy {entry.name!r} of {entry.value} cannot be loaded: {_told(error)}") from error
    if not isinstance(thing, Strategy):
        raise BadArgument(f"strategy {entry.name!r} of {entry.value} is a {type(thing).__name__}; accepted: a Strategy")
    version = thing.code_version or (entry.dist.version if entry.dist else "")
    return _sound(replace(thing, name=entry.name, code_version=version), entry.value, taken)


def load_file(path: Path) -> ModuleType:
    """The module of a user's file, run anew. `BadInput` when there is no such file, or whatever it raises."""
    if not path.is_file():
        raise BadInput(f"there is no file {path}; accepted: a Python file with a strategy or a function of bars")
    spec = importlib.util.spec_from_file_location(f"cryptai_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise BadInput(f"{path} cannot be loaded: it is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses of the file look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise BadInput(f"{path} cannot be loaded: {_told(error)}") from error
    return module


def _chosen(module: ModuleType, path: Path, member: str | None) -> Strategy:
    own = {name: thing for name, thing in vars(module).items() if isinstance(thing, Strategy)}
    listed = ", ".join(own) or "none"
    wanted = member or (_PREFERRED if _PREFERRED in own else None)
    if wanted is not None:
        if wanted not in own:
            raise BadArgument(f"{path} defines no strategy {wanted!r}; defined: {listed}")
        return own[wanted]
    if not own:
        raise BadArgument(f"{path} defines no strategy; accepted: a function under @as_strategy(), or a Strategy")
    if len(own) > 1:
        raise BadArgument(f"{path} defines {listed}; name the one that is meant, as in {path}:{next(iter(own))}")
    return next(iter(own.values()))


def _sound(strategy: Strategy, origin: str, taken: Mapping[str, Strategy]) -> Strategy:
    """`strategy`, when everything about it that can be told without bars is as it should be."""
    name = strategy.name
    if name in taken:
        raise BadArgument(f"strategy {name!r} of {origin} is called like one of ours; call it otherwise")
    if not _NAME.fullmatch(name):
        raise BadArgument(f"strategy {name!r} of {origin} is not accepted; accepted: lower case letters, digits and _")
    if not (isinstance(strategy.parameters, type) and is_dataclass(strategy.parameters)):
        raise BadArgument(f"strategy {name!r} of {origin}: parameters are no dataclass, but {strategy.parameters!r}")
    try:
        parameters = parameters_of(strategy.parameters, {})
        check_parameters(parameters)
        indicator_columns(strategy, parameters)
    except BadArgument as error:
        raise BadArgument(f"strategy {name!r} of {origin}: {error}") from error
    except Exception as error:  # code that is not ours may raise anything, and is told by its name
        raise BadArgument(f"strategy {name!r} of {origin} cannot be asked for its indicators: {_told(error)}") from error
    return strategy


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
