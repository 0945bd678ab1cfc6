"""Which source a tool is taken from, when it is taken again, and what is said about it."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from tests.unit.web import Quiet, listening
from toolchain import pulumi
from toolchain.doctor import Row, table
from toolchain.pulumi import Origin, Source, Tool
from toolchain.shared import VENV_DIR, Say, Stopped, ToolchainError, resume_commands, stop_commands

Make = Callable[..., Tool]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a tool with the given sources in a directory of the test's own."""

    def make_tool(*sources: Source, recipe: str = "one") -> Tool:
        return Tool("pulumi", tmp_path / "pulumi.origin.json", tmp_path / "pulumi", recipe, sources)

    return make_tool


@pytest.fixture
def said() -> list[str]:
    return []


class Fake:
    """A source that puts an empty program in place, has nothing, or fails; counts how often it was asked."""

    def __init__(self, program: Path | None = None, *, name: str = pulumi.BUILT, error: str = "") -> None:
        self.program, self.name, self.error, self.asked = program, name, error, 0

    def __call__(self, _: Say) -> Origin | None:
        self.asked += 1
        if self.error:
            raise ToolchainError(self.error)
        if self.program is None:
            return None
        self.program.write_text("")
        return Origin(self.name, "3.259.0")


def test_the_first_source_that_has_a_tool_is_taken(tmp_path: Path, make: Make, said: list[str]) -> None:
    nothing, first, second = Fake(), Fake(tmp_path / "pulumi", name=pulumi.OFFICIAL), Fake(tmp_path / "pulumi")
    assert pulumi.ensure(make(nothing, first, second), say=said.append) == Origin(pulumi.OFFICIAL, "3.259.0")
    assert (nothing.asked, first.asked, second.asked) == (1, 1, 0)
    assert said == ["pulumi 3.259.0: official release"]


def test_a_source_that_fails_is_reported_and_the_next_one_taken(tmp_path: Path, make: Make, said: list[str]) -> None:
    origin = pulumi.ensure(make(Fake(error="connection lost"), Fake(tmp_path / "pulumi")), say=said.append)
    assert origin.source == pulumi.BUILT
    assert said == ["pulumi: connection lost", "pulumi 3.259.0: built from Go modules"]


def test_a_tool_that_no_source_has_is_an_error_with_every_reason(make: Make, said: list[str]) -> None:
    with pytest.raises(ToolchainError) as caught:
        pulumi.ensure(make(Fake(), Fake(error="connection lost"), Fake(error="no Go")), say=said.append)
    assert str(caught.value) == (
        "pulumi is nowhere to be had: neither found nor downloaded nor built.\n  - connection lost\n  - no Go"
    )


def test_what_is_in_place_is_not_got_again(tmp_path: Path, make: Make, said: list[str]) -> None:
    source = Fake(tmp_path / "pulumi")
    tool = make(source)
    assert pulumi.ensure(tool, say=said.append) == pulumi.ensure(tool, say=said.append)
    assert source.asked == 1


@pytest.mark.parametrize("damage", ["program", "marker", "garbled", "recipe"])
def test_what_is_damaged_or_made_from_other_pins_is_got_again(
    damage: str, tmp_path: Path, make: Make, said: list[str]
) -> None:
    source = Fake(tmp_path / "pulumi")
    tool = make(source)
    pulumi.ensure(tool, say=said.append)
    match damage:
        case "program":
            tool.program.unlink()
        case "marker":
            tool.marker.unlink()
        case "garbled":
            tool.marker.write_text('{"recipe": "one"')
        case "recipe":
            tool = make(source, recipe="two")
    pulumi.ensure(tool, say=said.append)
    assert source.asked == 2


