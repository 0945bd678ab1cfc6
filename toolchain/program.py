"""What the program says of a stack, once its packages are there: which of what is here it needs."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from dataclasses import dataclass

from toolchain.shared import ROOT, VENV_DIR, ToolchainError

_ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Told:
    """As `python -m tools target` prints it."""

    target: str
    gitlab_is_sandbox: bool
    engine_is_elsewhere: bool
    is_on_cluster: bool

    @property
    def needs_engine_here(self) -> bool:
        """The sandbox is at home on one, whatever the stack itself uses."""
        return self.gitlab_is_sandbox or not self.engine_is_elsewhere


@functools.cache
def ask(stack: str) -> Told:
    """Asks once a run. Raises ToolchainError where the stack's files, in the current directory, do not say it."""
    # -P: what lies in the current directory must not shadow the program.
    command = [str(VENV_DIR / "bin" / "python"), "-P", "-m", "tools", "target", stack]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ToolchainError(
            f"the settings of stack {stack} were not read within {_ANSWER_SECONDS:g} s: try again"
        ) from None
    if done.returncode:
        raise ToolchainError(done.stderr.strip())
    return Told(**json.loads(done.stdout))
