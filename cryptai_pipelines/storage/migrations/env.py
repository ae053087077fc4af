"""Runs migrations on the connection that `schema.upgrade` passes in; there is no offline mode and no other configuration."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
