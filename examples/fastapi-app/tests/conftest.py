"""The tests see the service as a client does: by its URL, given in APP_URL."""

from __future__ import annotations

import os
from collections.abc import Iterator

import httpx
import pytest


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(base_url=os.environ.get("APP_URL", "http://localhost:8000"), timeout=10) as client:
        yield client
