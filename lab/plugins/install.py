"""Puts the plugins into a Pulumi home of the tests' own: the toolchain's, and for `tls` the official or a stand-in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from toolchain import pulumi

OFFICIAL = "official"
STAND_IN = "stand-in"

_TLS = f"resource-tls-v{pulumi.TLS_VERSION}"
_PROGRAM = "pulumi-resource-tls"


def install_into(pulumi_home: Path) -> str:
    """Makes `pulumi_home` one in which the engine finds every plugin of this project.

    The toolchain's own plugins are linked from its home. Returns where `tls` comes from: OFFICIAL or STAND_IN.
    """
    plugins = pulumi_home / "plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    for directory in sorted((pulumi.PULUMI_HOME / "plugins").iterdir()):
        if directory.is_dir() and directory.name != _TLS:
            _link(directory, plugins / directory.name)
    return _install_tls(plugins / _TLS)


def _install_tls(directory: Path) -> str:
    for home in _homes():
        theirs = home / "plugins" / directory.name
        half_done = theirs.with_name(f"{theirs.name}.partial").exists()
        if theirs != directory and not half_done and _is_official(theirs / _PROGRAM):
            _link(theirs, directory)
            return OFFICIAL
    directory.mkdir(exist_ok=True)
    program = directory / _PROGRAM
    program.unlink(missing_ok=True)
    program.symlink_to(Path(__file__).parent / "tls" / _PROGRAM)
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


def _link(theirs: Path, ours: Path) -> None:
    """A directory of its own with links, because the engine passes over a directory that is a link itself."""
    shutil.rmtree(ours, ignore_errors=True)
    ours.mkdir()
    for file in theirs.iterdir():
        (ours / file.name).symlink_to(file)
