"""What every part of the toolchain needs: places, progress lines, commands with a limit, locks, whole files."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import grp
import hashlib
import http.client
import os
import pwd
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

Say = Callable[[str], None]
"""Prints one line of progress."""

ROOT = Path(__file__).resolve().parent.parent
TOOLCHAIN_DIR = ROOT / ".toolchain"
VENV_DIR = ROOT / ".venv"

NO_SPACE = (
    "no space is left on its device: free some (`docker system df` and `du -sh ~/.cache` show what takes it) and "
    "repeat; what is done already is kept"
)
_OUT_OF_SPACE = "no space left on device"

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1
_HEARTBEAT_SECONDS = 20.0
_GRACE = 5.0
"""Seconds that a command has to end after it was asked to."""
_TAIL_LINES = 15

_running: set[subprocess.Popen[bytes]] = set()
"""The commands of all threads."""
_stopping = threading.Event()


class ToolchainError(Exception):
    """Something could not be had; the text says what, why and what to do about it."""


def run_command(command: Callable[[], int]) -> int:
    """The exit code of a command line's work: 1 after a ToolchainError, 130 once interrupted, with no traceback."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return command()
    except ToolchainError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"error: {error.filename or error}: {NO_SPACE}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


class LimitReached(ToolchainError):
    """A wait took longer than its limit."""


class Stopped(Exception):
    """Given up because another part of the same command failed or was interrupted.

    It is no ToolchainError: code that tries something else after such an error must not do so now.
    """


def cache_dir() -> Path:
    """The cache that all clones share: `DINDRUNNER_CACHE`, else below `XDG_CACHE_HOME`, else below `~/.cache`.

    Raises ToolchainError where others can write there: programs are run from it.
    """
    if chosen := os.environ.get("DINDRUNNER_CACHE"):
        path = Path(chosen).absolute()
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        path = Path(base).absolute() / "gitlab-dind-runners"
    with contextlib.suppress(FileNotFoundError):
        _refuse_others(path, path.stat())
    return path


def _refuse_others(path: Path, found: os.stat_result) -> None:
    own, shown, mode = os.geteuid(), shlex.quote(str(path)), stat.S_IMODE(found.st_mode)
    if found.st_uid not in (own, 0):
        why, remedy = f"belongs to user {found.st_uid}, and this is user {own}", f"chown -R {own} {shown}"
    elif mode & stat.S_IWOTH or (mode & stat.S_IWGRP and not _is_of_one(found.st_gid, own)):
        why, remedy = f"has mode {mode:04o}, so that others can write there", f"chmod go-w {shown}"
    else:
        return
    raise ToolchainError(
        f"{path}: {why}, and programs are run from it: delete it, or, if you trust what is in it, run: {remedy}; or "
        "set DINDRUNNER_CACHE to a directory of your own"
    )


