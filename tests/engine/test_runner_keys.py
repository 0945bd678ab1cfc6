"""The stored list of GitLab Runner's keys is what its own structures have. It needs Go, and no Docker engine."""

from __future__ import annotations

import json
import subprocess

from lab import images
from tests.unit.test_runner_keys import STORED
from toolchain import gobuild

PROGRAM = gobuild.GoBinary("gitlab-runner-keys", "./keys", images.RUNNER.version, module="gitlab-runner", home="lab")


def test_the_stored_keys_are_those_of_the_pinned_runner() -> None:
    """After a new version: `go run ./keys` in lab/go/gitlab-runner prints what belongs into the file as `keys`."""
    done = subprocess.run([gobuild.build(PROGRAM, say=print)], text=True, capture_output=True, timeout=60, check=True)
    assert json.loads(done.stdout) == STORED["keys"]
