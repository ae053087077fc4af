"""What the project's speed is measured with: one module per subject, each with `run()`; `python -m benchmarks` prints all.

Timings belong here and are never asserted in tests.
"""
