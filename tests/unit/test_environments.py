"""The example of three environments: what each gets of the shared settings, and that none is in another's way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from stacks.docker_host.settings import DockerHostSettings
from stacks.gke.settings import GkeSettings
from stacks.settings.common import Common
from stacks.settings.shared import merged
from stacks.settings.warnings import warnings_about
from stacks.targets import parse

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "environments"
STACKS = ("dev", "staging", "prod")


def project() -> dict[str, Any]:
    return dict(yaml.safe_load((EXAMPLE / "Pulumi.yaml").read_text()))


def settings(stack: str) -> Common:
    own = yaml.safe_load((EXAMPLE / f"Pulumi.{stack}.yaml").read_text())["config"]["gitlab-dind-runners:settings"]
    return parse(merged(project()["config"]["gitlab-dind-runners:shared"]["value"], own))


def test_the_examples_project_is_this_one_with_shared_settings() -> None:
    own = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    assert {key: value for key, value in project().items() if key != "config"} == own
    assert list(project()["config"]) == ["gitlab-dind-runners:shared"]


def test_each_stack_gets_the_shared_settings_and_its_own_come_first() -> None:
    dev, staging, prod = map(settings, STACKS)
    assert isinstance(dev, DockerHostSettings)
    assert isinstance(staging, DockerHostSettings)
    assert isinstance(prod, GkeSettings)
    assert (dev.gitlab.scope, dev.gitlab.group, dev.gitlab.project) == ("project", None, "my-group/playground")
    assert {each.gitlab.group for each in (staging, prod)} == {"my-group"}
    assert [each.log_level for each in (dev, staging, prod)] == ["debug", "warn", "warn"]
    assert [each.daemon.memory_mib for each in (dev, staging, prod)] == [4096, 8192, 8192]
    assert {each.daemon.registry_mirrors for each in (dev, staging, prod)} == {("https://mirror.gcr.io",)}


def test_a_shared_setting_that_the_target_does_not_have_is_left_out_by_null() -> None:
    shared = {"docker_host": "ssh://ci@builder", "daemon": {"keep_cache": True}, "log_level": "warn"}
    own = yaml.safe_load((EXAMPLE / "Pulumi.prod.yaml").read_text())["config"]["gitlab-dind-runners:settings"]
    gitlab = {"url": "https://gitlab.example.com", "scope": "instance"}
    back = {"docker_host": None, "log_level": None, "daemon": {"keep_cache": None}}
    assert parse(merged(shared, {**own, "gitlab": gitlab, **back})).log_level == "info"


def test_two_of_them_share_a_host_and_neither_has_a_name_of_its_own_so_that_names_come_from_the_stacks() -> None:
    dev, staging = settings("dev"), settings("staging")
    assert isinstance(dev, DockerHostSettings)
    assert isinstance(staging, DockerHostSettings)
    assert dev.docker_host == staging.docker_host
    assert (dev.name, staging.name) == (None, None)


def test_no_two_of_them_take_each_others_jobs() -> None:
    tags = [tag for stack in STACKS for runner in settings(stack).runners for tag in runner.tags]
    assert len(tags) == len(set(tags))


@pytest.mark.parametrize("stack", STACKS)
def test_none_of_them_warns_or_holds_a_secret(stack: str) -> None:
    assert list(warnings_about(settings(stack))) == []
    assert "secure:" not in (EXAMPLE / f"Pulumi.{stack}.yaml").read_text()
