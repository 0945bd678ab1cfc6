"""The program of a stack, `__main__.py`, with a clock beside it: writes what it took to the file $BENCH_FIGURES."""

import atexit
import json
import os
import re
import time
from importlib import import_module
from pathlib import Path

BEGAN = time.perf_counter()
for module in ("settings", "fit", "build"):
    import_module(f"stacks.docker_host.{module}")

import pulumi  # noqa: E402

from stacks.load import load  # noqa: E402
from stacks.targets import build  # noqa: E402

IMPORTED = time.perf_counter()
for name, value in build(load()).items():
    pulumi.export(name, value)
BUILT, CPU = time.perf_counter(), time.process_time()


def write() -> None:
    """At the end, when every resource is registered; waiting for the engine is not the program's time."""
    peak = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    figures = {
        "imports": IMPORTED - BEGAN,
        "own": BUILT - IMPORTED + time.process_time() - CPU,
        "peak": int(peak[1]) / 1024 if peak else 0.0,
    }
    Path(os.environ["BENCH_FIGURES"]).write_text(json.dumps(figures))


atexit.register(write)
