"""Target raspberry-pi under a recording engine: plain containers, and the runner as a service of a swarm."""

from __future__ import annotations

import base64
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from components.defaults import DAEMON_IMAGE, RUNNER_IMAGE
from components.docker.spelling import go_duration, short_duration
from stacks.raspberry_pi.board import fitted
from stacks.raspberry_pi.platforms import Platform, helper_image
from stacks.targets import build
from tests.unit.recording import Recorded, Recording, Secret, in_the_clear, run
from tests.unit.samples import (
    API_TOKEN,
    LOOKUPS,
    TOKEN,
    WITH_CLIENT,
    board,
    pi,
    pi_settings,
    runner,
    runner_output,
    stack_of,
)

CONTAINER = "docker:index/container:Container"
IMAGE = "docker:index/remoteImage:RemoteImage"
NETWORK = "docker:index/network:Network"
SECRET = "docker:index/secret:Secret"
SERVICE = "docker:index/service:Service"
VOLUME = "docker:index/volume:Volume"
USER_RUNNER = "gitlab:index/userRunner:UserRunner"
PREFIX = "gitlab-dind-runners-dev"
SERVICE_NAME = f"{PREFIX}-runner"
IN_SWARM = {"swarm": "active", "is_manager": True, "node_id": "own"}
CGROUP_WARNING = (
    "neither the daemon nor a job has a limit of memory on raspberry, so that one of them can take the board down: the "
    "kernel of the board was started without its memory cgroup: append cgroup_enable=memory to the line in "
    "/boot/firmware/cmdline.txt and reboot"
)


def record(stack: str = "dev", facts: Mapping[str, Any] | None = None, **settings: Any) -> Recording:
    """What a stack with these settings does on a board with these facts."""
    here = board(**IN_SWARM | dict(facts or {}))
    parsed = fitted(pi_settings(**settings), here)

    def program() -> dict[str, Any]:
        token = pulumi.Output.secret(API_TOKEN)
        project = "gitlab-dind-runners"
        return build(stack_of(parsed, here, gitlab_token=token, name=stack, project=project))

    return run(program, stack=stack, calls=LOOKUPS)


def in_swarm(**settings: Any) -> Recording:
    return record(orchestrator="swarm", **settings)


@pytest.fixture(scope="module", name="dev")
def _dev() -> Recording:
    """The smallest stack; module-wide, because nothing changes a recording."""
    return record()


@pytest.fixture(scope="module", name="swarm")
def _swarm() -> Recording:
    """The smallest stack on a swarm."""
    return in_swarm()


@pytest.fixture(scope="module", name="either", params=["docker", "swarm"])
def _either(request: pytest.FixtureRequest) -> Recording:
    return record(orchestrator=request.param)


def inputs(recording: Recording, name: str) -> Any:
    return recording.one(name).inputs


def labels(resource: Recorded) -> dict[str, str]:
    return {each["label"]: each["value"] for each in resource.inputs["labels"]}


def task(recording: Recording) -> Any:
    return inputs(recording, "runner-service")["taskSpec"]


def container_spec(recording: Recording) -> Any:
    return task(recording)["containerSpec"]


def config_text(recording: Recording) -> str:
    """The text of config.toml, which nobody may read on the way."""
    if recording.of_type(SERVICE):
        (config,) = (each for each in recording.of_type(SECRET) if each.name.endswith("-config"))
        data = config.inputs["data"]
        assert isinstance(data, Secret)
        return base64.b64decode(data.value, validate=True).decode()
    content = inputs(recording, "runner-config")["uploads"][0]["content"]
    assert isinstance(content, Secret)
    text: str = content.value
    return text


def config_toml(recording: Recording) -> dict[str, Any]:
    return tomllib.loads(config_text(recording))


def types(recording: Recording) -> list[tuple[str, str, str | None]]:
    return sorted((resource.type, resource.name, resource.parent) for resource in recording.resources)