def test_an_interrupted_installation_is_taken_up_again(tmp_path: Path, make: Make, said: list[str]) -> None:
    def interrupted(_: Say) -> Origin | None:
        (tmp_path / "pulumi").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pulumi.ensure(make(interrupted), say=said.append)
    source = Fake(tmp_path / "pulumi")
    pulumi.ensure(make(source), say=said.append)
    assert source.asked == 1


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts a `pulumi` that tells the given version on PATH, and the toolchain's own bin into the test's directory."""
    monkeypatch.setattr(pulumi, "BIN_DIR", tmp_path / "own-bin")

    def install(version: str, *, language_host: bool = True) -> Path:
        directory = tmp_path / "users-bin"
        directory.mkdir()
        for name in ["pulumi", *(["pulumi-language-python"] if language_host else [])]:
            (directory / name).write_text(f"#!/bin/sh\necho {version}\n")
            (directory / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(directory), prepend=os.pathsep)
        return directory / "pulumi"

    return install


def test_a_recent_cli_on_path_is_linked_to(on_path: Callable[..., Path], tmp_path: Path) -> None:
    program = on_path("v3.272.1")
    assert pulumi.cli_on_path(print) == Origin(pulumi.ON_PATH, "3.272.1", str(program))
    assert (tmp_path / "own-bin" / "pulumi").resolve() == program


@pytest.mark.parametrize("version", ["v3.229.9", "v2.300.0", "unknown"])
def test_a_cli_on_path_that_is_too_old_is_not_taken(version: str, on_path: Callable[..., Path]) -> None:
    on_path(version)
    assert pulumi.cli_on_path(print) is None


def test_a_cli_on_path_without_its_language_host_is_not_taken(on_path: Callable[..., Path]) -> None:
    on_path("v3.272.1", language_host=False)
    assert pulumi.cli_on_path(print) is None


def test_our_own_bin_directories_are_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{VENV_DIR / 'bin'}:{pulumi.BIN_DIR}:/usr/bin")
    assert pulumi.user_path() == "/usr/bin"


@pytest.mark.parametrize(
    ("text", "version"), [("v3.259.0\n", (3, 259, 0)), ("go1.26", (1, 26)), ("3.100.0-dev", (3, 100, 0)), ("", ())]
)
def test_versions_are_compared_as_numbers(text: str, version: tuple[int, ...]) -> None:
    assert pulumi.parse_version(text) == version
    assert pulumi.parse_version("3.100.0") > pulumi.parse_version("3.99.9")


def test_a_download_with_the_published_checksum_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "pulumi.tar.gz"
    file.write_bytes(b"archive")
    digest = hashlib.sha256(b"archive").hexdigest()
    pulumi.verify_sha256(file, f"{'0' * 64}  other.tar.gz\n{digest}  pulumi.tar.gz\n")


def test_a_download_with_another_checksum_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pulumi.tar.gz"
    file.write_bytes(b"tampered")
    actual, published = hashlib.sha256(b"tampered").hexdigest(), "0" * 64
    with pytest.raises(ToolchainError) as caught:
        pulumi.verify_sha256(file, f"{published}  pulumi.tar.gz\n")
    assert str(caught.value) == f"pulumi.tar.gz has SHA-256 {actual}, published is {published}; it is not used"


def test_a_download_without_a_published_checksum_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pulumi.tar.gz"
    file.write_bytes(b"archive")
    with pytest.raises(ToolchainError) as caught:
        pulumi.verify_sha256(file, "")
    assert str(caught.value) == "pulumi.tar.gz is not among the published checksums; it is not used"


class _Files(Quiet, SimpleHTTPRequestHandler):
    """Gives out the files of a directory."""


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A site with the official release on it, and the toolchain's own bin in the test's directory; gives the folder."""
    folder = tmp_path / "site" / f"v{pulumi.OFFICIAL_CLI}"
    folder.mkdir(parents=True)
    archive = folder / f"pulumi-v{pulumi.OFFICIAL_CLI}-{pulumi.release_platform()}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("pulumi", "pulumi-language-python"):
            entry = tarfile.TarInfo(f"pulumi/{name}")
            entry.size, entry.mode = len(name), 0o755
            tar.addfile(entry, io.BytesIO(name.encode()))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    (folder / f"pulumi-{pulumi.OFFICIAL_CLI}-checksums.txt").write_text(f"{digest}  {archive.name}\n")
    with listening(functools.partial(_Files, directory=str(tmp_path / "site"))) as url:
        monkeypatch.setattr(pulumi, "_RELEASES", url)
        monkeypatch.setattr(pulumi, "_reachable", lambda _: True)
        monkeypatch.setattr(pulumi, "BIN_DIR", tmp_path / "bin")
        yield folder


def test_the_official_release_is_unpacked_after_its_checksum_was_compared(
    release: Path, tmp_path: Path, said: list[str]
) -> None:
    assert pulumi.official_cli(said.append) == Origin(pulumi.OFFICIAL, pulumi.OFFICIAL_CLI)
    programs = {path.name: path.read_text() for path in (tmp_path / "bin").iterdir()}
    assert programs == {"pulumi": "pulumi", "pulumi-language-python": "pulumi-language-python"}
    assert os.access(tmp_path / "bin" / "pulumi", os.X_OK)
    assert said[0] == f"downloading Pulumi {pulumi.OFFICIAL_CLI} …"
    assert release.is_dir()


def test_a_tampered_release_is_not_unpacked(release: Path, tmp_path: Path) -> None:
    next(release.glob("*.tar.gz")).write_bytes(b"something else")
    with pytest.raises(ToolchainError, match="it is not used"):
        pulumi.official_cli(lambda _: None)
    assert not (tmp_path / "bin").exists()


