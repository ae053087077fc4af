"""One file per step of the schema, in plain SQL. A step that has been released is never edited."""
