"""Docker from Debian's packages: pinned by version and checksum, unpacked into the cache, not installed.

The same files are this machine's engine, if it has none, and go into the images for the daemon and the jobs.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from toolchain.shared import (
    LimitReached,
    Say,
    ToolchainError,
    cache_dir,
    digest_of,
    file_lock,
    progress,
    run,
    whole_directory,
    write_atomic,
)

PINS = Path(__file__).resolve().parent / "docker.pins"
NEWEST, STABLE = "unstable", "trixie"
"""The suites, in the order in which they are tried."""
UPDATE = "python3 -m toolchain pins"

_HELPER = "/usr/lib/apt/apt-helper"
"""Downloads as apt does, through the proxies and with the certificates that apt is set to on this machine."""
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_ARCHITECTURES = ("amd64", "arm64")
_PACKAGES = ("docker.io", "docker-cli", "docker-buildx", "docker-compose", "containerd", "runc")
_FIELD = re.compile(r"^(Package|SHA256|Filename): (\S+)$", re.MULTILINE)
_DOWNLOAD_LIMIT = 900.0
_ANSWER_LIMIT = 60.0
_SPACE = 700 * 2**20
"""Bytes for the packages and what is in them."""
_PROGRAMS = {
    "bin/containerd": "usr/bin/containerd",
    "bin/containerd-shim-runc-v2": "usr/bin/containerd-shim-runc-v2",
    "bin/ctr": "usr/bin/ctr",
    "bin/docker": "usr/bin/docker",
    "bin/docker-init": "usr/bin/tini-static",
    "bin/docker-proxy": "usr/sbin/docker-proxy",
    "bin/dockerd": "usr/sbin/dockerd",
    "bin/runc": "usr/sbin/runc",
    "cli-plugins/docker-buildx": "usr/libexec/docker/cli-plugins/docker-buildx",
    "cli-plugins/docker-compose": "usr/libexec/docker/cli-plugins/docker-compose",
}
"""What is kept of the packages: by its place in the cache the place where Debian has it."""


@dataclass(frozen=True)
class Deb:
    """A pinned package. path: where it lies in the archive."""

    path: str
    sha256: str

    @property
    def file(self) -> str:
        """Its file's name: package, version and architecture."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Edition:
    """The Docker of one suite of Debian."""

    suite: str
    debs: tuple[Deb, ...]

    @property
    def version(self) -> str:
        """The daemon's version, without Debian's additions."""
        file = next(deb.file for deb in self.debs if deb.file.startswith("docker.io_"))
        return file.split("_")[1].partition("+")[0]

    @property
    def root(self) -> Path:
        """The folder with its programs in `bin` and `cli-plugins`, there or not."""
        digest = digest_of(*(deb.sha256 for deb in self.debs), *_PROGRAMS, *_PROGRAMS.values())
        return cache_dir() / "docker" / f"{self.version}-{digest}"

    @property
    def programs(self) -> Path:
        """The folder to put on PATH."""
        return self.root / "bin"

    @property
    def buildx(self) -> Path:
        """The builder, which is a program of its own as well as a plugin of the client."""
        return self.root / "cli-plugins" / "docker-buildx"


@functools.cache
def edition(suite: str) -> Edition | None:
    """What is pinned of a suite for this machine; None for an architecture without pins.

    Raises ToolchainError for a damaged table.
    """
    debs = []
    for line in PINS.read_text().splitlines():
        words = line.split()
        if words and not line.startswith("#"):
            if len(words) != 4:
                raise ToolchainError(f"{PINS} has a line without four words: {line!r}; `{UPDATE}` writes it anew")
            if words[:2] == [suite, architecture()]:
                debs.append(Deb(path=words[3], sha256=words[2]))
    return Edition(suite, tuple(debs)) if debs else None


def architecture() -> str:
    """This machine's, in Debian's words."""
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def unpacked() -> Edition | None:
    """The newest edition that is in the cache; asks nobody."""
    known = (edition(suite) for suite in (NEWEST, STABLE))
    return next((one for one in known if one and one.root.is_dir()), None)