COMMON = [
    ("dindrunner:docker:DindDaemon", "dind", None),
    ("dindrunner:index:RunnerRegistration", "docker", None),
    (CONTAINER, "dind-container", "dind"),
    (NETWORK, "network-network", "network"),
    (IMAGE, "dind-image", None),
    (IMAGE, "runner-image", None),
    (VOLUME, "dind-certs-ca", "dind"),
    (VOLUME, "dind-certs-client", "dind"),
    (VOLUME, "dind-data", "dind"),
    (USER_RUNNER, "docker-runner", "docker"),
    ("pulumi:providers:docker", "engine", None),
    ("pulumi:providers:gitlab", "gitlab", None),
]


def test_without_a_swarm_a_board_has_the_containers_of_a_docker_host_and_its_images(dev: Recording) -> None:
    assert types(dev) == sorted(
        [
            *COMMON,
            ("dindrunner:docker:RunnerContainer", "runner", None),
            ("dindrunner:docker:RunnerNetwork", "network", None),
            (CONTAINER, "runner-config", "runner"),
            (CONTAINER, "runner-container", "runner"),
            (VOLUME, "runner-config-volume", "runner"),
        ]
    )


def test_on_a_swarm_the_runner_is_a_service_and_the_daemon_a_container(swarm: Recording) -> None:
    assert types(swarm) == sorted(
        [
            *COMMON,
            ("dindrunner:swarm:RunnerContainer", "runner", None),
            ("dindrunner:swarm:RunnerNetwork", "network", None),
            (SECRET, f"{PREFIX}-config", "runner"),
            (SERVICE, "runner-service", "runner"),
            (VOLUME, "runner-state-volume", "runner"),
        ]
    )


def test_everything_goes_through_the_stacks_own_providers(either: Recording) -> None:
    used = {resource.name: resource.provider for resource in either.resources if resource.provider}
    assert used.pop("docker-runner") == "gitlab"
    assert set(used.values()) == {"engine"}
    assert set(used) == {each.name for each in either.resources if each.type.startswith("docker:")}


def test_the_engine_is_reached_by_ssh_as_the_settings_say() -> None:
    recording = record(docker_host="ssh://pi@raspberry:2222", ssh={"known_hosts_file": "known"})
    engine = inputs(recording, "engine")
    assert engine["host"] == "ssh://pi@raspberry:2222"
    # A provider's own inputs travel as JSON, unless they are text.
    assert json.loads(engine["sshOpts"]) == [
        *("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=10"),
        *("-o", "ServerAliveInterval=30", "-o", "UserKnownHostsFile=known"),
    ]


def test_a_board_that_is_this_machine_is_reached_without_ssh() -> None:
    engine = inputs(record(docker_host="unix:///var/run/docker.sock"), "engine")
    assert engine == {"host": "unix:///var/run/docker.sock", "context": "", "certPath": ""}


def test_every_docker_object_carries_its_stack_and_its_role(either: Recording) -> None:
    objects = [each for each in either.resources if each.type.startswith("docker:") and each.type != IMAGE]
    assert {labels(each)["dindrunner.stack"] for each in objects} == {"dev"}
    roles = {
        "network-network": "network",
        "dind-data": "data",
        "dind-certs-ca": "certs-ca",
        "dind-certs-client": "certs-client",
        "dind-container": "daemon",
        "runner-config": "config",
        f"{PREFIX}-config": "config",
        "runner-container": "runner",
        "runner-service": "runner",
        "runner-config-volume": "config",
        "runner-state-volume": "state",
    }
    assert {each.name: labels(each)["dindrunner.role"] for each in objects} == {
        each.name: roles[each.name] for each in objects
    }


# images


