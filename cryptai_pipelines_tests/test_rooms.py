"""Who may import whom, and what loading the definitions may cost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
HEAVY = ("ccxt", "mlflow", "sklearn", "numba", "plotly", "matplotlib", "talib", "pandera")


def test_rooms_import_only_what_the_architecture_allows():
    """In a process of its own, because the linter switches off every logger that it finds."""
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports('pyproject.toml', no_cache=True))"
    linted = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert linted.returncode == 0 and "kept" in linted.stdout.lower(), linted.stdout + linted.stderr


def test_loading_the_definitions_stays_cheap():
    code = f"import sys, cryptai_pipelines.definitions; print([name for name in {HEAVY!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert loaded.stdout.strip() == "[]"


def test_only_orchestration_and_definitions_name_dagster():
    package = REPOSITORY / "cryptai_pipelines"
    importing = {
        path.relative_to(package).parts[0]
        for path in package.rglob("*.py")
        if any(line.strip().startswith(("import dagster", "from dagster")) for line in path.read_text().splitlines())
    }
    assert importing == {"orchestration", "definitions.py"}


def test_only_settings_reads_the_environment():
    package = REPOSITORY / "cryptai_pipelines"
    reading = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if any(text in path.read_text() for text in ("os.getenv", "os.environ.get", "os.environ["))
    }
    assert reading <= {"cli/demo.py"}, "reading CRYPTAI_* belongs to settings.py"
