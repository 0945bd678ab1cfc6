"""The wholes: what a program gets of each platform in one call."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

import pulumi
import pytest

from components.defaults import CLAIM_GIB, CLIENT_IMAGE, DAEMON_IMAGE, RUNNER_IMAGE
from components.docker import DockerRunners, DockerRunnersArgs
from components.kinds import Kind, Scope
from components.kubernetes import KubernetesRunners
from components.runners import RunnerArgs
from components.swarm import SwarmRunners
from tests.unit.recording import Recording, Secret, in_the_clear, run
from tests.unit.samples import LOOKUPS

LEAST: dict[str, Any] = {"scope": "project", "project": "demo/app", "runners": [{"name": "docker", "tags": ["docker"]}]}
WHOLES: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (DockerRunners, LEAST),
    (SwarmRunners, LEAST | {"node": "node.labels.ci == true"}),
    (KubernetesRunners, LEAST),
]
PREFIX = "gitlab-dind-runners-dev-ci"
OUTPUTS = ("network_name", "endpoint", "daemon_container_name", "volume_name", "runner_ids")


def record(whole: Callable[..., Any], args: Any) -> Recording:
    """What a whole named `ci` makes; its outputs are the program's."""

    def program() -> Mapping[str, Any]:
        made = whole("ci", args)
        return {name: getattr(made, name) for name in OUTPUTS}

    return run(program, calls=LOOKUPS)


def config_of(recording: Recording) -> dict[str, Any]:
    """The config.toml that the runner is given."""
    for each in recording.resources:
        if each.type.endswith(":RunnerContainer"):
            found = each.inputs["config_toml"]
            assert isinstance(found, Secret)
            return tomllib.loads(found.value)
    raise AssertionError("there is no runner")


def by_name(recording: Recording) -> dict[str, Any]:
    """What was asked for; the order depends on which values are known when."""
    return {each.name: each.inputs for each in recording.resources}


@pytest.mark.parametrize(("whole", "args"), WHOLES)
def test_one_call_makes_network_daemon_registration_and_runner(whole: Callable[..., Any], args: dict[str, Any]) -> None:
    recording = record(whole, args)
    own = [each for each in recording.resources if each.type.startswith("dindrunner:")]
    assert {each.type.rpartition(":")[2] for each in own} >= {
        whole.__name__,
        "RunnerNetwork",
        "DindDaemon",
        "RunnerRegistration",
        "RunnerContainer",
    }
    assert {each.parent for each in own if each.name != "ci"} == {"ci"}


@pytest.mark.parametrize(("whole", "args"), WHOLES)
def test_jobs_find_the_daemon_by_tls(whole: Callable[..., Any], args: dict[str, Any]) -> None:
    recording = record(whole, args)
    (only,) = config_of(recording)["runners"]
    assert f"DOCKER_HOST={recording.outputs['endpoint']}" in only["environment"]
    assert "DOCKER_TLS_VERIFY=1" in only["environment"]
    assert only["token"] == "glrt-ci-docker-runner"


@pytest.mark.parametrize(("whole", "args"), WHOLES)
def test_the_defaults_are_those_of_the_settings(whole: Callable[..., Any], args: dict[str, Any]) -> None:
    recording = record(whole, args)
    config = config_of(recording)
    assert (config["concurrent"], config["check_interval"]) == (4, 3)
    (only,) = config["runners"]
    assert only["url"] == "https://gitlab.com"
    assert (only.get("docker") or only["kubernetes"])["image"] == CLIENT_IMAGE
    images = json.dumps([each.inputs for each in recording.resources], default=str)
    assert RUNNER_IMAGE in images
    assert DAEMON_IMAGE in images


@pytest.mark.parametrize(("whole", "args"), WHOLES)
def test_a_runner_that_brings_its_token_is_not_registered_and_the_token_is_a_secret(
    whole: Callable[..., Any], args: dict[str, Any]
) -> None:
    recording = record(whole, args | {"runners": [{"name": "mine", "token": "glrt-mine"}]})
    assert recording.of_type("gitlab:index/userRunner:UserRunner") == []
    assert config_of(recording)["runners"][0]["token"] == "glrt-mine"
    for each in recording.resources:
        assert not [text for text in in_the_clear(each.inputs) if "glrt-mine" in text]


