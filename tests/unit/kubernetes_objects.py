"""Objects of Kubernetes to start a test from."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from tests.plugins.kubernetes import diff


def changed(base: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with another value at a path; None takes it away."""
    made = copy.deepcopy(dict(base))
    *parents, last = diff.parsed(path)
    inner: Any = made
    for part in parents:
        inner = inner[part]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return made