@pytest.mark.parametrize("platform", ["linux/arm64", "linux/arm/v7", "linux/amd64"])
@pytest.mark.parametrize("orchestrator", ["docker", "swarm"])
def test_images_are_pulled_for_the_platform_and_stay_on_the_engine(platform: str, orchestrator: str) -> None:
    recording = record(
        platform=platform, orchestrator=orchestrator, daemon={"image": "daemon:1"}, runner_image="runner:1"
    )
    for name, image in (("dind-image", "daemon:1"), ("runner-image", "runner:1")):
        assert inputs(recording, name) == {"name": image, "platform": platform, "keepLocally": True}


def test_no_container_is_touched_before_its_image_is_there(dev: Recording, swarm: Recording) -> None:
    for recording in (dev, swarm):
        assert "dind-image" in recording.one("dind-container").depends_on
    assert "runner-image" in dev.one("runner-container").depends_on
    assert "runner-image" in dev.one("runner-config").depends_on
    assert "runner-image" in swarm.one("runner-service").depends_on


def test_containers_and_service_run_the_images_that_were_pulled(dev: Recording, swarm: Recording) -> None:
    assert inputs(dev, "dind-container")["image"] == inputs(swarm, "dind-container")["image"] == DAEMON_IMAGE
    assert inputs(dev, "runner-container")["image"] == RUNNER_IMAGE
    assert inputs(dev, "runner-config")["image"] == RUNNER_IMAGE
    # By digest where the engine knows one.
    assert container_spec(swarm)["image"] == RUNNER_IMAGE


# network


def test_the_network_is_a_bridge_without_a_swarm_and_an_overlay_for_containers_with_one(
    dev: Recording, swarm: Recording
) -> None:
    bridge, overlay = dict(inputs(dev, "network-network")), dict(inputs(swarm, "network-network"))
    assert bridge.pop("labels") == overlay.pop("labels")
    assert bridge == {"name": PREFIX, "driver": "bridge"}
    assert overlay == {"name": f"{PREFIX}-overlay", "driver": "overlay", "attachable": True}


@pytest.mark.parametrize("orchestrator", ["docker", "swarm"])
def test_subnet_and_mtu_reach_the_network(orchestrator: str) -> None:
    recording = record(orchestrator=orchestrator, network={"subnet": "10.90.0.0/24", "mtu": 1400})
    network = inputs(recording, "network-network")
    assert network["ipamConfigs"] == [{"subnet": "10.90.0.0/24", "gateway": "10.90.0.1"}]
    assert network["options"]["com.docker.network.driver.mtu"] == "1400"


def test_daemon_and_runner_meet_on_the_stacks_network(dev: Recording, swarm: Recording) -> None:
    assert inputs(dev, "dind-container")["networksAdvanced"] == [{"name": PREFIX, "aliases": ["docker"]}]
    assert inputs(dev, "runner-container")["networksAdvanced"] == [{"name": PREFIX}]
    assert inputs(swarm, "dind-container")["networksAdvanced"] == [{"name": f"{PREFIX}-overlay", "aliases": ["docker"]}]
    # Swarm keeps it by its ID; by name, every preview would find a change.
    assert task(swarm)["networksAdvanceds"] == [{"id": "network-network-0123456789abcdef"}]
    assert inputs(swarm, "runner-service")["endpointSpec"] == {"mode": "dnsrr"}


# the daemon


def test_only_the_daemon_is_privileged_and_no_port_is_published(either: Recording) -> None:
    containers = either.of_type(CONTAINER)
    assert [each.name for each in containers if each.inputs.get("privileged")] == ["dind-container"]
    assert not [each.name for each in containers if {"ports", "publishAllPorts"} & set(each.inputs)]
    for service in either.of_type(SERVICE):
        assert "ports" not in service.inputs["endpointSpec"]
        assert not {"privileges", "capAdds", "user"} & set(service.inputs["taskSpec"]["containerSpec"])


