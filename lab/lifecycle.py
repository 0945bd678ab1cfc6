"""What stacks on this machine need around `pulumi up` and `pulumi destroy`: the sandbox, and the engine it is on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from lab import images
from stacks.settings.mistakes import SettingsError
from toolchain import engine
from toolchain.program import Told
from toolchain.recover import recover
from toolchain.shared import TOOLCHAIN_DIR, Say, ToolchainError
from toolchain.state import is_up, kept, pulumi_text, remove, stacks
from tools.pulumi_cli import PARALLEL
from tools.stack_files import SETTINGS_KEY
from tools.target import describe

_IMAGE = f"{SETTINGS_KEY}.daemon.image"


def start_sandbox(stack: str, start: Callable[[], object]) -> None:
    """For a stack that names the sandbox as its GitLab."""
    if _is_described(stack) and _told(stack).gitlab_is_sandbox:
        _tell("== sandbox GitLab")
        start()


def destroy(stack: str, start: Callable[[], object], say: Say) -> int:
    """Destroys a stack and forgets it, but for what is protected; the exit code. start: the sandbox."""
    _tell(f"== pulumi destroy of stack {stack}")
    if stack not in (one["name"] for one in stacks()):
        _tell(f"there is no stack {stack}")
        return 0
    if _needs_engine_here(stack):
        engine.up(say)
    # It has to answer, so that the runners can be taken out of it.
    start_sandbox(stack, start)
    pulumi_text("stack", "select", stack)
    recover(stack, say)
    lines = kept(stack)
    if code := _on_terminal("destroy", "--yes", "--exclude-protected", *PARALLEL, "--stack", stack):
        return code
    remove(stack, say)
    for line in lines:
        _tell(line)
    return 0


def stop(stack: str, stop_sandbox: Callable[[], object], say: Say) -> None:
    """Stops the sandbox and the engine that was started here, unless a stack is still up.

    A stack elsewhere has used neither, and another checkout may.
    """
    if not _needs_engine_here(stack):
        return
    if is_up():
        _tell("the sandbox and the engine stay, because another stack is still up (pulumi stack ls)")
        return
    _tell("== sandbox GitLab and Docker engine")
    stop_sandbox()
    engine.down(say)


def use_next_daemon(stack: str, daemon: str, say: Say) -> int:
    """Gives a stack a daemon of the next series, until the next `make up`, which knows nothing of it; the exit code."""
    if daemon != "next":
        raise ToolchainError(f"DAEMON is {daemon}: write DAEMON=next, or leave it out for the stack's own daemon")
    told = _told(stack)
    if told.is_on_cluster or not told.gitlab_is_sandbox:
        raise ToolchainError(
            f"stack {stack} keeps its daemon: one of the next series is for stacks on this machine whose GitLab is "
            "the sandbox"
        )
    _tell(f"== stack {stack} with a daemon of the next series, until the next make up")
    image = images.ensure_next(say)
    settings = TOOLCHAIN_DIR / f"Pulumi.{stack}-next.yaml"
    shutil.copy(_settings(stack), settings)
    recover(stack, say)
    file = ("--stack", stack, "--config-file", str(settings))
    pulumi_text("config", "set", *file, "--path", _IMAGE, image)
    return _on_terminal("up", "--yes", *PARALLEL, *file)


def _settings(stack: str) -> Path:
    return Path(f"Pulumi.{stack}.yaml")


def _told(stack: str) -> Told:
    """What the toolchain asks another process for, before the packages are there."""
    try:
        return Told(**describe(Path(), stack, os.environ.get("DOCKER_HOST")))
    except SettingsError as error:
        raise ToolchainError(str(error)) from None


def _is_described(stack: str) -> bool:
    """Whether there is a file with its settings; a stack can be destroyed without."""
    return _settings(stack).exists()


def _needs_engine_here(stack: str) -> bool:
    return not _is_described(stack) or _told(stack).needs_engine_here


def _tell(line: str) -> None:
    print(line, flush=True)


def _on_terminal(*arguments: str) -> int:
    """Runs Pulumi where the user sees it, and returns its exit code. Raises KeyboardInterrupt after an interrupt.

    The terminal tells it as well: it begins nothing new, gives back the stack's lock, and may say that all went well.
    """
    interrupts: list[int] = []
    # Empty while it is being started, when a signal may come as well.
    started: list[subprocess.Popen[bytes]] = []

    def interrupt(number: int, _: object) -> None:
        interrupts.append(number)
        for process in started if number == signal.SIGTERM else ():
            # Sent to this process alone.
            process.send_signal(signal.SIGINT)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        started.append(subprocess.Popen(["pulumi", "--non-interactive", *arguments]))
        status = started[0].wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if interrupts:
        raise KeyboardInterrupt
    return status