def _is_of_one(group: int, user: int) -> bool:
    """Whether a group is that which a user has alone, as Debian gives one to each."""
    try:
        name, found = pwd.getpwuid(user).pw_name, grp.getgrgid(group)
    except KeyError:
        return False
    return found.gr_name == name and set(found.gr_mem) <= {name}


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar archive of plain files. Raises ToolchainError where anything in it would lead out of the folder.

    The first releases of Python 3.11 have no filter for that.
    """
    inside = folder.resolve()
    with tarfile.open(archive) as tar:
        for entry in tar:
            if not (entry.isreg() or entry.isdir()) or not (inside / entry.name).resolve().is_relative_to(inside):
                raise ToolchainError(
                    f"{archive.name}: holds {entry.name!r}, which is no file or directory inside of it; it is not used"
                )
            # Nothing that others may write, and no rights of somebody else.
            entry.mode &= 0o755
        tar.extractall(folder)


def log_dir() -> Path:
    """Where the full output of the commands goes."""
    path = TOOLCHAIN_DIR / "log"
    path.mkdir(parents=True, exist_ok=True)
    return path


def make_say(start: float | None = None) -> Say:
    """A `Say` that prints to standard error, after the time since `start` (a `time.monotonic()`; default: now)."""
    began = time.monotonic() if start is None else start
    lock = threading.Lock()

    def say(text: str) -> None:
        with lock:
            print(f"[{elapsed(time.monotonic() - began):>7}] {text}", file=sys.stderr, flush=True)

    return say


def elapsed(seconds: float) -> str:
    """A duration for people: `0.4 s`, `59 s`, `3 min 20 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


@contextlib.contextmanager
def progress(say: Say, what: str) -> Iterator[None]:
    """Says `what` at once, again every 20 s while it goes on, and at the end how long it took."""
    began = time.monotonic()
    done = threading.Event()

    def heartbeat() -> None:
        while not done.wait(_HEARTBEAT_SECONDS):
            say(f"{what} … {elapsed(time.monotonic() - began)}")

    say(f"{what} …")
    thread = threading.Thread(target=heartbeat, daemon=True)
    thread.start()
    outcome = "failed after"
    try:
        yield
        outcome = "done in"
    finally:
        done.set()
        thread.join()
        say(f"{what}: {outcome} {elapsed(time.monotonic() - began)}")


def run(
    command: Sequence[str | Path],
    *,
    limit: float,
    what: str = "",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    stdin: bytes | IO[bytes] | None = None,
) -> str:
    """Runs a command for at most `limit` seconds and returns its standard output.

    `what` names it in messages (default: its first words). `env` is laid over the current environment. `log` gets
    everything that it prints (standard output included, so the result is then the log's whole text). A command that
    exceeds its limit, or is interrupted, is stopped with all its children; it does not outlive this process.

    Raises ToolchainError with the last lines of its output where it fails, LimitReached where it takes too long.
    """
    words = [str(word) for word in command]
    name = what or " ".join(words[:3])
    with contextlib.ExitStack() as stack:
        if log:
            log.parent.mkdir(parents=True, exist_ok=True)
        out = stack.enter_context(_scratch(log))
        err = out if log else stack.enter_context(_scratch(None))
        check_stop(name)
        try:
            process = subprocess.Popen(
                words,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                stdin=subprocess.PIPE if isinstance(stdin, bytes) else stdin or subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        except OSError as error:
            raise ToolchainError(f"{name}: cannot run {words[0]}: {error.strerror}") from error
        _running.add(process)
        try:
            check_stop(name)
            process.communicate(stdin if isinstance(stdin, bytes) else None, timeout=limit)
        except BaseException as error:
            _stop_group(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise LimitReached(f"{name}: not finished after {elapsed(limit)}, stopped.{_tail(err, log)}") from None
            raise
        finally:
            _running.discard(process)
        check_stop(name)
        if process.returncode:
            tail = _tail(err, log)
            if _OUT_OF_SPACE in tail.lower():
                raise ToolchainError(f"{name}: {NO_SPACE}.{tail}")
            raise ToolchainError(f"{name}: failed with exit code {process.returncode}.{tail}")
        out.seek(0)
        return out.read().decode(errors="replace")


def stop_commands() -> None:
    """Ends what `run` runs in other threads; until it is resumed, nothing is run, and no lock is waited for."""
    _stopping.set()
    ended = [process for process in _running.copy() if process.poll() is None]
    for process in ended:
        _signal_group(process, signal.SIGTERM)
    give_up = time.monotonic() + _GRACE
    while any(process.poll() is None for process in ended) and time.monotonic() < give_up:
        time.sleep(0.05)
    for process in ended:
        if process.poll() is None:
            _signal_group(process, signal.SIGKILL)


def resume_commands() -> None:
    """Takes back `stop_commands`."""
    _stopping.clear()


def check_stop(name: str) -> None:
    """To be asked by what takes long without `run`. Raises Stopped where it is to be given up."""
    if _stopping.is_set():
        raise Stopped(f"{name}: given up")


def end_with_parent() -> None:
    """For a process that is started: it is asked to end when the thread that started it ends or is killed.

    Else a command would go on under the feet of the next run when this one is killed.
    """
    if _LIBC:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _scratch(log: Path | None) -> IO[bytes]:
    return log.open("w+b") if log else tempfile.TemporaryFile()


def _stop_group(process: subprocess.Popen[bytes]) -> None:
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        _signal_group(process, signal_number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
            return


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # Commands under sudo are not ours to signal; what stopped us is more important than that.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _tail(stream: IO[bytes], log: Path | None) -> str:
    stream.seek(0)
    lines = stream.read().decode(errors="replace").strip().splitlines()[-_TAIL_LINES:]
    where = f" Its whole output is in {log}." if log else ""
    return where + "".join(f"\n    {line}" for line in lines)


@contextlib.contextmanager
def file_lock(path: Path, *, say: Say, limit: float = 1800.0) -> Iterator[IO[bytes]]:
    """Holds an exclusive lock on `path`; waits up to `limit` seconds for another process that holds it.

    The kernel drops the lock with its holder, so a killed process leaves nothing to clean up. A command whose standard
    input is what this gives holds the lock, too, and so does all that it starts.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as handle:
        give_up = time.monotonic() + limit
        told = False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                check_stop(f"waiting for {path}")
                if time.monotonic() > give_up:
                    raise LimitReached(
                        f"waited {elapsed(limit)} for another process that holds {path}; see `fuser {path}`"
                    ) from None
                if not told:
                    say(f"waiting for another process that holds {path}")
                    told = True
                time.sleep(0.2)
        yield handle


def write_atomic(path: Path, content: str | bytes, *, mode: int = 0o644) -> None:
    """Writes a whole file or none: what stood there before stays until the new text is on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """Gives an empty directory to fill, which takes `path`'s place only when the block ends without an error.

    To be called under a lock: what a killed run left half-done beside `path` is removed first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{path.name}.tmp*"):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.tmp"))
    try:
        yield temporary
        temporary.chmod(0o755)
        if path.exists():
            old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.tmp"))
            os.replace(path, old / "it")
            os.replace(temporary, path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Puts `source` at `target` without a second copy of its bytes where both lie in one file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copy2(source, temporary)
    os.replace(temporary, target)


def digest_of(*parts: str | bytes) -> str:
    """A short hash (12 hex digits) of the parts, told apart by their lengths."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(f"{len(data)}:".encode() + data)
    return total.hexdigest()[:12]


def reachable(url: str, *, limit: float = 4.0) -> bool:
    """Whether anything but a proxy's refusal answers at `url` within `limit` seconds."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=limit):
            return True
    except urllib.error.HTTPError as error:
        return error.code in (401, 404, 405)
    except (OSError, ValueError, http.client.HTTPException):
        return False