def test_the_daemon_is_the_same_with_and_without_a_swarm(dev: Recording, swarm: Recording) -> None:
    plain, beside_service = dict(inputs(dev, "dind-container")), dict(inputs(swarm, "dind-container"))
    assert plain.pop("networksAdvanced") != beside_service.pop("networksAdvanced")
    assert plain == beside_service


def test_the_daemon_has_the_boards_limits_and_a_small_cache(either: Recording) -> None:
    container = inputs(either, "dind-container")
    assert (container["cpus"], container["memory"], container["memorySwap"]) == ("3.0", 2560, -1)
    config = json.loads(container["uploads"][0]["content"])
    assert config["builder"]["gc"]["defaultMaxUsedSpace"] == "8GB"
    assert (config["log-driver"], config["log-opts"]) == ("json-file", {"max-size": "10m", "max-file": "3"})


@pytest.mark.parametrize("orchestrator", ["docker", "swarm"])
def test_the_cache_may_lie_on_another_disk(orchestrator: str) -> None:
    data = inputs(record(orchestrator=orchestrator, daemon={"data_path": "/mnt/ssd/dind"}), "dind-data")
    assert data["driverOpts"] == {"type": "none", "o": "bind", "device": "/mnt/ssd/dind"}


@pytest.mark.parametrize("orchestrator", ["docker", "swarm"])
@pytest.mark.parametrize("settings", [runner(kind="plain", executor="shell"), runner(kind="host-docker")])
def test_no_daemon_and_no_image_of_one_where_no_runner_needs_it(settings: dict[str, Any], orchestrator: str) -> None:
    recording = record(orchestrator=orchestrator, runners=[settings])
    assert not [each.name for each in recording.resources if each.name.startswith("dind")]
    assert recording.outputs["daemon"] is None
    if orchestrator == "swarm":
        assert "hosts" not in container_spec(recording)
    else:
        assert "domainname" not in inputs(recording, "runner-container")


# the runner as a container


def test_the_runners_container_has_its_limits_and_comes_back_after_a_reboot(dev: Recording) -> None:
    container = inputs(dev, "runner-container")
    assert (container["memory"], container["memorySwap"], "cpus" in container) == (256, -1, False)
    assert dev.one("runner-container").replace_on_changes == ("memorySwap",)
    assert container["restart"] == "unless-stopped"
    assert (container["logDriver"], container["logOpts"]) == ("json-file", {"max-size": "10m", "max-file": "3"})
    limited = inputs(record(runner_cpus=0.5, runner_memory_mib=128), "runner-container")
    assert (limited["cpus"], limited["memory"], limited["memorySwap"]) == ("0.5", 128, -1)


def test_the_writer_of_config_toml_has_no_limits(dev: Recording) -> None:
    assert not {"cpus", "memory", "memorySwap"} & set(inputs(dev, "runner-config"))


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({}, {"limits_memory": False}),
        ({"runner_image": WITH_CLIENT, "runners": [runner(executor="shell")]}, {}),
    ],
    ids=["no memory cgroup", "shell"],
)
def test_no_limit_of_memory_where_there_is_none_to_have(settings: dict[str, Any], facts: dict[str, Any]) -> None:
    container = inputs(record(facts=facts, **settings), "runner-container")
    assert not {"memory", "memorySwap"} & set(container)
    assert "resources" not in task(in_swarm(facts=facts, **settings))


# the runner as a service


def test_the_service_has_one_task_on_the_daemons_node(swarm: Recording) -> None:
    service = inputs(swarm, "runner-service")
    assert (service["name"], service["mode"]) == (SERVICE_NAME, {"replicated": {"replicas": 1}})
    assert task(swarm)["placement"]["constraints"] == ["node.id==own"]
    by_label = in_swarm(swarm={"node_label": "ci=true"})
    assert task(by_label)["placement"]["constraints"] == ["node.labels.ci==true"]


