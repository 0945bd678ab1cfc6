"""Marks every test by the directory it lies in: engine, cluster and faults need real parts, unit tests nothing."""

from __future__ import annotations

import pytest

_DIRECTORIES = ("engine", "cluster", "faults")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test the marker that has its directory's name."""
    for item in items:
        for directory in _DIRECTORIES:
            if directory in item.path.parts:
                item.add_marker(directory)
