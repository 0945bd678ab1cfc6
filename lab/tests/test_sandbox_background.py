"""Programs in the background, and what the sandbox's registry does with them; no registry is needed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.gitlab import background, registry
from toolchain.shared import LimitReached, ToolchainError

ROOT = Path(__file__).resolve().parents[2]
SLEEP = "import time; time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); {SLEEP}"


def start(log: Path, script: str, *words: str) -> int:
    """A Python program, ready when it has printed something."""
    return background.start(
        "the program",
        [sys.executable, "-c", script, *words],
        log=log,
        answers=lambda: log.stat().st_size > 0,
        started=lambda _: None,
    )


def gone(pid: int) -> bool:
    """Whether a process ends within 5 s."""
    end = time.monotonic() + 5
    while background.runs(pid, "-c"):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_the_process_id_is_told_before_the_wait(tmp_path: Path) -> None:
    noted: list[int] = []
    command = [sys.executable, "-c", SLEEP]
    options = {"log": tmp_path / "log", "answers": lambda: bool(noted), "started": noted.append}
    pid = background.start("the program", command, **options)  # type: ignore[arg-type]
    assert noted == [pid]
    background.stop("the program", pid, SLEEP)
    assert gone(pid)


def test_one_that_ends_at_once_is_told_with_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "import sys; sys.exit('no luck')"
    with pytest.raises(ToolchainError) as caught:
        background.start(
            "the program", [sys.executable, "-c", script], log=log, answers=lambda: False, started=lambda _: None
        )
    words = f"the program ended with exit code 1 before it answered. The last lines of {log}:\n    no luck"
    assert str(caught.value) == words


def test_one_that_never_answers_is_ended_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "READY_LIMIT", 0.2)
    noted: list[int] = []
    command = [sys.executable, "-c", SLEEP]
    with pytest.raises(LimitReached, match=r"^waited 0\.2 s for the program to answer\. The last lines of "):
        background.start("the program", command, log=tmp_path / "log", answers=lambda: False, started=noted.append)
    assert gone(noted[0])


def test_one_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "STOP_LIMITS", ((signal.SIGTERM, 0.2), (signal.SIGKILL, 5.0)))
    pid = start(tmp_path / "log", STUBBORN, "mine")
    background.stop("the program", pid, "mine")
    assert gone(pid)


def test_the_wait_for_an_end_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = start(tmp_path / "log", STUBBORN, "mine")
    with monkeypatch.context() as patched:
        patched.setattr(background, "STOP_LIMITS", ((signal.SIGTERM, 0.1), (signal.SIGTERM, 0.1)))
        with pytest.raises(LimitReached) as caught:
            background.stop("the program", pid, "mine")
    words = f"the program (process {pid}) did not end, not even of SIGKILL: see `ps -o stat,wchan {pid}`"
    assert str(caught.value) == words
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)


def test_one_that_is_not_to_outlive_its_parent_ends_with_it(tmp_path: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
from lab.gitlab import background
background.start("it", [sys.executable, "-c", {SLEEP!r}], log=Path({str(tmp_path / "log")!r}),
                 answers=lambda: True, started=lambda pid: print(pid, flush=True), outlives=False)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert background.runs(pid, SLEEP)
        parent.kill()
    assert gone(pid)


def test_only_the_registry_with_the_own_configuration_is_stopped(tmp_path: Path) -> None:
    other = start(tmp_path / "1", f"print('up', flush=True); {SLEEP}", "serve", "/other/registry.yml")
    own = start(tmp_path / "2", f"print('up', flush=True); {SLEEP}", "serve", str(tmp_path / "registry.yml"))
    for pid in (other, own):
        registry.stop(pid, tmp_path / "registry.log")
    assert gone(own)
    assert background.runs(other, "serve")
    background.stop("the other one", other, "/other/registry.yml")


def test_what_jobs_push_stays_in_the_sandboxs_own_storage(tmp_path: Path) -> None:
    shared, own = tmp_path / "shared", tmp_path / "own"
    (shared / "docker").mkdir(parents=True)
    (shared / "docker" / "image").write_text("seeded")
    said: list[str] = []

    def copy(*names: str) -> None:
        registry.private_copy(shared, own, names, say=said.append)

    copy("dindrunner/job:1")
    (own / "docker" / "image").write_text("pushed by a job")
    copy("dindrunner/job:1")
    assert (shared / "docker" / "image").read_text() == "seeded"
    assert (own / "docker" / "image").read_text() == "pushed by a job"
    copy("dindrunner/job:2")
    assert (own / "docker" / "image").read_text() == "seeded"
    assert [line for line in said if line.endswith("…")] == ["copying the images for this sandbox's registry …"] * 2
