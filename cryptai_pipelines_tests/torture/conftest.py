"""Fixtures of the torture tests: a real server, and a database per module."""

from cryptai_pipelines_tests.databases import *  # noqa: F403
