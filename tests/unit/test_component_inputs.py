"""How components take their inputs: outputs where a value may be one, texts for enums, dicts for args."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pulumi
import pytest

from components import docker, kubernetes, swarm
from components.inputs import mapped, recorded, taken
from components.registration import RunnerRegistration, RunnerRegistrationArgs
from components.transport import Transport
from tests.unit.recording import Recorded, Recording, Secret, run
from tests.unit.samples import LOOKUPS

ON_DOCKER = {"prefix": "ci", "stack": "dev", "network_name": "ci"}
ON_CLUSTER = {"prefix": "ci", "stack": "dev", "namespace": "ci"}
RUNNER = {"config_toml": "concurrent = 1\n"}


def made(component: Callable[..., Any], args: Any) -> Recording:
    """What a component of these args makes, named `it`."""

    def program() -> Mapping[str, Any]:
        component("it", args)
        return {}

    return run(program, calls=LOOKUPS)


def as_outputs(value: Any) -> Any:
    """The same value as an output."""
    return pulumi.Output.from_input(value)


def children(recording: Recording) -> dict[str, Any]:
    """What was asked for, by name, but the component itself."""
    return {each.name: each.inputs for each in recording.resources if each.name != "it"}


CASES: list[tuple[Callable[..., Any], dict[str, Any], dict[str, Any]]] = [
    (docker.RunnerNetwork, {"network_name": "ci", "stack": "dev"}, {"subnet": "10.90.0.0/24", "mtu": 1400}),
    (docker.RunnerNetwork, {"stack": "dev"}, {"network_name": "ci"}),
    (swarm.RunnerNetwork, {"stack": "dev"}, {"network_name": "ci", "subnet": "10.90.0.0/24", "mtu": 1400}),
    (docker.DindDaemon, ON_DOCKER, {"cpus": 1.5, "memory_mib": 512, "daemon_json": '{"mtu": 1400}'}),
    (docker.DindDaemon, ON_DOCKER, {"certificate_names": ["docker", "10.0.0.1"], "data_path": "/mnt/disk"}),
    (
        docker.RunnerContainer,
        ON_DOCKER | RUNNER,
        {"cpus": 0.5, "memory_mib": 256, "ca_pem": "CERTIFICATE", "host_socket": "/run/docker.sock"},
    ),
    (
        swarm.RunnerContainer,
        {"prefix": "ci", "stack": "dev", **RUNNER},
        {"cpus": 0.5, "memory_mib": 256, "ca_pem": "CERTIFICATE", "network_id": "id", "node": "node.id == 1"},
    ),
    (
        kubernetes.DindDaemon,
        ON_CLUSTER,
        {
            "cpus": 2.0,
            "memory_mib": 4096,
            "cpu_request": 0.5,
            "memory_request_mib": 1024,
            "network_mtu": 1400,
            "daemon_json": "{}",
        },
    ),
    (
        kubernetes.RunnerContainer,
        ON_CLUSTER | RUNNER,
        {"cpus": 0.5, "memory_mib": 256, "ca_pem": "CERTIFICATE", "metrics_port": 9252},
    ),
    (kubernetes.DaemonCertificates, ON_CLUSTER, {"names": ["docker"], "addresses": ["127.0.0.1"], "valid_days": 30}),
    (
        kubernetes.DaemonPruner,
        ON_CLUSTER | {"environment": {"DOCKER_HOST": "tcp://ci-dind:2376"}},
        {"schedule": "0 3 * * *", "unused_hours": 24},
    ),
    (
        RunnerRegistration,
        {"scope": "project"},
        {"project": "demo/app", "tags": ["b", "a"], "description": "x", "maximum_timeout": 600, "paused": True},
    ),
    (RunnerRegistration, {"scope": "group"}, {"group": 8, "locked": False, "run_untagged": True}),
]
"""A component, inputs that are plain, and inputs that may be outputs."""


@pytest.mark.parametrize(("component", "plain", "values"), CASES, ids=lambda case: getattr(case, "__name__", ""))
def test_a_value_that_is_an_output_makes_the_same_as_the_value_itself(
    component: Callable[..., Any], plain: dict[str, Any], values: dict[str, Any]
) -> None:
    expected = children(made(component, plain | values))
    outputs = {name: as_outputs(value) for name, value in values.items()}
    assert children(made(component, plain | outputs)) == expected
    assert expected


def test_lists_may_hold_outputs() -> None:
    args = {"scope": "project", "project": 7}
    plain = children(made(RunnerRegistration, args | {"tags": ["b", "a"]}))
    assert children(made(RunnerRegistration, args | {"tags": ["b", as_outputs("a")]})) == plain


def test_args_are_taken_as_a_dict_as_well() -> None:
    args = {"scope": "project", "project": 7, "tags": ["a"]}
    typed = RunnerRegistrationArgs(scope="project", project=7, tags=["a"])
    assert children(made(RunnerRegistration, args)) == children(made(RunnerRegistration, typed))


def test_an_input_that_there_is_not_is_refused_by_its_name() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'tag'"):
        taken(RunnerRegistrationArgs, {"scope": "project", "tag": ["a"]})


def test_an_enum_takes_its_text_and_no_other() -> None:
    assert children(made(docker.DindDaemon, ON_DOCKER | {"transport": "socket"})) == children(
        made(docker.DindDaemon, ON_DOCKER | {"transport": Transport.SOCKET})
    )
    with pytest.raises(ValueError, match="'smoke' is not a valid Transport"):
        made(docker.DindDaemon, ON_DOCKER | {"transport": "smoke"})
    with pytest.raises(ValueError, match="'everybody' is not a valid Scope"):
        made(RunnerRegistration, {"scope": "everybody"})


def test_a_whole_number_that_came_as_a_float_is_whole_again() -> None:
    args = taken(docker.DindDaemonArgs, ON_DOCKER | {"memory_mib": 512.0, "cpus": 2.0})
    assert repr((args.memory_mib, args.cpus)) == "(512, 2.0)"


def test_what_is_no_output_stays_plain() -> None:
    assert mapped(["a"], list) == ["a"]


@pytest.mark.parametrize(("component", "plain", "values"), CASES, ids=lambda case: getattr(case, "__name__", ""))
def test_a_component_records_what_it_was_given(
    component: Callable[..., Any], plain: dict[str, Any], values: dict[str, Any]
) -> None:
    inputs = made(component, plain | values).one("it").inputs
    given = {name: value for name, value in (plain | values).items() if name not in ("config_toml",)}
    assert {name: inputs.get(name) for name in given} == given


def test_the_configuration_with_its_tokens_is_recorded_as_a_secret() -> None:
    inputs = made(docker.RunnerContainer, ON_DOCKER | RUNNER).one("it").inputs
    assert inputs["config_toml"] == Secret(RUNNER["config_toml"])


def test_what_is_left_out_is_not_recorded() -> None:
    assert "subnet" not in recorded(docker.RunnerNetworkArgs(network_name="ci", stack="dev"))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (docker.RunnerNetwork, {"network_name"}),
        (docker.DindDaemon, {"endpoint", "container_name", "volume_name", "client_volumes", "keep_cache"}),
        (docker.RunnerContainer, {"container_name"}),
        (swarm.RunnerNetwork, {"network_name", "network_id"}),
        (swarm.RunnerContainer, {"service_name"}),
        (kubernetes.RunnerNetwork, {"namespace", "service", "policy"}),
        (kubernetes.DindDaemon, {"endpoint", "container_name", "volume_name"}),
        (kubernetes.RunnerContainer, {"deployment_name"}),
        (kubernetes.DaemonCertificates, {"server_secret", "client_secret", "fingerprint"}),
        (kubernetes.DaemonPruner, {"cron_job_name"}),
        (RunnerRegistration, {"runner_id", "token"}),
    ],
)
def test_every_output_that_is_registered_is_an_attribute_of_that_name(
    kind: type[pulumi.ComponentResource], names: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    args = {
        docker.RunnerNetwork: {"network_name": "ci", "stack": "dev"},
        swarm.RunnerNetwork: {"network_name": "ci", "stack": "dev"},
        docker.DindDaemon: ON_DOCKER,
        docker.RunnerContainer: ON_DOCKER | RUNNER,
        swarm.RunnerContainer: {"prefix": "ci", "stack": "dev", "network_id": "id", "node": "n", **RUNNER},
        kubernetes.RunnerNetwork: ON_CLUSTER,
        kubernetes.DindDaemon: ON_CLUSTER,
        kubernetes.RunnerContainer: ON_CLUSTER | RUNNER,
        kubernetes.DaemonCertificates: ON_CLUSTER | {"names": ["docker"]},
        kubernetes.DaemonPruner: ON_CLUSTER | {"environment": {}},
        RunnerRegistration: {"scope": "project", "project": 7},
    }[kind]
    registered: dict[str, Any] = {}
    monkeypatch.setattr(
        kind, "register_outputs", lambda component, outputs: registered.update({"": component}, **outputs)
    )
    made(kind, args)
    component = registered.pop("")
    assert {name: getattr(component, name) for name in names} == registered


def _types(resources: list[Recorded]) -> set[str]:
    return {each.type for each in resources}


def test_a_daemon_is_said_to_be_kept_where_its_volume_is() -> None:
    recording = made(docker.DindDaemon, ON_DOCKER | {"keep_cache": True})
    assert "docker:index/volume:Volume" in _types(recording.resources)
    assert json.dumps(recording.one("it-data").retain_on_delete) == "true"
