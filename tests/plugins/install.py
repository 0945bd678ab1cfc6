"""Puts the plugins into a Pulumi home of the tests' own: the official ones where this machine has them."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from tests.plugins import VERSIONS
from toolchain import pulumi
from toolchain.shared import ROOT, VENV_DIR, write_atomic

OFFICIAL = "official"
STAND_IN = "stand-in"


def install_into(pulumi_home: Path) -> dict[str, str]:
    """Makes `pulumi_home` one in which the engine finds every plugin of this project.

    The toolchain's own plugins (docker, gitlab, what starts policies) are linked from its home. Returns where
    `kubernetes` and `tls` come from, by plugin: OFFICIAL or STAND_IN.
    """
    plugins = pulumi_home / "plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    for directory in sorted((pulumi.PULUMI_HOME / "plugins").iterdir()):
        if directory.is_dir() and _plugin_of(directory) not in VERSIONS:
            _link(directory, plugins / directory.name)
    return {name: _install(name, version, plugins) for name, version in VERSIONS.items()}


def _install(name: str, version: str, plugins: Path) -> str:
    directory = plugins / f"resource-{name}-v{version}"
    for home in _homes():
        theirs = home / "plugins" / directory.name
        half_done = theirs.with_name(f"{theirs.name}.partial").exists()
        if theirs != directory and not half_done and _is_official(theirs / f"pulumi-resource-{name}"):
            _link(theirs, directory)
            return OFFICIAL
    directory.mkdir(exist_ok=True)
    write_atomic(directory / f"pulumi-resource-{name}", _launcher(name), mode=0o755)
    return STAND_IN


def _homes() -> tuple[Path, ...]:
    own = os.environ.get("PULUMI_HOME")
    return (pulumi.PULUMI_HOME, Path.home() / ".pulumi", *([Path(own)] if own else []))


def _is_official(program: Path) -> bool:
    """Not a launcher of ours, which is a script."""
    try:
        with program.open("rb") as file:
            return file.read(2) != b"#!"
    except OSError:
        return False


def _plugin_of(directory: Path) -> str:
    return directory.name.removeprefix("resource-").rsplit("-v", 1)[0]


def _link(theirs: Path, ours: Path) -> None:
    """A directory of its own with links, because the engine passes over a directory that is a link itself."""
    shutil.rmtree(ours, ignore_errors=True)
    ours.mkdir()
    for file in theirs.iterdir():
        (ours / file.name).symlink_to(file)


def _launcher(name: str) -> str:
    # -P: the plugin starts in the program's directory, whose modules must not shadow ours.
    return (
        "#!/bin/sh\n"
        "# A stand-in for the official plugin, for tests.\n"
        f"PYTHONPATH={shlex.quote(str(ROOT))} export PYTHONPATH\n"
        f'exec {shlex.quote(str(VENV_DIR / "bin" / "python"))} -P -m tests.plugins.{name} "$@"\n'
    )
