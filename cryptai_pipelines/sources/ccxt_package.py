"""ccxt without the hundred exchanges that nobody asked for.

Importing ccxt imports every exchange it knows, half a second of each command. Its modules stand alone, so the package is put in
place unexecuted, and is executed as soon as anybody wants anything of it that is not one of its modules: to everyone else it is
the ccxt that `import ccxt` gives.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import sys
import threading
from types import ModuleType
from typing import Any

_NAME = "ccxt"
_lock = threading.RLock()
_executing: list[ModuleType] = []


class _Unexecuted(ModuleType):
    """A package whose own code runs when an attribute is missed. Other threads wait for it; it may miss some itself."""

    def __getattr__(self, name: str) -> Any:
        with _lock:
            if name not in self.__dict__ and not _executing:
                _execute(self)
        if name not in self.__dict__:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return self.__dict__[name]

    def __setattr__(self, name: str, value: Any) -> None:
        # A module that is imported is set here under its name, where the executed package has the class of that name.
        if not (isinstance(value, ModuleType) and hasattr(value, name)):
            super().__setattr__(name, value)


def _execute(package: ModuleType) -> None:
    _executing.append(package)
    try:
        package.__spec__.loader.exec_module(package)  # type: ignore[union-attr]
        package.__class__ = ModuleType  # type: ignore[assignment]
    finally:
        _executing.clear()


def exchange_class(ccxt_id: str) -> Any:
    """ccxt's class of an exchange; only its own module is loaded, unless ccxt was imported before."""
    with _lock:
        first = _NAME not in sys.modules
        if first:
            _put_in_place()
        module = importlib.import_module(f"{_NAME}.{ccxt_id}")
        if first:
            # What is loaded by now stays for good; each page's rows would have the collector look through all of it again.
            gc.freeze()
    return getattr(module, ccxt_id)


def _put_in_place() -> None:
    spec = importlib.util.find_spec(_NAME)
    if spec is None or spec.loader is None:
        return  # The import that follows says so in Python's own words.
    package = importlib.util.module_from_spec(spec)
    package.__class__ = _Unexecuted  # type: ignore[assignment]
    sys.modules[_NAME] = package