@pytest.mark.parametrize("platform", ["linux/arm64", "linux/arm/v7", "linux/amd64"])
def test_the_platforms_of_the_placement_are_left_to_docker(platform: str) -> None:
    recording = in_swarm(platform=platform)
    assert "platforms" not in task(recording)["placement"]
    assert recording.one("runner-service").ignore_changes == ("taskSpec.placement.platforms",)


def test_config_toml_is_a_secret_of_the_task_that_only_root_reads(swarm: Recording) -> None:
    assert container_spec(swarm)["secrets"] == [
        {
            "secretId": f"{PREFIX}-config-0123456789abcdef",
            "secretName": f"{PREFIX}-config-0123456",
            "fileName": "/etc/gitlab-runner/config.toml",
            "fileUid": "0",
            "fileGid": "0",
            "fileMode": 0o400,
        }
    ]


def test_a_new_config_toml_is_a_new_secret_beside_the_old_one_so_pulumi_names_both(swarm: Recording) -> None:
    secret = swarm.one(f"{PREFIX}-config")
    assert set(secret.inputs) == {"data", "labels"}
    # The new one is there before the service lets go of the old one.
    assert not secret.delete_before_replace


def test_the_ca_of_a_gitlab_of_ones_own_is_a_secret_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("a CA")
    recording = in_swarm(gitlab=pi()["gitlab"] | {"ca_file": str(tmp_path / "ca.pem")})
    secret = inputs(recording, f"{PREFIX}-ca")
    assert secret["data"] == Secret(base64.b64encode(b"a CA").decode())
    assert set(secret) == {"data", "labels"}
    config, ca = container_spec(recording)["secrets"]
    assert config["fileName"] == "/etc/gitlab-runner/config.toml"
    assert (ca["fileName"], ca["secretName"]) == ("/etc/gitlab-runner/certs/gitlab-ca.pem", f"{PREFIX}-ca-0123456")
    assert config_toml(recording)["runners"][0]["tls-ca-file"] == ca["fileName"]


def test_the_ca_of_a_gitlab_of_ones_own_reaches_the_runners_container(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("a CA")
    recording = record(gitlab=pi()["gitlab"] | {"ca_file": str(tmp_path / "ca.pem")})
    _, ca = inputs(recording, "runner-config")["uploads"]
    assert (ca["file"], ca["content"]) == ("/etc/gitlab-runner/certs/gitlab-ca.pem", "a CA")


STATE = {
    "type": "volume",
    "source": f"{PREFIX}-runner-state",
    "target": "/etc/gitlab-runner",
    "readOnly": False,
}


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({}, [("volume", f"{PREFIX}-dind-certs-client", "/certs/client", True)]),
        ({"daemon": {"transport": "socket"}}, [("volume", f"{PREFIX}-dind-socket", "/run/dind", True)]),
        ({"daemon": {"transport": "tcp"}}, []),
        ({"runners": [runner(kind="host-docker")]}, [("bind", "/var/run/docker.sock", "/var/run/docker.sock", None)]),
        (
            {"runners": [runner(kind="host-docker")], "host_socket": "/run/user/1000/docker.sock"},
            [("bind", "/run/user/1000/docker.sock", "/var/run/docker.sock", None)],
        ),
        (
            {"runners": [runner(kind="host-docker"), runner(name="two")]},
            [
                ("volume", f"{PREFIX}-dind-certs-client", "/certs/client", True),
                ("bind", "/var/run/docker.sock", "/var/run/docker.sock", None),
            ],
        ),
    ],
    ids=["tls", "socket", "tcp", "host-docker", "another socket", "host-docker and dind"],
)
def test_the_task_mounts_its_state_what_a_client_needs_and_the_hosts_socket_only_for_host_docker(
    settings: dict[str, Any], more: list[tuple[str, str, str, bool | None]]
) -> None:
    state, *others = container_spec(in_swarm(**settings))["mounts"]
    assert state == STATE
    assert [(each["type"], each["source"], each["target"], each.get("readOnly")) for each in others] == more


