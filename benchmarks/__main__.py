"""`python -m benchmarks [NAME ...] [--json]`: run all benchmarks or the named ones and print one table with ratios."""

from __future__ import annotations

import sys

from benchmarks.runner import main

if __name__ == "__main__":
    main(sys.argv[1:])
