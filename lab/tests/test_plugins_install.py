"""The home into which the tests' plugins are put. All pure."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.plugins import install
from toolchain import pulumi


@pytest.fixture(name="theirs")
def _theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toolchain's home, with one plugin in it."""
    home = tmp_path / "theirs"
    program = home / "plugins" / "resource-docker-v5.2.0" / "pulumi-resource-docker"
    program.parent.mkdir(parents=True)
    program.touch()
    monkeypatch.setattr(pulumi, "PULUMI_HOME", home)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PULUMI_HOME", raising=False)
    return home


def test_the_toolchains_plugins_are_linked_and_a_stand_in_serves_tls(theirs: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for _ in range(2):
        assert install.install_into(home) == install.STAND_IN

    launcher = home / "plugins" / f"resource-tls-v{pulumi.TLS_VERSION}" / "pulumi-resource-tls"
    assert "-m lab.plugins.tls" in launcher.read_text()
    assert launcher.stat().st_mode & 0o111
    linked = home / "plugins" / "resource-docker-v5.2.0"
    assert (linked / "pulumi-resource-docker").resolve().is_relative_to(theirs)
    assert not linked.is_symlink(), "the engine passes over a directory that is a link itself"


def test_an_official_tls_plugin_is_linked(theirs: Path, tmp_path: Path) -> None:
    official = theirs / "plugins" / f"resource-tls-v{pulumi.TLS_VERSION}" / "pulumi-resource-tls"
    official.parent.mkdir()
    official.write_bytes(b"\x7fELF")

    home = tmp_path / "home"
    assert install.install_into(home) == install.OFFICIAL
    assert (home / "plugins" / official.parent.name / official.name).resolve() == official
