"""Does what needs root on the machine: commands by sudo, and packages of Debian and its derivatives."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

from toolchain.shared import Say, ToolchainError, log_dir, progress, run

ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where root's programs are; nothing in it can be written by users."""
_ENVIRONMENT = ("env", "DEBIAN_FRONTEND=noninteractive")
_SUDO_LIMIT = 30.0
APT_TURN = threading.Lock()
"""Held by the part that uses the machine's apt, which does not wait for another one's lock on its lists."""


def root_prefix(why: str) -> list[str]:
    """What to put before a command that needs root: nothing, or sudo.

    Raises ToolchainError, beginning with `why`, where neither root nor sudo without a password is to be had.
    """
    if os.geteuid() == 0:
        return []
    with contextlib.suppress(ToolchainError):  # there is no sudo, it asks for a password, or its directory is silent
        run(["sudo", "-n", "true"], limit=_SUDO_LIMIT)
        return ["sudo", "-n"]
    raise ToolchainError(
        f"{why}, and that needs root: run as root, allow sudo without a password, or start Docker yourself "
        "(https://docs.docker.com/engine/install/) and try again"
    )


def find_program(name: str) -> str | None:
    """The path of a program that root runs: the PATH of users often lacks the directories that it is in."""
    return shutil.which(name, path=f"{ROOT_PATH}:{os.environ.get('PATH', '')}")


def install_packages(packages: Iterable[str], as_root: list[str]) -> None:
    """Installs Debian packages, without the ones they only recommend, and removes none.

    Raises ToolchainError where apt fails, also where a package that is there would have to go.
    """
    names = list(packages)
    apt = _apt_get(as_root)
    install = [*apt, "install", "--yes", "--no-install-recommends", "--no-remove", *names]
    what = f"apt-get install {' '.join(names)}"
    log = log_dir() / f"apt-install-{names[0]}.log"
    with APT_TURN:
        _update(as_root)
        try:
            run(install, limit=900, what=what, log=log)
        except ToolchainError as error:
            # apt's own words where an earlier installation was interrupted.
            if "dpkg --configure -a" not in str(error):
                raise
            run([*as_root, *_ENVIRONMENT, "dpkg", "--configure", "-a"], limit=900, what="dpkg --configure -a")
            run(install, limit=900, what=what, log=log)


def unpack_package(name: str, folder: Path, as_root: list[str]) -> None:
    """Puts the files of the package that this machine's suite has into `folder`, and installs nothing.

    Raises ToolchainError where apt cannot download it.
    """
    packages = folder / "packages"
    packages.mkdir()
    # Root's apt would go to its own user, who may not write here, and warn.
    download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=", "download", name]
    with APT_TURN:
        _update(as_root)
        run(download, limit=300, what=f"apt-get download {name}", cwd=packages)
    for package in packages.glob("*.deb"):
        run(["dpkg-deb", "--extract", package, folder], limit=300)
    shutil.rmtree(packages)


def _update(as_root: list[str]) -> None:
    run([*_apt_get(as_root), "update"], limit=300, what="apt-get update", log=log_dir() / "apt-update.log")


def _apt_get(as_root: list[str]) -> list[str]:
    # -o: another apt may be at work.
    return [*as_root, *_ENVIRONMENT, "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]


def ensure_program(name: str, say: Say) -> None:
    """Has a program whose Debian package has its name. Raises ToolchainError where it cannot be installed."""
    if shutil.which(name):
        return
    remedy = f"{name} is missing: install it (on Debian and Ubuntu: sudo apt-get install {name}) and try again"
    if not shutil.which("apt-get"):
        raise ToolchainError(remedy)
    try:
        as_root = root_prefix(f"{name} has to be installed")
    except ToolchainError:
        raise ToolchainError(remedy) from None
    with progress(say, f"installing {name}"):
        install_packages([name], as_root)