@pytest.mark.parametrize("orchestrator", ["docker", "swarm"])
def test_the_authoritys_key_and_the_layer_cache_stay_with_the_daemon(orchestrator: str) -> None:
    recording = record(orchestrator=orchestrator)
    others = [each.inputs for each in recording.resources if each.type in (CONTAINER, SERVICE)]
    told = [text for each in others if each["name"] != f"{PREFIX}-dind" for text in in_the_clear(each)]
    assert not [text for text in told if text.endswith(("-dind-certs-ca", "-dind-data"))]


def test_the_service_goes_before_its_daemon_and_its_network_because_its_name_waits_for_both(swarm: Recording) -> None:
    service = swarm.one("runner-service")
    # The provider replaces a service whose name is another, or not known yet.
    assert service.inputs["name"] == SERVICE_NAME
    assert service.delete_before_replace
    assert {"dind-container", "network-network", f"{PREFIX}-config"} <= set(service.depends_on)
    assert {"dind-container", "network-network"} <= set(service.depends_of["name"])


def test_a_task_is_stopped_gently_and_given_time_to_drain() -> None:
    recording = in_swarm(drain_seconds=900)
    spec = container_spec(recording)
    assert (spec["stopSignal"], spec["stopGracePeriod"]) == ("SIGQUIT", "15m")
    assert inputs(recording, "runner-service")["convergeConfig"] == {"delay": "7s", "timeout": "1080s"}


def test_a_service_rolls_over_one_by_one_and_back_where_the_new_task_does_not_come_up(swarm: Recording) -> None:
    assert inputs(swarm, "runner-service")["updateConfig"] == {
        "parallelism": 1,
        "order": "stop-first",
        "monitor": "15s",
        "failureAction": "rollback",
    }


def test_a_task_that_ends_is_started_again_and_its_logs_are_bounded(swarm: Recording) -> None:
    assert task(swarm)["restartPolicy"] == {"condition": "any", "delay": "5s", "window": "0s"}
    assert task(swarm)["logDriver"] == {"name": "json-file", "options": {"max-size": "10m", "max-file": "3"}}


@pytest.mark.parametrize(
    ("settings", "limits"),
    [
        ({}, {"memoryBytes": 268435456}),
        ({"runner_cpus": 0.3}, {"nanoCpus": 300000000, "memoryBytes": 268435456}),
        ({"runner_cpus": 2, "runner_memory_mib": 64}, {"nanoCpus": 2000000000, "memoryBytes": 67108864}),
    ],
)
def test_the_limits_of_the_runner_reach_its_task(settings: dict[str, Any], limits: dict[str, int]) -> None:
    assert task(in_swarm(**settings))["resources"] == {"limits": limits}


def test_the_tasks_containers_carry_the_labels_of_the_runner(swarm: Recording) -> None:
    assert {each["label"]: each["value"] for each in container_spec(swarm)["labels"]} == {
        "dindrunner.stack": "dev",
        "dindrunner.role": "runner",
    }


@pytest.mark.parametrize(
    ("seconds", "long", "short"),
    [
        (0, "0s", "0s"),
        (5, "5s", "5s"),
        (60, "1m0s", "1m"),
        (75, "1m15s", "1m15s"),
        (600, "10m0s", "10m"),
        (3600, "1h0m0s", "1h"),
        (3605, "1h0m5s", "1h0m5s"),
        (4200, "1h10m0s", "1h10m"),
        (36000, "10h0m0s", "10h"),
        (86461, "24h1m1s", "24h1m1s"),
    ],
)
def test_durations_are_written_as_the_provider_reads_them_back(seconds: int, long: str, short: str) -> None:
    assert (go_duration(seconds), short_duration(seconds)) == (long, short)


# runners


