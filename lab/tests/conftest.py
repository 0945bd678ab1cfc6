"""The lab's own tests need neither engine nor cluster."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give them the marker of such tests, also where none of the product's are run with them."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("unit")
