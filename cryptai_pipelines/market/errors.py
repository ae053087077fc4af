"""The one exception a person is meant to read. Errors that only code reacts to live in the room that raises them."""

from __future__ import annotations


class CryptaiError(Exception):
    """Something the user can mend. The message is one line: the thing, its value, and what is accepted."""


class BadInput(CryptaiError):
    """An argument or setting is outside what is accepted; the command line ends with exit code 2."""


class BadArgument(BadInput, ValueError):
    """An argument of a public function is outside what is accepted. A `ValueError` too, for callers outside this project."""
