"""Fixtures of the web room."""

from __future__ import annotations

from cryptai_pipelines_tests.databases import *  # noqa: F403
