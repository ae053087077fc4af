"""Fixtures of the reliability suites: a real Postgres."""

from __future__ import annotations

from cryptai_pipelines_tests.databases import *  # noqa: F403