TWO_KINDS = [
    (
        [runner(name="plain", kind="plain", tags=["arm64"]), runner(name="host", kind="host-docker", tags=["host"])],
        {"plain": "tcp://docker:2376", "host": "unix:///var/run/docker.sock"},
    ),
    (
        [runner(name="plain", kind="plain", tags=["arm64"], limit=1), runner(name="dind", tags=["dind"], limit=1)],
        {"plain": "tcp://docker:2376", "dind": "tcp://docker:2376"},
    ),
]


@pytest.mark.parametrize("orchestrator", ["docker", "swarm"])
@pytest.mark.parametrize(("runners", "daemons"), TWO_KINDS, ids=["plain and host-docker", "plain and dind"])
def test_two_kinds_stand_in_one_config_toml_with_a_registration_each(
    runners: list[dict[str, Any]], daemons: dict[str, str], orchestrator: str
) -> None:
    recording = record(orchestrator=orchestrator, runners=runners)
    config = config_toml(recording)
    assert config["concurrent"] == 2
    assert {each["name"]: each["docker"]["host"] for each in config["runners"]} == daemons
    for wanted, entry in zip(runners, config["runners"], strict=True):
        registered = inputs(recording, f"{wanted['name']}-runner")
        assert (registered["tagLists"], registered["locked"], registered["untagged"]) == (wanted["tags"], True, False)
        assert entry["token"] == f"glrt-{wanted['name']}-runner"
        assert entry["limit"] == wanted.get("limit", 0)
        table = entry["docker"]
        assert table["pull_policy"] == "if-not-present"
        assert (table["cpus"], table["service_cpus"]) == ("1.5", "1.5")
        assert (table["memory"], table["service_memory"]) == ("1280m", "1280m")
        assert table["helper_image"] == helper_image(RUNNER_IMAGE, Platform.ARM64)
        assert recording.outputs["runners"][wanted["name"]]["kind"] == wanted.get("kind", "dind")
    assert len(recording.of_type(USER_RUNNER)) == 2
    assert len([each for each in recording.resources if each.name in ("runner-container", "runner-service")]) == 1


def test_config_toml_is_the_same_with_and_without_a_swarm(dev: Recording, swarm: Recording) -> None:
    assert config_text(dev) == config_text(swarm)


@pytest.mark.parametrize("orchestrator", ["docker", "swarm"])
def test_host_docker_mounts_the_boards_socket_that_the_settings_name(orchestrator: str) -> None:
    runners = [runner(kind="host-docker")]
    recording = record(orchestrator=orchestrator, runners=runners, host_socket="/run/user/1000/docker.sock")
    volumes = config_toml(recording)["runners"][0]["docker"]["volumes"]
    assert "/run/user/1000/docker.sock:/var/run/docker.sock" in volumes
    if orchestrator == "docker":
        assert inputs(recording, "runner-container")["volumes"][-1] == {
            "hostPath": "/run/user/1000/docker.sock",
            "containerPath": "/var/run/docker.sock",
        }


# warnings, outputs, secrets, names


def test_nothing_is_warned_of_on_a_board_that_has_all_it_needs(either: Recording) -> None:
    assert either.warnings == []
    assert either.errors == []


@pytest.mark.parametrize("orchestrator", ["docker", "swarm"])
def test_the_preview_warns_of_a_kernel_without_limits_of_memory_and_of_what_gives_the_board_away(
    orchestrator: str,
) -> None:
    recording = record(facts={"limits_memory": False}, orchestrator=orchestrator, runners=[runner(kind="host-docker")])
    assert recording.warnings == [
        "settings.runners[0].kind: host-docker hands the host's Docker socket to every job of runner docker: whoever "
        "can push a job is root on the host. Use dind unless all of them may be",
        CGROUP_WARNING,
    ]