def ensure(say: Say) -> Edition | None:
    """The newest edition that can be had, unpacked in the cache; None, said aloud, where no pinned one can be.

    What is in the cache is taken without asking anybody. Safe to be called by threads and processes side by side.
    Raises ToolchainError where a suite answers but its pinned packages are gone, differ or cannot be stored: that is
    no reason to take older ones in silence.
    """
    if found := unpacked():
        return found
    with file_lock(cache_dir() / "docker" / "lock", say=say):
        if found := unpacked():
            return found
        mirrors = _mirrors()
        for suite in (NEWEST, STABLE):
            wanted = edition(suite)
            if not wanted:
                say(f"Docker: {PINS.name} pins nothing for {architecture()} in Debian's {suite}")
            elif mirror := next((one for one in mirrors if _serves(one, suite)), None):
                _unpack(wanted, mirror, say)
                if suite != NEWEST:
                    say(f"Docker: {wanted.version} is used; to try for the newer one again, remove {wanted.root}")
                return wanted
            else:
                where = ", ".join(mirrors) or "no mirror of Debian is set for apt here"
                say(f"Docker: Debian's {suite} cannot be reached ({where}), so no Docker {wanted.version}")
    return None


def update_pins(say: Say) -> None:
    """Pins what the suites have now, as their indexes say, whose signatures apt checks.

    Raises ToolchainError where a suite cannot be reached or lacks a package; the table stays as it was.
    """
    head = [line for line in PINS.read_text().splitlines() if line.startswith("#")]
    lines = []
    for suite in (NEWEST, STABLE):
        mirror = next((one for one in _mirrors() if _serves(one, suite)), None)
        if not mirror:
            raise ToolchainError(
                f"Debian's {suite} cannot be reached from here: run `{UPDATE}` where a mirror of Debian is set for apt"
            )
        for architecture in _ARCHITECTURES:
            with progress(say, f"reading the index of Debian's {suite} for {architecture}"):
                lines += [f"{suite} {architecture} {pin}" for pin in _pins_of(mirror, suite, architecture)]
    write_atomic(PINS, "\n".join([*head, *lines, ""]))


