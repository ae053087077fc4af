"""The history of the schema (Alembic). It is run by `schema.upgrade`; there is no ini file."""
