"""Programs that go on in the background: started, waited for, recognised, stopped."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from toolchain.shared import LimitReached, ToolchainError, elapsed, end_with_parent

READY_LIMIT = 30.0
"""Seconds until a program has to answer."""
STOP_LIMITS = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))
"""What ends a program, and how many seconds it has for it."""
_LOG_LINES = 15


def start(
    name: str,
    command: Sequence[str | Path],
    *,
    log: Path,
    answers: Callable[[], bool],
    started: Callable[[int], None],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    outlives: bool = True,
) -> int:
    """Starts a program, waits until it answers and returns its process ID.

    name: for messages. log: gets what it prints. started: told the process ID before the wait, so that one who was
    killed meanwhile has noted it. outlives: whether it goes on when this process ends.
    Raises ToolchainError with its last lines where it ends, LimitReached where it does not answer; then it is gone.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the end of the terminal is not its end
            preexec_fn=None if outlives else end_with_parent,
        )
    try:
        started(process.pid)
        give_up = time.monotonic() + READY_LIMIT
        while not answers():
            if (code := process.poll()) is not None:
                raise ToolchainError(f"{name} ended with exit code {code} before it answered.{_last_lines(log)}")
            if time.monotonic() > give_up:
                raise LimitReached(f"waited {elapsed(READY_LIMIT)} for {name} to answer.{_last_lines(log)}")
            time.sleep(0.05)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process.pid


def runs(pid: object, *words: str) -> bool:
    """Whether this process exists and has these words in its command line: process IDs are used again."""
    try:
        found = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return False
    return set(words) <= set(found)


def stop(name: str, pid: object, *words: str) -> None:
    """Ends a program that `start` has started; does nothing where `runs` says no. Raises LimitReached."""
    for number, limit in STOP_LIMITS:
        give_up = time.monotonic() + limit
        if isinstance(pid, int) and runs(pid, *words):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)  # its whole session: a `git http-backend` must not stay behind
        while isinstance(pid, int) and runs(pid, *words):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            if time.monotonic() > give_up:
                break
            time.sleep(0.05)
        else:
            return
    raise LimitReached(f"{name} (process {pid}) did not end, not even of SIGKILL: see `ps -o stat,wchan {pid}`")


def require_free(host: str, port: int, option: str) -> None:
    """Raises ToolchainError, which names the option of the command line, where nobody can listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ToolchainError(
                    f"{option}: {host}:{port} is in use by another program (`ss -ltnp 'sport = :{port}'` shows it); "
                    f"stop that one, or choose another port with {option}"
                ) from None
            if error.errno == errno.EADDRNOTAVAIL:
                raise ToolchainError(
                    f"--host: {host} is no address of this machine; give one that the stack's containers can reach"
                ) from None
            raise ToolchainError(f"{option}: cannot listen on {host}:{port}: {error.strerror}") from None


def _last_lines(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
    return f" The last lines of {log}:" + "".join(f"\n    {line}" for line in lines)
