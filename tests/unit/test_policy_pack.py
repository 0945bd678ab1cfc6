"""How the policy pack gets to the engine: its own files, those that the toolchain makes, and `make preview`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pulumi_policy import EnforcementLevel, Policy, ResourceValidationPolicy, StackValidationPolicy
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, unknown_checking_proxy

from policy import __main__ as pack
from policy.catalog import POLICIES
from policy.resources import UNKNOWN
from toolchain import pulumi
from toolchain.envfile import env_text
from toolchain.pulumi import BUILT, OFFICIAL, Origin

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def toolchain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toolchain's directory of the test's own, in a checkout that has the real pack."""
    (tmp_path / "policy").symlink_to(ROOT / "policy")
    directory = tmp_path / ".toolchain"
    monkeypatch.setattr(pulumi, "ROOT", tmp_path)
    monkeypatch.setattr(pulumi, "VENV_DIR", tmp_path / "it's mine" / ".venv")
    monkeypatch.setattr(pulumi, "PULUMI_HOME", directory / "pulumi-home")
    monkeypatch.setattr(pulumi, "POLICY_PACK", directory / "policy")
    return directory


def made(toolchain: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the pack says of itself, with a CLI from this source."""
    monkeypatch.setattr(pulumi, "installed", lambda _: Origin(source, "3.259.0"))
    pulumi.ensure_policy_pack()
    return dict(yaml.safe_load((toolchain / "policy" / "PulumiPolicy.yaml").read_text()))


def test_an_official_cli_starts_the_pack_in_the_projects_environment(
    toolchain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = yaml.safe_load((ROOT / "policy" / "PulumiPolicy.yaml").read_text())
    described = made(toolchain, OFFICIAL, monkeypatch)
    virtualenv = str(toolchain.parent / "it's mine" / ".venv")
    assert described == own | {"runtime": {"name": "python", "options": {"toolchain": "pip", "virtualenv": virtualenv}}}
    assert own["runtime"]["options"]["virtualenv"] == "../.venv"
    assert not (toolchain / "pulumi-home").exists()


def test_a_cli_with_an_old_language_host_starts_it_with_a_launcher(
    toolchain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"policy-{made(toolchain, BUILT, monkeypatch)['runtime']}"
    launcher = toolchain / "pulumi-home" / "plugins" / f"analyzer-{name}-v1.0.0" / f"pulumi-analyzer-{name}"
    python = toolchain.parent / "it's mine" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    python.chmod(0o755)
    done = subprocess.run([launcher, "127.0.0.1:1", "."], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["-P", "-u", "-m", "pulumi.policy", "127.0.0.1:1", "."]


def test_the_pack_is_left_alone_where_it_is_right_already(toolchain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(toolchain, BUILT, monkeypatch)
    before = {path: path.lstat().st_ino for path in toolchain.rglob("*")}
    made(toolchain, BUILT, monkeypatch)
    assert {path: path.lstat().st_ino for path in toolchain.rglob("*")} == before
    assert (toolchain / "policy" / "__main__.py").resolve() == ROOT / "policy" / "__main__.py"


def test_a_shell_with_the_toolchain_knows_where_the_pack_is(tmp_path: Path) -> None:
    root = tmp_path / "it's a clone"
    shown = subprocess.run(
        ["sh", "-c", env_text(root) + 'echo "$DINDRUNNER_POLICY_PACK"'], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == f"{root}/.toolchain/policy"


def test_make_preview_uses_the_pack_and_the_levels_that_it_is_given() -> None:
    def command(*arguments: str) -> str:
        words = ["make", "--dry-run", "--no-print-directory", "preview", *arguments]
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()[-1]

    usual = command()
    assert 'preview --diff --policy-pack "$DINDRUNNER_POLICY_PACK"' in usual
    assert "--policy-pack-config" not in usual
    assert " --policy-pack-config policy/strict.json " in command("POLICY_CONFIG=policy/strict.json")


def test_the_engine_is_given_every_policy_with_its_level(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Policy] = []
    monkeypatch.setattr(pack, "PolicyPack", lambda _, policies: served.extend(policies))
    pack.main()
    assert [(each.name, each.description, each.enforcement_level) for each in served] == [
        (each.name, each.demand, EnforcementLevel(each.level)) for each in POLICIES
    ]
    assert {type(each) for each in served} == {ResourceValidationPolicy, StackValidationPolicy}


def test_what_the_engine_does_not_know_yet_is_marked_and_the_rest_is_plain_data() -> None:
    given = {"a": UNKNOWN_STRING_VALUE, "b": [1.0, UNKNOWN_STRING_VALUE, {"c": "text", "d": None}]}
    found = pack.plain(unknown_checking_proxy(given))
    assert found == {"a": UNKNOWN, "b": [1.0, UNKNOWN, {"c": "text", "d": None}]}
    assert json.dumps(found["b"][2]) == '{"c": "text", "d": null}'
