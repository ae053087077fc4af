"""A database whose process dies between two of its statements: from the Nth one on nothing is executed any more, and what was
not committed is gone. The statements before are real, and so is what they leave behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg2
import psycopg2.extensions

from cryptai_pipelines.storage.database import Database


class Crash(psycopg2.OperationalError):
    """The process is dead; all that follows is only Python unwinding."""


class Fuse:
    """Burns with each statement; `dead` once it has burnt down. Without a length it never does."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.burnt = 0
        self.dead = False

    def light(self, statements: int | None) -> None:
        self.left, self.burnt, self.dead = statements, 0, False

    def burn(self) -> None:
        self.burnt += 1
        if self.left is not None and self.burnt > self.left:
            self.dead = True
        if self.dead:
            raise Crash("the process was killed here")


class CrashingDatabase(Database):
    """A database on a fuse."""

    def __init__(self, url: str, fuse: Fuse) -> None:
        super().__init__(url)
        self.fuse = fuse

    def _connect(self) -> psycopg2.extensions.connection:
        fuse = self.fuse

        class FusedCursor(psycopg2.extensions.cursor):
            def execute(self, *arguments: Any, **named: Any) -> None:
                fuse.burn()
                super().execute(*arguments, **named)

            def copy_expert(self, *arguments: Any, **named: Any) -> None:
                fuse.burn()
                super().copy_expert(*arguments, **named)

        connection = super()._connect()
        connection.cursor_factory = FusedCursor
        return connection

    def _read(self, sql: str, values: Sequence[str]) -> Any:
        self.fuse.burn()
        return super()._read(sql, values)
