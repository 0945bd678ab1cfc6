"""The fixtures of the tests on real parts."""

from __future__ import annotations

from tests.engine.conftest import environment, new_stack, sandbox

__all__ = ["environment", "new_stack", "sandbox"]
