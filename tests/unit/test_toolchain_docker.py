"""Docker from a mirror of Debian: a small one with packages made here, asked by apt's own downloader."""

from __future__ import annotations

import hashlib
import http.server
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.web import listening
from toolchain import docker, shared
from toolchain.shared import ToolchainError

pytestmark = pytest.mark.skipif(not Path(docker._HELPER).exists(), reason="apt is not there")

ARCHITECTURE = docker.architecture()
PACKAGES = {"docker.io": "28.5.2+dfsg4-5", "tools": "1.0-1"}
OLDER = {"docker.io": "26.1.5+dfsg1-9", "tools": "1.0-1"}


class Mirror:
    """A mirror on this machine. url: ends in /. asked: the paths that were asked for."""

    def __init__(self, folder: Path, url: str, asked: list[str]) -> None:
        self.folder, self.url, self.asked = folder, url, asked

    def add(self, suite: str, packages: dict[str, str]) -> None:
        """Makes the packages and pins them; between them they have every program."""
        (self.folder / "dists" / suite).mkdir(parents=True)
        (self.folder / "dists" / suite / "InRelease").touch()
        with docker.PINS.open("a") as pins:
            for name, version in packages.items():
                file = self._package(name, version)
                digest = hashlib.sha256(file.read_bytes()).hexdigest()
                pins.write(f"{suite} {ARCHITECTURE} {digest} {file.relative_to(self.folder)}\n")

    def _package(self, name: str, version: str) -> Path:
        file = self.folder / "pool" / f"{name}_{version}_{ARCHITECTURE}.deb"
        if file.exists():
            # Another suite has it too; made anew it would have another time and so another checksum.
            return file
        root = self.folder / "root"
        (root / "DEBIAN").mkdir(parents=True)
        (root / "DEBIAN" / "control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: {ARCHITECTURE}\nMaintainer: T\nDescription: t\n"
        )
        for place in docker._PROGRAMS.values() if name == "docker.io" else ("usr/bin/other",):
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).write_text(f"{place} {version}")
        file.parent.mkdir(exist_ok=True)
        subprocess.run(["dpkg-deb", "--build", root, file], check=True, capture_output=True, timeout=30)
        shutil.rmtree(root)
        return file