@pytest.mark.parametrize(("whole", "args"), WHOLES)
def test_values_that_are_outputs_make_the_same(whole: Callable[..., Any], args: dict[str, Any]) -> None:
    runner = {"name": "docker", "tags": ["docker"], "cpus": 1.5, "memory_mib": 512, "image": "mine:1"}
    plain: dict[str, Any] = {"runner_cpus": 0.5, "runner_memory_mib": 256, "ca_pem": "CA", "gitlab_url": "https://mine"}
    outputs = {name: pulumi.Output.from_input(value) for name, value in plain.items()}
    lifted = {name: value if name == "name" else pulumi.Output.from_input(value) for name, value in runner.items()}
    one = record(whole, args | plain | {"runners": [runner]})
    other = record(whole, args | outputs | {"runners": [lifted]})
    assert by_name(one) == by_name(other)


def test_args_with_classes_and_enums_make_the_same_as_a_dict_with_texts() -> None:
    typed = DockerRunnersArgs(
        scope=Scope.PROJECT,
        project="demo/app",
        runners=[RunnerArgs(name="docker", tags=["docker"], kind=Kind.DIND)],
    )
    plain = LEAST | {"runners": [{"name": "docker", "tags": ["docker"], "kind": "dind"}]}
    one, other = record(DockerRunners, typed), record(DockerRunners, plain)
    assert by_name(one) == by_name(other)


def test_whole_numbers_that_come_as_floats_are_whole_in_config_toml() -> None:
    runner = {"name": "docker", "limit": 2.0, "memory_mib": 512.0}
    config = config_of(record(DockerRunners, LEAST | {"concurrent": 3.0, "runners": [runner]}))
    assert repr((config["concurrent"], config["runners"][0]["limit"])) == "(3, 2)"
    assert config["runners"][0]["docker"]["memory"] == "512m"


def test_there_is_no_daemon_where_no_job_needs_one() -> None:
    recording = record(DockerRunners, LEAST | {"runners": [{"name": "host", "kind": "host-docker"}]})
    assert recording.outputs["endpoint"] is None
    assert recording.of_type("dindrunner:docker:DindDaemon") == []
    assert {volume.get("hostPath") for volume in recording.one("ci-runner-container").inputs["volumes"]} == {
        None,
        "/var/run/docker.sock",
    }


def test_a_kind_that_does_not_go_with_the_platform_is_refused_before_anything_is_made() -> None:
    reached: list[str] = []

    def program() -> Mapping[str, Any]:
        with pytest.raises(ValueError, match="whose nodes run no Docker: use dind"):
            KubernetesRunners("ci", LEAST | {"runners": [{"name": "host", "kind": "host-docker"}]})  # type: ignore[arg-type]
        reached.append("end")
        return {}

    assert [each.name for each in run(program, calls=LOOKUPS).resources] == ["ci"]
    assert reached == ["end"]


@pytest.mark.parametrize(
    ("names", "text"), [([], "runners: none: name at least one, and each once"), (["a", "a"], "'a', 'a'")]
)
def test_runners_have_names_of_their_own(names: list[str], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        record(DockerRunners, LEAST | {"runners": [{"name": name} for name in names]})


def test_a_project_may_be_named_by_its_id() -> None:
    recording = record(DockerRunners, LEAST | {"project": "7"})
    assert recording.one("ci-docker-runner").inputs["projectId"] == 7
    assert recording.calls == []


@pytest.mark.parametrize("as_given", [str, pulumi.Output.from_input])
@pytest.mark.parametrize(("whole", "args"), WHOLES)
def test_a_whole_looks_its_project_up_once_for_all_its_runners(
    whole: Callable[..., Any], args: dict[str, Any], as_given: Callable[[str], Any]
) -> None:
    def program() -> Mapping[str, Any]:
        whole("ci", args | {"project": as_given("demo/app"), "runners": [{"name": "one"}, {"name": "two"}]})
        return {}

    recording = run(program, calls=LOOKUPS)
    assert recording.calls == [("gitlab:index/getProject:getProject", {"pathWithNamespace": "demo/app"})]
    registered = recording.of_type("gitlab:index/userRunner:UserRunner")
    assert {each.name: each.inputs["projectId"] for each in registered} == {"ci-one-runner": 7, "ci-two-runner": 7}


def test_names_begin_with_project_stack_and_component() -> None:
    recording = record(DockerRunners, LEAST)
    assert recording.outputs["network_name"] == PREFIX
    assert recording.outputs["daemon_container_name"] == f"{PREFIX}-dind"


def test_the_cache_of_a_cluster_fits_its_claim() -> None:
    recording = record(KubernetesRunners, LEAST)
    config = json.loads(recording.one("ci-dind-config").inputs["data"]["daemon.json"])
    assert config["builder"]["gc"]["defaultMaxUsedSpace"] == f"{CLAIM_GIB * 6 // 10}GB"
    assert config["mtu"] == 1400
