"""docs/tables.md names every table there is, with its primary key, and no other."""

from __future__ import annotations

import re

from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.conftest import REPOSITORY

_KEYS = """
SELECT c.table_name, string_agg(k.column_name, ' ' ORDER BY k.ordinal_position)
FROM information_schema.tables AS c JOIN information_schema.table_constraints AS p
  ON p.table_schema = c.table_schema AND p.table_name = c.table_name AND p.constraint_type = 'PRIMARY KEY'
JOIN information_schema.key_column_usage AS k ON k.constraint_schema = p.constraint_schema
  AND k.constraint_name = p.constraint_name
WHERE c.table_schema = 'public' AND c.table_name <> 'alembic_version' GROUP BY 1
"""


def test_every_table_is_on_the_page_with_its_key(database: Database) -> None:
    page = (REPOSITORY / "docs" / "tables.md").read_text()
    told = re.findall(r"^\| `(\w+)` \| [^|]+ \| `([\w ]+)` \|", page, re.MULTILINE)
    assert dict(told) == dict(database.rows(_KEYS))
    assert len(told) == len(dict(told)) == len(re.findall(r"^\| `", page, re.MULTILINE))
