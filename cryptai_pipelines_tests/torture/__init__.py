"""The reliability suites: seeded faults, kills and races in numbers, each held against a model. The small sizes are part of the
ordinary tests, the large ones run with `make torture`."""
