"""Where a sandbox keeps what, and where it listens unless it is told otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolchain.shared import TOOLCHAIN_DIR

DEFAULT_STATE = TOOLCHAIN_DIR / "sandbox"
DEFAULT_INFO = TOOLCHAIN_DIR / "sandbox.json"
DEFAULT_PORT = 8929
DEFAULT_REGISTRY_PORT = 5005


@dataclass(frozen=True)
class Places:
    """What lies where below a state directory."""

    state: Path

    @property
    def processes(self) -> Path:
        """What runs: process IDs, addresses, and of which source."""
        return self.state / "processes.json"

    @property
    def log(self) -> Path:
        """What the server printed."""
        return self.state / "sandbox.log"

    @property
    def registry_log(self) -> Path:
        """What the registry printed; its configuration lies beside it."""
        return self.state / "registry.log"

    @property
    def lock(self) -> Path:
        """Held by whoever starts or stops."""
        return self.state / "lock"
