"""How the policy pack gets to the engine: its own files and `make preview`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from pulumi_policy import EnforcementLevel, Policy, ResourceValidationPolicy, StackValidationPolicy
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, unknown_checking_proxy

from policy import __main__ as pack
from policy.catalog import POLICIES
from policy.resources import UNKNOWN
from toolchain.envfile import env_text

ROOT = Path(__file__).resolve().parents[2]


def test_the_pack_runs_in_the_projects_environment() -> None:
    own = yaml.safe_load((ROOT / "policy" / "PulumiPolicy.yaml").read_text())
    program = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    assert program["runtime"] == {"name": "python", "options": {"toolchain": "pip", "virtualenv": ".venv"}}
    assert own["runtime"] == {"name": "python", "options": {"toolchain": "pip", "virtualenv": "../.venv"}}


def test_a_shell_with_the_toolchain_knows_where_the_pack_is(tmp_path: Path) -> None:
    root = tmp_path / "it's a clone"
    shown = subprocess.run(
        ["sh", "-c", env_text(root) + 'echo "$DINDRUNNER_POLICY_PACK"'], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == f"{root}/policy"


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