@pytest.mark.parametrize(("orchestrator", "network"), [("docker", PREFIX), ("swarm", f"{PREFIX}-overlay")])
def test_the_outputs_are_exactly_as_documented(orchestrator: str, network: str) -> None:
    outputs = dict(record(orchestrator=orchestrator).outputs)
    assert list(yaml.safe_load(outputs.pop("ci_snippet"))) == ["docker-job"]
    assert outputs == {
        "version": 1,
        "target": "raspberry-pi",
        "prefix": PREFIX,
        "gitlab": {"url": "https://gitlab.example.com", "scope": "project", "group": None, "project": "demo/app"},
        "concurrent": 2,
        "platform": "linux/arm64",
        "orchestrator": orchestrator,
        "network": network,
        "service": SERVICE_NAME if orchestrator == "swarm" else None,
        "daemon": {
            "endpoint": "tcp://docker:2376",
            "transport": "tls",
            "container": f"{PREFIX}-dind",
            "volume": f"{PREFIX}-dind-data",
        },
        "runners": {"docker": runner_output(helper_image=helper_image(RUNNER_IMAGE, Platform.ARM64))},
    }


@pytest.mark.parametrize("orchestrator", ["docker", "swarm"])
def test_no_secret_leaves_in_the_clear(orchestrator: str) -> None:
    secret = {"cache": {"s3": {"SecretKey": "cache-s3cret"}}, "environment": {"KEY": "environment-s3cret"}}
    runners = [runner(token=TOKEN, **secret), runner(name="two")]
    recording = record(orchestrator=orchestrator, runners=runners, extra={"user": "extra-s3cret"})
    clear = in_the_clear([[each.inputs for each in recording.resources], recording.outputs, recording.warnings])
    encoded = [base64.b64encode(text.encode()).decode()[:8] for text in ("concurrent = ", TOKEN)]
    assert [text for text in clear if "s3cret" in text or "glrt-" in text or any(e in text for e in encoded)] == []
    content = config_text(recording)
    for expected in (TOKEN, "glrt-two-runner", "cache-s3cret", "environment-s3cret", "extra-s3cret"):
        assert expected in content


def names_on_the_engine(recording: Recording) -> list[tuple[str, str]]:
    """With types; of a secret what Pulumi puts before its random characters."""
    objects = [each for each in recording.resources if each.type.startswith("docker:") and each.type != IMAGE]
    return [(each.type, each.name if each.type == SECRET else each.inputs["name"]) for each in objects]


@pytest.mark.parametrize("orchestrator", ["docker", "swarm"])
def test_two_stacks_on_one_board_share_no_name(orchestrator: str) -> None:
    one = names_on_the_engine(record("one", orchestrator=orchestrator))
    two = names_on_the_engine(record("two", orchestrator=orchestrator))
    assert len(set(one) | set(two)) == len(one) + len(two) == 16


@pytest.mark.parametrize("orchestrator", ["docker", "swarm"])
def test_a_chosen_name_is_the_prefix_of_every_name(orchestrator: str) -> None:
    chosen = names_on_the_engine(record(orchestrator=orchestrator, name="builders"))
    assert all(name == "builders" or name.startswith("builders-") for _, name in chosen)


def test_no_wait_for_the_service_is_longer_than_the_providers_own_limit() -> None:
    recording = in_swarm(drain_seconds=7200)
    assert inputs(recording, "runner-service")["convergeConfig"] == {"delay": "7s", "timeout": "1140s"}


def test_an_overlay_with_an_mtu_says_its_vxlan_id_or_swarm_would_add_one_that_is_a_drift() -> None:
    options = inputs(in_swarm(network={"mtu": 1300}), "network-network")["options"]
    assert options["com.docker.network.driver.mtu"] == "1300"
    assert 2**20 <= int(options["com.docker.network.driver.overlay.vxlanid_list"]) < 2**24
    other = inputs(in_swarm(name="other", network={"mtu": 1300}), "network-network")["options"]
    assert other != options
    assert "options" not in inputs(in_swarm(), "network-network")