def _pins_of(mirror: str, suite: str, architecture: str) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="dindrunner-apt-") as folder:
        # Lists of its own: the machine's packages stay those of its own suite. A suite that is served frozen is out
        # of date by its own word.
        (Path(folder) / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {mirror} {suite} main\n")
        (Path(folder) / "lists" / "partial").mkdir(parents=True)
        (Path(folder) / "status").touch()
        options = {
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Sandbox::User": "",
            "Acquire::Check-Valid-Until": "false",
            "Acquire::Languages": "none",
            "Dir::Cache": folder,
            "Dir::Etc::SourceList": f"{folder}/sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::Lists": f"{folder}/lists",
            "Dir::State::status": f"{folder}/status",
        }
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        run(["apt-get", *words, "--quiet", "update"], limit=_DOWNLOAD_LIMIT, what=f"apt-get update of {suite}")
        text = run(["apt-cache", *words, "show", "--no-all-versions", *_packages(suite)], limit=_ANSWER_LIMIT)
    fields = [dict(_FIELD.findall(paragraph)) for paragraph in text.split("\n\n")]
    found = {one["Package"]: one for one in fields if one}
    # Of packages that are not there, apt-cache only notes that.
    if missing := [name for name in _packages(suite) if name not in found]:
        raise ToolchainError(
            f"Debian's {suite} at {mirror} has no {', '.join(missing)} for {architecture}: nothing was pinned"
        )
    return [f"{one['SHA256']} {one['Filename']}" for one in found.values()]


def _packages(suite: str) -> tuple[str, ...]:
    # Debian 13 has both of tini's programs in one package.
    return (*_PACKAGES, "tini" if suite == STABLE else "tini-static")


def sources(suite: str) -> list[str]:
    """Lines for a list of sources with a suite of Debian, from where this machine gets its own; none where it has none.

    With its updates, also those for security, where the machine has these.
    """
    if not _is_debian():
        return []
    lines = [
        f"deb {uri} {'-'.join((suite, *part))} main"
        for release, uri in _targets()
        if (part := release.split("-")[1:]) in ([], ["updates"], ["security"])
    ]
    return lines if any(f" {suite} main" in line for line in lines) else []


def _is_debian() -> bool:
    try:
        return platform.freedesktop_os_release().get("ID") == "debian"
    except OSError:
        return False


def _mirrors() -> list[str]:
    """The archives that this machine's apt is set to, each ending in /; for security alone not."""
    return list(dict.fromkeys(uri for release, uri in _targets() if not release.endswith("-security")))


def _targets() -> list[tuple[str, str]]:
    """The suites that this machine's apt is set to, each with its archive, in apt's order; other distributions too."""
    try:
        text = run(["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)"], limit=_ANSWER_LIMIT)
    except ToolchainError:  # not Debian, nor made from it
        return []
    words = [line.split(maxsplit=1) for line in text.splitlines()]
    return list(dict.fromkeys((word[0], word[1]) for word in words if len(word) == 2))


def _serves(mirror: str, suite: str) -> bool:
    path = cache_dir() / "docker" / "InRelease"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _download([(f"{mirror}dists/{suite}/InRelease", path)], limit=_ANSWER_LIMIT)
    except ToolchainError:
        return False
    finally:
        path.unlink(missing_ok=True)
    return True


def _download(files: Sequence[tuple[str, Path]], *, limit: float) -> None:
    words = [word for url, path in files for word in (url, str(path), "")]
    # Root's apt would go to its own user, who may not write here, and warn.
    run([_HELPER, "-o", "APT::Sandbox::User=", "download-file", *words], limit=limit, what="apt-helper download-file")


def _unpack(wanted: Edition, mirror: str, say: Say) -> None:
    what = f"Docker {wanted.version} from Debian's {wanted.suite}"
    _need_space(wanted.root.parent, what)
    with progress(say, f"getting {what}"), whole_directory(wanted.root) as folder:
        packages = folder / "packages"
        packages.mkdir()
        _fetch(wanted, mirror, packages)
        extract = functools.partial(_extract, packages)
        with ThreadPoolExecutor() as pool:
            list(pool.map(extract, wanted.debs))
        for name, source in _PROGRAMS.items():
            if not (packages / "all" / source).exists():
                raise ToolchainError(
                    f"{what}, as pinned in {PINS}, has no {source}, from where the toolchain takes {name}: pin the "
                    "packages of before again, and change the place in toolchain/docker.py"
                )
            (folder / name).parent.mkdir(exist_ok=True)
            (packages / "all" / source).rename(folder / name)
        shutil.rmtree(packages)


def _extract(folder: Path, deb: Deb) -> None:
    run(["dpkg-deb", "--extract", folder / deb.file, folder / "all"], limit=300)


def _fetch(wanted: Edition, mirror: str, folder: Path) -> None:
    what = f"Docker {wanted.version} of Debian's {wanted.suite}, as pinned in {PINS},"
    try:
        _download([(mirror + deb.path, folder / deb.file) for deb in wanted.debs], limit=_DOWNLOAD_LIMIT)
    except LimitReached:
        raise
    except ToolchainError as error:
        if " 404 " in str(error):
            gone = ", ".join(deb.file for deb in wanted.debs if not (folder / deb.file).exists())
            raise ToolchainError(
                f"{what} is not at {mirror} any more: {gone} is gone, because the suite has moved on. `{UPDATE}` pins "
                "what it has now; or start a Docker engine yourself (https://docs.docker.com/engine/install/)"
            ) from None
        raise ToolchainError(f"{what} could not be downloaded from {mirror}: {error}") from None
    for deb in wanted.debs:
        found = hashlib.sha256((folder / deb.file).read_bytes()).hexdigest()
        if found != deb.sha256:
            raise ToolchainError(
                f"{mirror}{deb.path} has the SHA-256 {found}, but {PINS} pins {deb.sha256}: nothing of it was used. "
                f"Ask another mirror, or, if Debian has made the package anew, pin what it has now with `{UPDATE}`"
            )


def _need_space(folder: Path, what: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < _SPACE:
        raise ToolchainError(
            f"{what} needs {_SPACE // 2**20} MiB in {folder}, and {free // 2**20} MiB are free: make room there, or "
            "set DINDRUNNER_CACHE to a folder with more"
        )