def test_a_release_that_is_not_there_is_reported_with_its_address(release: Path) -> None:
    next(release.glob("*.tar.gz")).unlink()
    with pytest.raises(ToolchainError, match=r"http://127\.0\.0\.1:\d+/v.*\.tar\.gz: HTTP Error 404: File not found"):
        pulumi.official_cli(lambda _: None)


def test_a_site_that_does_not_answer_is_not_downloaded_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi, "_reachable", lambda _: False)
    assert pulumi.official_cli(print) is None
    assert pulumi.official_plugin("docker", "5.2.0", print) is None


def test_a_download_over_its_limit_is_given_up(release: Path, tmp_path: Path) -> None:
    url = f"{pulumi._RELEASES}/{release.name}/pulumi-{pulumi.OFFICIAL_CLI}-checksums.txt"
    with pytest.raises(ToolchainError) as caught:
        pulumi.download(url, tmp_path / "file", limit=-1)
    assert str(caught.value) == f"{url}: not downloaded after -1.0 s"


def test_a_download_ends_when_another_part_has_failed(release: Path, tmp_path: Path) -> None:
    url = f"{pulumi._RELEASES}/{release.name}/pulumi-{pulumi.OFFICIAL_CLI}-checksums.txt"
    stop_commands()
    try:
        with pytest.raises(Stopped) as caught:
            pulumi.download(url, tmp_path / "file")
    finally:
        resume_commands()
    assert str(caught.value) == f"{url}: given up"


class _BreaksOff(Quiet):
    """Promises more chunks than it sends."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"5\r\nbegin\r\n")
        self.close_connection = True


def test_a_download_that_breaks_off_is_an_error_with_its_address(tmp_path: Path) -> None:
    with listening(_BreaksOff) as site, pytest.raises(ToolchainError) as caught:
        url = f"{site}/pulumi.tar.gz"
        pulumi.download(url, tmp_path / "file")
    assert str(caught.value) == f"{url}: IncompleteRead(5 bytes read)"


def test_a_plugin_in_the_users_pulumi_home_is_copied_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs" / "plugins" / "resource-docker-v5.2.0"
    theirs.mkdir(parents=True)
    (theirs / "pulumi-resource-docker").write_text("official")
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "theirs"))
    monkeypatch.setattr(pulumi, "PULUMI_HOME", tmp_path / "ours")
    origin = pulumi.plugin_of_user("docker", "5.2.0", print)
    assert origin == Origin(pulumi.USER_HOME, "5.2.0", str(theirs))
    ours = tmp_path / "ours" / "plugins" / "resource-docker-v5.2.0" / "pulumi-resource-docker"
    assert ours.read_text() == "official"
    assert [path.name for path in theirs.iterdir()] == ["pulumi-resource-docker"]


def test_a_half_downloaded_plugin_of_the_user_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp_path / "theirs" / "plugins" / "resource-docker-v5.2.0"
    theirs.mkdir(parents=True)
    (theirs / "pulumi-resource-docker").write_text("half")
    theirs.with_name("resource-docker-v5.2.0.partial").write_text("")
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "theirs"))
    assert pulumi.plugin_of_user("docker", "5.2.0", print) is None


def test_the_stand_in_of_another_clone_is_not_taken_for_the_users_official_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulumi, "PULUMI_HOME", tmp_path / "theirs")
    tool = next(tool for tool in pulumi.tools() if tool.name == "gitlab plugin")
    assert pulumi.own_gitlab_plugin(print)
    tool.marker.write_text("{}")
    monkeypatch.setattr(pulumi, "PULUMI_HOME", tmp_path / "ours")
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "theirs"))
    assert pulumi.plugin_of_user("gitlab", "10.4.0", print) is None
    tool.marker.unlink()
    assert pulumi.plugin_of_user("gitlab", "10.4.0", print)


def test_the_doctors_table_lists_what_is_there_and_below_it_what_to_do() -> None:
    rows = [
        Row("go", "1.26.8", "/usr/bin/go"),
        Row("docker engine", "", "nothing answers at unix:///run/docker.sock", "start it"),
    ]
    assert table(rows) == (
        "what           version  from\n"
        "go             1.26.8   /usr/bin/go\n"
        "docker engine  -        nothing answers at unix:///run/docker.sock\n"
        "\n"
        "docker engine: start it"
    )
    assert [row.missing for row in rows] == [False, True]


def test_the_doctor_says_when_nothing_is_missing() -> None:
    assert table([Row("go", "1.26.8", "/usr/bin/go")]).splitlines()[-1] == "nothing is missing"
