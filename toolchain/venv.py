"""Python virtual environments: the project's own `.venv`, and private ones for tools."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from toolchain.debian import APT_TURN
from toolchain.shared import (
    ROOT,
    TOOLCHAIN_DIR,
    VENV_DIR,
    Say,
    ToolchainError,
    cache_dir,
    digest_of,
    file_lock,
    progress,
    run,
    write_atomic,
)

_REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")
_CONSTRAINTS = "constraints.txt"
_PIP_LIMIT = 1800.0
_UNFINISHED = "unfinished"
"""Stands in an environment while pip works on it: pip takes a package that it was interrupted at for installed.

What works on it holds a lock on this file: of a killed run the processes that venv has started go on for a moment.
"""
MARKER = VENV_DIR / "requirements.sha256"
"""Written when the packages are all in `.venv`; holds what they were installed from."""


def make_venv(path: Path, *, say: Say) -> Path:
    """Makes a virtual environment with pip at `path` unless a whole one is there; returns its python.

    Raises ToolchainError where Python's venv module is incomplete (Debian) and we may not install the missing package.
    """
    python = path / "bin" / "python"
    if python.exists() and not (path / _UNFINISHED).exists():
        return python
    if not _can_make_venv():
        _install_venv_package(say)
    with file_lock(path / _UNFINISHED, say=say):
        shutil.rmtree(path, ignore_errors=True)
    with progress(say, f"making the virtual environment {path}"), _unfinished(path, say) as lock:
        run([sys.executable, "-m", "venv", path], what=f"python -m venv {path}", limit=300, stdin=lock)
    return python


def ensure_project_venv(*, say: Say) -> bool:
    """Brings `.venv` to what the requirement files say; returns whether anything had to be done.

    The files' hash is written last. After an interrupted installation the environment is made anew, from pip's cache.
    """
    wanted = requirements_digest(ROOT)
    if is_current(MARKER, wanted):
        return False
    with file_lock(TOOLCHAIN_DIR / "venv.lock", say=say):
        if is_current(MARKER, wanted):
            return False
        MARKER.unlink(missing_ok=True)
        python = make_venv(VENV_DIR, say=say)
        with progress(say, "installing the Python packages into .venv"), _unfinished(VENV_DIR, say) as lock:
            files = [word for name in _REQUIREMENTS for word in ("-r", str(ROOT / name))]
            run(
                [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *files],
                what="pip install into .venv",
                limit=_PIP_LIMIT,
                stdin=lock,
            )
        write_atomic(MARKER, wanted + "\n")
    return True


def install_pinned(name: str, version: str, sha256: Sequence[str], folder: Path, *, say: Say) -> None:
    """Unpacks a package without dependencies from PyPI, one of whose wheels has one of these digests, into `folder`.

    Raises ToolchainError where it cannot be had or has another digest.
    """
    venv = cache_dir() / f"{name}-{version}-pip"
    python = make_venv(venv, say=say)
    hashes = " ".join(f"--hash=sha256:{digest}" for digest in sha256)
    wanted = venv / "wanted.txt"
    write_atomic(wanted, f"{name}=={version} {hashes}\n")
    options = ["--no-deps", "--no-compile", "--only-binary=:all:", "--require-hashes"]
    run(
        [python, "-m", "pip", "install", "--quiet", *options, "--target", folder, "-r", wanted],
        what=f"installing {name} {version} from PyPI",
        limit=900,
    )


def requirements_digest(root: Path) -> str:
    """What `.venv` depends on: the text of the requirement files."""
    return digest_of(*(root.joinpath(name).read_bytes() for name in (*_REQUIREMENTS, _CONSTRAINTS)))


def is_current(marker: Path, wanted: str) -> bool:
    """Whether the environment that `marker` lies in was completed for `wanted` and its Python is still there."""
    python = marker.parent / "bin" / "python"
    return marker.exists() and marker.read_text().strip() == wanted and python.exists()


@contextlib.contextmanager
def _unfinished(path: Path, say: Say) -> Iterator[IO[bytes]]:
    with file_lock(path / _UNFINISHED, say=say) as lock:
        yield lock
        (path / _UNFINISHED).unlink()


def _can_make_venv() -> bool:
    try:
        run([sys.executable, "-c", "import venv, ensurepip"], limit=60)
    except ToolchainError:
        return False
    return True


def _install_venv_package(say: Say) -> None:
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    command = f"apt-get update && apt-get install --yes {package}"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ToolchainError(
            f"{sys.executable} cannot make virtual environments (its ensurepip is missing). "
            f"Install it and repeat; on Debian and Ubuntu: sudo sh -c '{command}'"
        )
    with progress(say, f"installing Debian's {package}"), APT_TURN:
        run(["sh", "-c", command], what=command, limit=600, env={"DEBIAN_FRONTEND": "noninteractive"})