class _Handler(http.server.SimpleHTTPRequestHandler):
    asked: list[str]

    def log_message(self, _format: str, *_words: object) -> None:
        self.asked.append(self.path)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """An empty mirror, which this machine's apt seems to be set to, and an empty cache and table of pins."""
    (tmp_path / "mirror").mkdir()
    asked: list[str] = []
    handler = type("Handler", (_Handler,), {"asked": asked})
    with listening(partial(handler, directory=tmp_path / "mirror")) as address:
        url = f"{address}/"
        monkeypatch.setenv("DINDRUNNER_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(docker, "PINS", tmp_path / "docker.pins")
        monkeypatch.setattr(docker, "_targets", lambda: [("bookworm", url), ("bookworm-security", f"{url}security/")])
        docker.PINS.write_text("# pins\n")
        docker.edition.cache_clear()
        yield Mirror(tmp_path / "mirror", url, asked)
    docker.edition.cache_clear()


def test_the_newest_suite_is_unpacked_once_and_then_nobody_is_asked(mirror: Mirror) -> None:
    mirror.add(docker.NEWEST, PACKAGES)
    mirror.add(docker.STABLE, OLDER)
    found = docker.ensure(lambda _: None)
    assert found is not None
    assert (found.version, docker.unpacked()) == ("28.5.2", found)
    assert sorted(str(path.relative_to(found.root)) for path in found.root.rglob("*") if path.is_file()) == sorted(
        docker._PROGRAMS
    )
    assert (found.programs / "docker-init").read_text() == "usr/bin/tini-static 28.5.2+dfsg4-5"
    mirror.asked.clear()
    assert docker.ensure(pytest.fail) == found
    assert mirror.asked == []


def test_without_the_newest_suite_the_stable_one_is_used_and_said(mirror: Mirror) -> None:
    mirror.add(docker.NEWEST, PACKAGES)
    mirror.add(docker.STABLE, OLDER)
    shutil.rmtree(mirror.folder / "dists" / docker.NEWEST)
    said: list[str] = []
    found = docker.ensure(said.append)
    assert found is not None
    assert found.version == "26.1.5"
    assert said[0] == f"Docker: Debian's unstable cannot be reached ({mirror.url}), so no Docker 28.5.2"
    assert said[-1] == f"Docker: 26.1.5 is used; to try for the newer one again, remove {found.root}"


def test_without_any_pinned_suite_there_is_none_and_that_is_said(mirror: Mirror) -> None:
    mirror.add(docker.NEWEST, PACKAGES)
    shutil.rmtree(mirror.folder / "dists")
    said: list[str] = []
    assert docker.ensure(said.append) is None
    assert said == [
        f"Docker: Debian's unstable cannot be reached ({mirror.url}), so no Docker 28.5.2",
        f"Docker: docker.pins pins nothing for {ARCHITECTURE} in Debian's trixie",
    ]


def test_a_suite_that_has_moved_on_is_an_error_and_no_reason_for_an_older_docker(mirror: Mirror) -> None:
    mirror.add(docker.NEWEST, PACKAGES)
    mirror.add(docker.STABLE, OLDER)
    (mirror.folder / "pool" / f"tools_1.0-1_{ARCHITECTURE}.deb").unlink()
    with pytest.raises(ToolchainError) as error:
        docker.ensure(lambda _: None)
    assert str(error.value) == (
        f"Docker 28.5.2 of Debian's unstable, as pinned in {docker.PINS}, is not at {mirror.url} any more: "
        f"tools_1.0-1_{ARCHITECTURE}.deb is gone, because the suite has moved on. `python3 -m toolchain pins` pins "
        "what it has now; or start a Docker engine yourself (https://docs.docker.com/engine/install/)"
    )
    assert docker.unpacked() is None


def test_a_package_with_another_checksum_is_not_used(mirror: Mirror) -> None:
    mirror.add(docker.NEWEST, PACKAGES)
    package = mirror.folder / "pool" / f"docker.io_28.5.2+dfsg4-5_{ARCHITECTURE}.deb"
    pinned = hashlib.sha256(package.read_bytes()).hexdigest()
    package.write_bytes(package.read_bytes() + b"\n")
    found = hashlib.sha256(package.read_bytes()).hexdigest()
    with pytest.raises(ToolchainError) as error:
        docker.ensure(lambda _: None)
    assert str(error.value) == (
        f"{mirror.url}pool/{package.name} has the SHA-256 {found}, but {docker.PINS} pins {pinned}: nothing of it was "
        "used. Ask another mirror, or, if Debian has made the package anew, pin what it has now with "
        "`python3 -m toolchain pins`"
    )
    assert docker.unpacked() is None


def test_an_interrupted_download_leaves_nothing_that_would_be_taken_for_whole(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.add(docker.NEWEST, PACKAGES)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(docker, "_extract", interrupt)
        docker.ensure(lambda _: None)
    assert docker.unpacked() is None
    found = docker.ensure(lambda _: None)
    assert found is not None
    assert sorted(path.name for path in found.root.parent.iterdir()) == [found.root.name, "lock"]


def test_packages_without_a_program_are_not_used(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror.add(docker.NEWEST, PACKAGES)
    monkeypatch.setitem(docker._PROGRAMS, "bin/runc", "usr/bin/runc")
    with pytest.raises(ToolchainError) as error:
        docker.ensure(lambda _: None)
    assert str(error.value) == (
        f"Docker 28.5.2 from Debian's unstable, as pinned in {docker.PINS}, has no usr/bin/runc, from where the "
        "toolchain takes bin/runc: pin the packages of before again, and change the place in toolchain/docker.py"
    )
    assert docker.unpacked() is None


@pytest.fixture
def suites(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, ...]]:
    """By suite the packages that the mirror's index has, for every architecture."""
    listed = {suite: docker._packages(suite) for suite in (docker.NEWEST, docker.STABLE)}
    asked: list[str] = []
    for suite in listed:
        (mirror.folder / "dists" / suite).mkdir(parents=True)
        (mirror.folder / "dists" / suite / "InRelease").touch()
    run = shared.run

    def answer(command: list[str | Path], **options: Any) -> str:
        if "update" in command:
            asked.append(options["what"].rpartition(" ")[2])
        elif command[0] == "apt-cache":
            names = [name for name in command[command.index("show") + 2 :] if name in listed[asked[-1]]]
            return "".join(f"Package: {name}\nFilename: pool/{name}.deb\nSHA256: ab\n\n" for name in names)
        else:
            return run(command, **options)
        return ""

    monkeypatch.setattr(docker, "run", answer)
    return listed


def test_the_pins_are_those_of_the_indexes_below_the_tables_comments(suites: dict[str, tuple[str, ...]]) -> None:
    docker.update_pins(lambda _: None)
    assert docker.PINS.read_text().splitlines() == [
        "# pins",
        *(
            f"{suite} {one} ab pool/{name}.deb"
            for suite in suites
            for one in ("amd64", "arm64")
            for name in suites[suite]
        ),
    ]


def test_a_suite_that_lacks_a_package_changes_no_pins(mirror: Mirror, suites: dict[str, tuple[str, ...]]) -> None:
    suites[docker.STABLE] = tuple(name for name in suites[docker.STABLE] if name not in ("runc", "tini"))
    with pytest.raises(ToolchainError) as error:
        docker.update_pins(lambda _: None)
    assert str(error.value) == f"Debian's trixie at {mirror.url} has no runc, tini for amd64: nothing was pinned"
    assert docker.PINS.read_text() == "# pins\n"


def test_a_suite_that_cannot_be_reached_changes_no_pins(mirror: Mirror) -> None:
    del mirror
    with pytest.raises(ToolchainError) as error:
        docker.update_pins(lambda _: None)
    assert str(error.value) == (
        "Debian's unstable cannot be reached from here: run `python3 -m toolchain pins` where a mirror of Debian is "
        "set for apt"
    )
    assert docker.PINS.read_text() == "# pins\n"


def test_a_full_disk_is_said_before_anything_is_downloaded(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror.add(docker.NEWEST, PACKAGES)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5 * 2**20))
    with pytest.raises(ToolchainError) as error:
        docker.ensure(lambda _: None)
    assert str(error.value) == (
        f"Docker 28.5.2 from Debian's unstable needs 700 MiB in {os.environ['DINDRUNNER_CACHE']}/docker, and 5 MiB are "
        "free: make room there, or set DINDRUNNER_CACHE to a folder with more"
    )
    assert not [path for path in mirror.asked if "pool" in path]


def test_a_damaged_table_is_named(mirror: Mirror) -> None:
    del mirror
    docker.PINS.write_text("unstable amd64 pool/docker.deb\n")
    with pytest.raises(ToolchainError) as error:
        docker.edition(docker.NEWEST)
    assert str(error.value) == (
        f"{docker.PINS} has a line without four words: 'unstable amd64 pool/docker.deb'; `python3 -m toolchain pins` "
        "writes it anew"
    )


def test_the_images_get_the_mirrors_of_this_machine_with_the_other_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [
        ("bookworm", "http://mirror.example/debian/"),
        ("bookworm-updates", "http://mirror.example/debian/"),
        ("bookworm-backports", "http://mirror.example/debian/"),
        ("bookworm-security", "http://security.example/debian-security/"),
    ]
    monkeypatch.setattr(docker, "_is_debian", lambda: True)
    monkeypatch.setattr(docker, "_targets", lambda: targets)
    assert docker.sources("trixie") == [
        "deb http://mirror.example/debian/ trixie main",
        "deb http://mirror.example/debian/ trixie-updates main",
        "deb http://security.example/debian-security/ trixie-security main",
    ]
    monkeypatch.setattr(docker, "_targets", lambda: [])
    assert docker.sources("trixie") == []


def test_the_mirrors_of_another_distribution_are_of_no_use_for_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "_is_debian", lambda: False)
    monkeypatch.setattr(docker, "_targets", lambda: [("noble", "http://mirror.example/ubuntu/")])
    assert docker.sources("trixie") == []


def test_every_architecture_of_a_suite_has_the_same_packages_each_with_a_whole_checksum() -> None:
    found: dict[tuple[str, str], dict[str, str]] = {}
    for line in docker.PINS.read_text().splitlines():
        if not line.startswith("#"):
            suite, architecture, digest, path = line.split()
            assert len(bytes.fromhex(digest)) == 32
            name, version, rest = path.rpartition("/")[2].split("_")
            assert rest == f"{architecture}.deb"
            # A rebuild for one architecture alone has a number of its own.
            found.setdefault((suite, architecture), {})[name] = version.partition("+b")[0]
    assert set(found) == {(suite, one) for suite in (docker.NEWEST, docker.STABLE) for one in ("amd64", "arm64")}
    for suite in (docker.NEWEST, docker.STABLE):
        assert found[suite, "amd64"] == found[suite, "arm64"]
        assert set(found[suite, "amd64"]) >= {"docker.io", "docker-cli", "docker-buildx", "docker-compose", "runc"}
