"""The machine and the versions that figures belong to."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from bench.world import World
from tests.engine.world import ROOT, docker, run


def machine() -> dict[str, Any]:
    """Cores, memory and kernel."""
    memory = re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory[1]) / 2**20, 1) if memory else None,
        # Without what the one who built it calls it.
        "kernel": platform.release().partition("-")[0],
        "architecture": platform.machine(),
    }


def versions(world: World) -> dict[str, str]:
    """Of what is measured."""
    plugins = json.loads(run("pulumi", "plugin", "ls", "--json", env=world.environment).stdout)
    return {
        "docker": docker("version", "--format", "{{.Server.Version}}"),
        "daemon": world.images["dind"].rpartition(":")[2],
        "gitlab-runner": world.images["runner"].rpartition(":")[2],
        "pulumi": run("pulumi", "version", env=world.environment).stdout.strip(),
        **{f"plugin {each['name']}": each["version"] for each in plugins},
        "python": platform.python_version(),
    }


def commit() -> str:
    """What is checked out, with `-dirty` where files have changed since; empty outside a clone."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=8"], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    return done.stdout.strip()
