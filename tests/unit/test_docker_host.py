"""Target docker-host under a recording engine: what is asked of Docker and GitLab, and what comes out."""

from __future__ import annotations

import json
import time
import tomllib
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from components.docker import RunnerContainer, RunnerContainerArgs, log_tail
from components.docker import daemon as daemon_module
from components.docker.log_tail import log_tail_on_failure
from components.docker_client import DockerEngine
from stacks.docker_host.build import build
from stacks.docker_host.settings import DockerHostSettings
from stacks.targets import parse
from tests.unit.recording import Recorded, Recording, Secret, in_the_clear, run
from tests.unit.samples import API_TOKEN, LOOKUPS, TOKEN, WITH_CLIENT, plain, runner, runner_output, stack_of

CONTAINER = "docker:index/container:Container"
NETWORK = "docker:index/network:Network"
VOLUME = "docker:index/volume:Volume"
USER_RUNNER = "gitlab:index/userRunner:UserRunner"


def docker_host(**settings: Any) -> DockerHostSettings:
    """Checked settings of the smallest stack, with `settings` laid over it."""
    parsed = parse(plain(**settings))
    assert isinstance(parsed, DockerHostSettings)
    return parsed


def record(name: str = "dev", api_token: str | None = API_TOKEN, **settings: Any) -> Recording:
    """What a stack with these settings does."""
    parsed = docker_host(**settings)

    def program() -> dict[str, Any]:
        secret = pulumi.Output.secret(api_token) if api_token else None
        return build(stack_of(parsed, None, gitlab_token=secret, name=name))

    return run(program, stack=name, calls=LOOKUPS)


@pytest.fixture(scope="module", name="dev")
def _dev() -> Recording:
    """The smallest stack; module-wide, because nothing changes a recording."""
    return record()


def inputs(recording: Recording, name: str) -> Any:
    return recording.one(name).inputs


def labels(resource: Recorded) -> dict[str, str]:
    return {each["label"]: each["value"] for each in resource.inputs["labels"]}


def config_toml(recording: Recording) -> dict[str, Any]:
    upload = inputs(recording, "runner-config")["uploads"][0]
    assert isinstance(upload["content"], Secret)
    return tomllib.loads(upload["content"].value)


def test_the_smallest_stack_is_one_network_one_daemon_and_one_runner(dev: Recording) -> None:
    assert sorted((resource.type, resource.name, resource.parent) for resource in dev.resources) == [
        ("dindrunner:docker:DindDaemon", "dind", None),
        ("dindrunner:docker:RunnerContainer", "runner", None),
        ("dindrunner:docker:RunnerNetwork", "network", None),
        ("dindrunner:index:RunnerRegistration", "docker", None),
        (CONTAINER, "dind-container", "dind"),
        (CONTAINER, "runner-config", "runner"),
        (CONTAINER, "runner-container", "runner"),
        (NETWORK, "network-network", "network"),
        (VOLUME, "dind-certs-ca", "dind"),
        (VOLUME, "dind-certs-client", "dind"),
        (VOLUME, "dind-data", "dind"),
        (VOLUME, "runner-config-volume", "runner"),
        (USER_RUNNER, "docker-runner", "docker"),
        ("pulumi:providers:docker", "engine", None),
        ("pulumi:providers:gitlab", "gitlab", None),
    ]


def test_every_docker_object_carries_its_stack_and_its_role(dev: Recording) -> None:
    objects = [resource for resource in dev.resources if resource.type.startswith("docker:")]
    assert {labels(each)["dindrunner.stack"] for each in objects} == {"dev"}
    assert {each.name: labels(each)["dindrunner.role"] for each in objects} == {
        "network-network": "network",
        "dind-data": "data",
        "dind-certs-ca": "certs-ca",
        "dind-certs-client": "certs-client",
        "dind-container": "daemon",
        "runner-config-volume": "config",
        "runner-config": "config",
        "runner-container": "runner",
    }
    assert all(len(labels(each)) == 2 for each in objects)


def test_everything_goes_through_the_stacks_own_providers(dev: Recording) -> None:
    used = {resource.name: resource.provider for resource in dev.resources if resource.provider}
    assert used.pop("docker-runner") == "gitlab"
    assert set(used.values()) == {"engine"}
    assert len(used) == 8
    assert sum(resource.aliases for resource in dev.resources) == 0


@pytest.mark.parametrize(("provider", "server"), [("engine", "host"), ("gitlab", "baseUrl")])
def test_what_an_old_server_holds_goes_before_it_is_made_on_a_new_one(
    dev: Recording, provider: str, server: str
) -> None:
    made = dev.one(provider)
    assert (made.replace_on_changes, made.delete_before_replace) == ((server,), True)
    assert server in made.inputs


def test_the_engine_is_this_machines_unless_the_settings_name_another(dev: Recording) -> None:
    assert inputs(dev, "engine")["host"] == "unix:///var/run/docker.sock"
    assert inputs(record(docker_host="ssh://pi@raspberry"), "engine")["host"] == "ssh://pi@raspberry"


def test_no_context_and_no_certificates_of_the_shell_come_before_the_engine(
    dev: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = "unix:///var/run/docker.sock"
    assert inputs(dev, "engine") == {"host": host, "context": "", "certPath": ""}
    monkeypatch.setenv("DOCKER_CONTEXT", "another")
    monkeypatch.setenv("DOCKER_CERT_PATH", "/another")
    assert inputs(record(), "engine") == {"host": host, "context": "", "certPath": ""}


def test_an_engine_by_tcp_may_need_the_certificates_of_the_shell() -> None:
    engine = "tcp://builder:2376"
    assert inputs(record(docker_host=engine), "engine") == {"host": engine, "context": ""}


VARIANTS: dict[str, dict[str, Any]] = {
    "tls": {},
    "tcp": {"daemon": {"transport": "tcp"}},
    "socket": {"daemon": {"transport": "socket"}},
    "host-docker": {"runners": [runner(kind="host-docker")]},
    "job-dind": {"runners": [runner(kind="job-dind")]},
    "privileged jobs": {"runners": [runner(privileged=True)]},
    "shell": {"runner_image": WITH_CLIENT, "runners": [runner(executor="shell")]},
    "plain shell": {"runners": [runner(kind="plain", executor="shell")]},
    "metrics": {"metrics_address": ":9252"},
}


@pytest.fixture(scope="module", name="variant", params=VARIANTS)
def _variant(request: pytest.FixtureRequest) -> Recording:
    return record(**VARIANTS[request.param])


def test_only_the_daemon_is_privileged(variant: Recording) -> None:
    privileged = [each.name for each in variant.of_type(CONTAINER) if each.inputs.get("privileged")]
    assert privileged == (["dind-container"] if variant.outputs["daemon"] else [])
    extras = {
        "capabilities",
        "devices",
        "securityOpts",
        "pidMode",
        "ipcMode",
        "usernsMode",
        "cgroupnsMode",
        "groupAdds",
    }
    assert not [each.name for each in variant.of_type(CONTAINER) if extras & set(each.inputs)]


def test_no_container_publishes_a_port_or_joins_the_hosts_network(variant: Recording) -> None:
    containers = variant.of_type(CONTAINER)
    assert not [each.name for each in containers if "ports" in each.inputs or "publishAllPorts" in each.inputs]
    assert {each.inputs.get("networkMode") for each in containers} <= {None, "none"}
    joined = {net["name"] for each in containers for net in each.inputs.get("networksAdvanced", [])}
    assert joined == {"gitlab-dind-runners-dev"}


def test_nothing_of_the_host_is_mounted_except_for_host_docker(variant: Recording) -> None:
    mounts = [
        (each.name, volume["hostPath"])
        for each in variant.of_type(CONTAINER)
        for volume in each.inputs["volumes"]
        if "hostPath" in volume
    ]
    kind = variant.outputs["runners"]["docker"]["kind"]
    assert mounts == ([("runner-container", "/var/run/docker.sock")] if kind == "host-docker" else [])


def test_the_network_is_a_bridge_of_the_stacks_own(dev: Recording) -> None:
    network = dict(inputs(dev, "network-network"))
    network.pop("labels")
    assert network == {"name": "gitlab-dind-runners-dev", "driver": "bridge"}


def test_subnet_and_mtu_reach_the_network_and_the_daemon() -> None:
    recording = record(network={"subnet": "10.90.0.0/24", "mtu": 1400})
    network = inputs(recording, "network-network")
    assert network["ipamConfigs"] == [{"subnet": "10.90.0.0/24", "gateway": "10.90.0.1"}]
    assert network["options"] == {"com.docker.network.driver.mtu": "1400"}
    assert daemon_json(recording)["mtu"] == 1400
    assert daemon_json(recording)["default-network-opts"] == {"bridge": {"com.docker.network.driver.mtu": "1400"}}


def daemon_json(recording: Recording) -> dict[str, Any]:
    (upload,) = inputs(recording, "dind-container")["uploads"]
    assert upload["file"] == "/etc/docker/daemon.json"
    content: dict[str, Any] = json.loads(upload["content"])
    return content


def test_the_daemon_cleans_up_after_itself_and_keeps_off_the_hosts_networks(dev: Recording) -> None:
    assert daemon_json(dev) == {
        "bip": "10.199.0.1/24",
        "default-address-pools": [{"base": "10.199.128.0/17", "size": 24}],
        "builder": {
            "gc": {
                "enabled": True,
                "defaultMaxUsedSpace": "20GB",
                "defaultMinFreeSpace": "2GB",
                "defaultReservedSpace": "5120MB",
                "defaultKeepStorage": "20GB",
            }
        },
        "log-driver": "json-file",
        "log-opts": {"max-size": "10m", "max-file": "3"},
    }


def test_every_setting_of_the_daemon_reaches_it() -> None:
    recording = record(
        daemon={
            "image": "mine/dind:1",
            "storage_driver": "vfs",
            "cpus": 2,
            "memory_mib": 2048,
            "dns": ["9.9.9.9"],
            "registry_mirrors": ["https://mirror:5000"],
            "insecure_registries": ["registry:5000"],
            "cache_budget_gib": 7,
            "subnet": "10.64.0.0/20",
            "keep_cache": True,
            "ready_timeout_seconds": 75,
        }
    )
    container, config = inputs(recording, "dind-container"), daemon_json(recording)
    assert (container["image"], container["cpus"]) == ("mine/dind:1", "2.0")
    assert (container["memory"], container["memorySwap"]) == (2048, -1)
    assert (container["waitTimeout"], container["healthcheck"]["startPeriod"]) == (75, "1m15s")
    assert (config["storage-driver"], config["dns"]) == ("vfs", ["9.9.9.9"])
    assert (config["registry-mirrors"], config["insecure-registries"]) == (["https://mirror:5000"], ["registry:5000"])
    garbage = config["builder"]["gc"]
    assert (garbage["defaultMaxUsedSpace"], garbage["defaultReservedSpace"]) == ("7GB", "1792MB")
    assert (config["bip"], config["default-address-pools"][0]["base"]) == ("10.64.0.1/24", "10.64.8.0/21")


def test_a_daemon_whose_limit_of_memory_comes_or_goes_is_made_anew(dev: Recording) -> None:
    assert dev.one("dind-container").replace_on_changes == ("memorySwap",)


def test_a_daemon_without_a_limit_of_memory_is_asked_for_none_of_swap(dev: Recording) -> None:
    assert not {"memory", "memorySwap"} & set(inputs(dev, "dind-container"))


@pytest.mark.parametrize(("cpus", "written"), [(0.5, "0.5"), (1, "1.0"), (2.5, "2.5"), (10, "10."), (100, "100.")])
def test_cpus_are_written_as_the_provider_reads_them_back(cpus: float, written: str) -> None:
    assert inputs(record(daemon={"cpus": cpus}), "dind-container")["cpus"] == written


def test_the_cache_lies_where_the_engine_keeps_its_volumes_unless_the_settings_name_a_directory(dev: Recording) -> None:
    assert "driverOpts" not in inputs(dev, "dind-data")
    elsewhere = record(daemon={"data_path": "/mnt/ssd/dind"})
    assert inputs(elsewhere, "dind-data")["driverOpts"] == {"type": "none", "o": "bind", "device": "/mnt/ssd/dind"}
    others = [each.name for each in elsewhere.of_type(VOLUME) if "driverOpts" in each.inputs]
    assert others == ["dind-data"]


def test_another_directory_is_another_volume_because_a_volume_cannot_move(dev: Recording) -> None:
    paths = [{}, {"data_path": "/mnt/ssd/dind"}, {"data_path": "/mnt/usb/dind"}]
    recordings = [record(daemon=path) for path in paths]
    names = [inputs(recording, "dind-data")["name"] for recording in recordings]
    assert names[0] == inputs(dev, "dind-data")["name"] == "gitlab-dind-runners-dev-dind-data"
    assert len(set(names)) == 3
    for recording, name in zip(recordings, names, strict=True):
        assert inputs(recording, "dind-container")["volumes"][0]["volumeName"] == name


def test_a_volume_that_exists_is_only_read_and_holds_the_data() -> None:
    recording = record(daemon={"existing_volume": "old-dind"})
    assert recording.read == [(VOLUME, "dind-existing-data", "old-dind")]
    # Under that name the state holds the stack's own, which would go.
    assert "dind-data" not in [each.name for each in recording.resources]
    assert inputs(recording, "dind-container")["volumes"][0]["volumeName"] == "old-dind"
    assert recording.outputs["daemon"]["volume"] == "old-dind"


@pytest.mark.parametrize(("keep", "retained"), [(False, []), (True, ["dind-data"])])
def test_only_the_cache_outlives_the_stack_and_only_when_asked_to(keep: bool, retained: list[str]) -> None:
    recording = record(daemon={"keep_cache": keep})
    assert [each.name for each in recording.resources if each.retain_on_delete] == retained


def test_a_new_daemon_takes_over_the_data_only_after_the_old_one_has_gone(dev: Recording) -> None:
    daemon = dev.one("dind-container")
    assert daemon.delete_before_replace
    assert daemon.inputs["destroyGraceSeconds"] == 30
    data = [(each["volumeName"], each["containerPath"]) for each in daemon.inputs["volumes"]]
    assert data[0] == ("gitlab-dind-runners-dev-dind-data", "/var/lib/docker")
    users = [
        each.name
        for each in dev.of_type(CONTAINER)
        if "gitlab-dind-runners-dev-dind-data" in [volume.get("volumeName") for volume in each.inputs["volumes"]]
    ]
    assert users == ["dind-container"]


def test_up_waits_for_the_daemon_over_the_clients_own_way_in(dev: Recording) -> None:
    container = inputs(dev, "dind-container")
    assert (container["wait"], container["waitTimeout"]) == (True, 120)
    assert container["healthcheck"] == {
        "tests": [
            "CMD",
            "docker",
            "--host",
            "tcp://docker:2376",
            "--tlsverify",
            "--tlscacert=/certs/client/ca.pem",
            "--tlscert=/certs/client/cert.pem",
            "--tlskey=/certs/client/key.pem",
            "info",
        ],
        "interval": "5s",
        "timeout": "10s",
        "retries": 5,
        "startPeriod": "2m0s",
    }
    assert dev.one("dind-container").error_hooks == ("dind-log-tail",)


@pytest.mark.parametrize(("ready", "created"), [(120, "1020s"), (3600, "4500s")])
def test_the_daemons_image_may_be_pulled_before_its_time_to_become_ready_begins(ready: int, created: str) -> None:
    assert record(daemon={"ready_timeout_seconds": ready}).one("dind-container").create_timeout == created


@pytest.mark.parametrize(
    ("daemon", "environment", "command", "volumes", "mounted"),
    [
        (
            {"certificate_names": ["docker", "dind.example", "10.0.0.2", "fd00::2"]},
            [
                "DOCKER_TLS_CERTDIR=/certs",
                "DOCKER_TLS_SAN=DNS:docker,DNS:dind.example,IP:10.0.0.2,IP:fd00::2",
            ],
            None,
            {"/certs/ca": "dind-certs-ca", "/certs/client": "dind-certs-client"},
            {"/certs/client": "dind-certs-client"},
        ),
        (
            {"transport": "socket"},
            ["DOCKER_TLS_CERTDIR="],
            ["dockerd", "--host=unix:///var/run/docker.sock", "--host=unix:///run/dind/docker.sock"],
            {"/run/dind": "dind-socket"},
            {"/run/dind": "dind-socket"},
        ),
        ({"transport": "tcp"}, ["DOCKER_TLS_CERTDIR="], ["--tls=false"], {}, {}),
    ],
    ids=["tls", "socket", "tcp"],
)
def test_a_client_gets_what_its_transport_needs_and_the_authoritys_key_stays_with_the_daemon(
    daemon: dict[str, Any],
    environment: list[str],
    command: list[str] | None,
    volumes: dict[str, str],
    mounted: dict[str, str],
) -> None:
    recording = record(daemon=daemon)
    prefix = "gitlab-dind-runners-dev-"
    container, client = inputs(recording, "dind-container"), inputs(recording, "runner-container")
    assert container["envs"] == environment
    assert container.get("command") == command
    assert {each["containerPath"]: each["volumeName"] for each in container["volumes"]} == {
        "/var/lib/docker": f"{prefix}dind-data"
    } | {path: prefix + volume for path, volume in volumes.items()}
    assert [each for each in client["volumes"] if each["containerPath"] != "/etc/gitlab-runner"] == [
        {"containerPath": path, "volumeName": prefix + volume, "readOnly": True} for path, volume in mounted.items()
    ]


def test_the_daemons_other_name_is_its_alias_and_in_its_certificate() -> None:
    recording = record(daemon={"endpoint": "tcp://builder:2376"})
    container = inputs(recording, "dind-container")
    assert container["networksAdvanced"] == [{"name": "gitlab-dind-runners-dev", "aliases": ["builder"]}]
    assert "DOCKER_TLS_SAN=DNS:builder" in container["envs"]
    assert container["healthcheck"]["tests"][3] == "tcp://builder:2376"
    assert recording.outputs["daemon"]["endpoint"] == "tcp://builder:2376"


def test_config_toml_is_a_secret_for_its_owner_only_and_no_other_container_sees_it(dev: Recording) -> None:
    writer = inputs(dev, "runner-config")
    (upload,) = writer["uploads"]
    assert (upload["file"], upload["permissions"]) == ("/etc/gitlab-runner/config.toml", "0600")
    assert isinstance(upload["content"], Secret)
    assert (writer["start"], writer["mustRun"], writer["networkMode"]) == (False, False, "none")
    with_config = [
        each.name
        for each in dev.of_type(CONTAINER)
        if "gitlab-dind-runners-dev-runner-config" in [volume.get("volumeName") for volume in each.inputs["volumes"]]
    ]
    assert sorted(with_config) == ["runner-config", "runner-container"]


def test_a_config_toml_that_a_stack_gives_in_the_clear_becomes_a_secret() -> None:
    def program() -> dict[str, Any]:
        args = RunnerContainerArgs(
            prefix="p", stack="dev", network_name="p", image="runner:1", config_toml="concurrent = 1", drain_seconds=1
        )
        return {"container": RunnerContainer("runner", args).container.name}

    (upload,) = inputs(run(program), "runner-config")["uploads"]
    assert upload["content"] == Secret("concurrent = 1")


def test_the_ca_of_a_gitlab_of_ones_own_reaches_the_runner_and_the_provider(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("a CA")
    gitlab = plain()["gitlab"] | {"ca_file": str(tmp_path / "ca.pem")}
    recording = record(gitlab=gitlab)
    config, ca = inputs(recording, "runner-config")["uploads"]
    assert (config["file"], config["permissions"]) == ("/etc/gitlab-runner/config.toml", "0600")
    assert ca == {"file": "/etc/gitlab-runner/certs/gitlab-ca.pem", "content": "a CA", "permissions": "0644"}
    assert config_toml(recording)["runners"][0]["tls-ca-file"] == ca["file"]
    assert inputs(recording, "gitlab")["cacertFile"] == str(tmp_path / "ca.pem")


def test_the_runners_container_depends_on_no_content_of_config_toml(dev: Recording) -> None:
    other = record(concurrent=9, log_level="debug", runners=[runner(image="alpine:3.22"), runner(name="two")])
    assert inputs(other, "runner-container") == inputs(dev, "runner-container")
    assert inputs(other, "runner-config") != inputs(dev, "runner-config")


def test_a_runner_is_stopped_gently_and_given_time_to_drain() -> None:
    container = record(drain_seconds=900).one("runner-container")
    assert (container.inputs["stopSignal"], container.inputs["destroyGraceSeconds"]) == ("SIGQUIT", 900)
    assert container.delete_timeout == "1020s"


def test_a_runner_is_replaced_before_its_daemon_because_it_carries_the_daemons_id(dev: Recording) -> None:
    container = dev.one("runner-container")
    assert container.inputs["domainname"] == "dind-" + "dind-container-0123456789abcdef"[:12]
    assert {"dind-container", "runner-config"} <= set(container.depends_on)


def test_a_runner_on_a_docker_host_has_no_limits(dev: Recording) -> None:
    assert not {"cpus", "memory", "memorySwap"} & set(inputs(dev, "runner-container"))


def test_containers_come_back_after_a_reboot_and_their_logs_are_bounded(dev: Recording) -> None:
    for name in ("dind-container", "runner-container"):
        container = inputs(dev, name)
        assert container["restart"] == "unless-stopped"
        assert (container["logDriver"], container["logOpts"]) == ("json-file", {"max-size": "10m", "max-file": "3"})


def test_a_runner_is_registered_with_all_its_settings(dev: Recording) -> None:
    assert inputs(dev, "docker-runner") == {
        "runnerType": "project_type",
        "projectId": 7,
        "description": "dev docker",
        "tagLists": ["docker"],
        "untagged": False,
        "locked": True,
        "accessLevel": "ref_protected",
        "maximumTimeout": 3600,
        "paused": False,
        "maintenanceNote": "Managed by Pulumi: gitlab-dind-runners/dev, runner docker",
    }
    assert dev.calls == [("gitlab:index/getProject:getProject", {"pathWithNamespace": "demo/app"})]
    assert inputs(dev, "gitlab") == {
        "baseUrl": "https://gitlab.example.com/api/v4/",
        "token": Secret(API_TOKEN),
    }


@pytest.mark.parametrize(
    ("gitlab", "expected", "calls"),
    [
        ({"scope": "instance"}, {"runnerType": "instance_type"}, 0),
        ({"scope": "group", "group": "demo"}, {"runnerType": "group_type", "groupId": 8}, 1),
        ({"scope": "group", "group": 5}, {"runnerType": "group_type", "groupId": 5}, 0),
        ({"scope": "project", "project": 5}, {"runnerType": "project_type", "projectId": 5, "locked": True}, 0),
    ],
)
def test_a_runner_is_registered_in_its_scope(gitlab: dict[str, Any], expected: dict[str, Any], calls: int) -> None:
    recording = record(gitlab={"url": "https://gitlab.example.com/"} | gitlab)
    registered = inputs(recording, "docker-runner")
    assert {key: registered[key] for key in registered if key in ("runnerType", "groupId", "projectId", "locked")} == (
        expected
    )
    assert len(recording.calls) == calls
    assert inputs(recording, "gitlab")["baseUrl"] == "https://gitlab.example.com/api/v4/"


@pytest.mark.parametrize(
    ("gitlab", "call", "registered"),
    [
        (
            {"scope": "project", "project": "demo/app"},
            ("gitlab:index/getProject:getProject", {"pathWithNamespace": "demo/app"}),
            ("projectId", 7),
        ),
        (
            {"scope": "group", "group": "demo"},
            ("gitlab:index/getGroup:getGroup", {"fullPath": "demo"}),
            ("groupId", 8),
        ),
    ],
)
def test_a_stack_looks_its_project_or_group_up_once_for_all_its_runners(
    gitlab: dict[str, Any], call: tuple[str, dict[str, Any]], registered: tuple[str, int]
) -> None:
    runners = [runner(name=name) for name in ("one", "two", "three")]
    recording = record(gitlab={"url": "https://gitlab.example.com"} | gitlab, runners=runners)
    assert recording.calls == [call]
    key, value = registered
    assert [each.inputs[key] for each in recording.of_type(USER_RUNNER)] == [value] * 3


def test_the_order_of_tags_in_the_settings_changes_nothing_in_gitlab() -> None:
    assert inputs(record(runners=[runner(tags=["b", "a"])]), "docker-runner")["tagLists"] == ["a", "b"]


def test_two_runners_share_one_container_and_keep_a_registration_each() -> None:
    recording = record(runners=[runner(), runner(name="plain", kind="plain", description="Mine")])
    assert [each.name for each in recording.of_type(CONTAINER)].count("runner-container") == 1
    assert sorted(each.name for each in recording.of_type(USER_RUNNER)) == ["docker-runner", "plain-runner"]
    assert inputs(recording, "plain-runner")["description"] == "Mine"
    tokens = {each["name"]: each["token"] for each in config_toml(recording)["runners"]}
    assert tokens == {"docker": "glrt-docker-runner", "plain": "glrt-plain-runner"}


def test_a_runner_with_a_token_of_its_own_is_not_registered() -> None:
    recording = record(api_token=None, runners=[runner(token=TOKEN)])
    assert recording.of_type(USER_RUNNER) == []
    assert recording.of_type("pulumi:providers:gitlab") == []
    assert config_toml(recording)["runners"][0]["token"] == TOKEN
    assert recording.outputs["runners"]["docker"]["id"] is None


def test_a_token_of_its_own_and_a_registration_go_together() -> None:
    recording = record(runners=[runner(token=TOKEN), runner(name="two")])
    assert [each.name for each in recording.of_type(USER_RUNNER)] == ["two-runner"]
    assert [each["token"] for each in config_toml(recording)["runners"]] == [TOKEN, "glrt-two-runner"]


@pytest.mark.parametrize("settings", [runner(kind="plain", executor="shell"), runner(kind="host-docker")])
def test_no_daemon_is_made_where_no_runner_needs_one(settings: dict[str, Any]) -> None:
    recording = record(runners=[settings])
    assert not [each.name for each in recording.resources if each.name.startswith("dind")]
    assert "domainname" not in inputs(recording, "runner-container")
    assert recording.outputs["daemon"] is None


def test_host_docker_mounts_the_socket_that_the_settings_name() -> None:
    recording = record(runners=[runner(kind="host-docker")], host_socket="/run/podman.sock")
    assert inputs(recording, "runner-container")["volumes"][-1] == {
        "hostPath": "/run/podman.sock",
        "containerPath": "/var/run/docker.sock",
    }
    assert "/run/podman.sock:/var/run/docker.sock" in config_toml(recording)["runners"][0]["docker"]["volumes"]


TCP_WARNING = (
    "settings.daemon.transport: tcp is plaintext and asks for no certificate: every container on the stack's network, "
    "and every job, is root in the daemon. Use tls unless you must not"
)
HOST_DOCKER_WARNING = (
    "settings.runners[1].kind: host-docker hands the host's Docker socket to every job of runner host: whoever can "
    "push a job is root on the host. Use dind unless all of them may be"
)


PRIVILEGED_WARNING = (
    "settings.runners[0].privileged: every job of runner docker owns the machine it runs on. Use false unless its jobs "
    "cannot do without"
)
HOST_NETWORK_WARNING = (
    "settings.runners[0].network_mode: host puts the jobs of runner docker into the network of the daemon itself. "
    "Leave it out unless a job cannot do without"
)


def drain_warning(drain: int, index: int, timeout: int) -> str:
    return (
        f"settings.drain_seconds: {drain} is less than settings.runners[{index}].maximum_timeout {timeout}: an upgrade "
        "would end jobs that may still run. Use the longer of the two"
    )


@pytest.mark.parametrize(
    ("settings", "warnings"),
    [
        ({}, []),
        ({"runners": [runner(privileged=True)]}, [PRIVILEGED_WARNING]),
        ({"runners": [runner(network_mode="host")]}, [HOST_NETWORK_WARNING]),
        ({"runners": [runner(network_mode="bridge")]}, []),
        (
            {"runners": [runner(privileged=True, network_mode="host", maximum_timeout=3601)]},
            [PRIVILEGED_WARNING, HOST_NETWORK_WARNING, drain_warning(3600, 0, 3601)],
        ),
        ({"drain_seconds": 7200, "runners": [runner(maximum_timeout=7200)]}, []),
        ({"drain_seconds": 0, "runners": [runner(token=TOKEN)]}, []),
        ({"drain_seconds": 600, "runners": [runner(token=TOKEN), runner(name="b")]}, [drain_warning(600, 1, 3600)]),
        ({"daemon": {"transport": "socket"}}, []),
        ({"daemon": {"transport": "tcp"}}, [TCP_WARNING]),
        ({"daemon": {"transport": "tcp"}, "runners": [runner(kind="plain", executor="shell")]}, []),
        ({"runners": [runner(), runner(name="host", kind="host-docker")]}, [HOST_DOCKER_WARNING]),
    ],
)
def test_the_preview_warns_of_what_gives_a_machine_away(settings: dict[str, Any], warnings: list[str]) -> None:
    assert record(**settings).warnings == warnings


def test_the_outputs_are_exactly_as_documented(dev: Recording) -> None:
    outputs = dict(dev.outputs)
    assert list(yaml.safe_load(outputs.pop("ci_snippet"))) == ["docker-job"]
    assert outputs == {
        "version": 1,
        "target": "docker-host",
        "prefix": "gitlab-dind-runners-dev",
        "gitlab": {"url": "https://gitlab.example.com", "scope": "project", "group": None, "project": "demo/app"},
        "concurrent": 4,
        "network": "gitlab-dind-runners-dev",
        "daemon": {
            "endpoint": "tcp://docker:2376",
            "transport": "tls",
            "container": "gitlab-dind-runners-dev-dind",
            "volume": "gitlab-dind-runners-dev-dind-data",
        },
        "runners": {"docker": runner_output()},
    }


def test_the_outputs_name_the_images_of_jobs_where_jobs_have_images() -> None:
    runners = [runner(image="job:1", helper_image="helper:1"), runner(name="shell", executor="shell")]
    outputs = record(runner_image=WITH_CLIENT, runners=runners).outputs["runners"]
    assert (outputs["docker"]["image"], outputs["docker"]["helper_image"]) == ("job:1", "helper:1")
    assert (outputs["shell"]["image"], outputs["shell"]["helper_image"]) == (None, None)


def test_no_secret_leaves_in_the_clear() -> None:
    secret = {"cache": {"s3": {"SecretKey": "cache-s3cret"}}, "environment": {"KEY": "environment-s3cret"}}
    recording = record(runners=[runner(token=TOKEN, **secret), runner(name="two")], extra={"user": "extra-s3cret"})
    clear = in_the_clear([[resource.inputs for resource in recording.resources], recording.outputs, recording.warnings])
    leaked = [text for text in clear if "s3cret" in text or "glrt-" in text]
    assert leaked == []
    content = inputs(recording, "runner-config")["uploads"][0]["content"].value
    for expected in (TOKEN, "glrt-two-runner", "cache-s3cret", "environment-s3cret", "extra-s3cret"):
        assert expected in content


def names_on_the_engine(recording: Recording) -> list[tuple[str, str]]:
    return [(each.type, each.inputs["name"]) for each in recording.resources if each.type.startswith("docker:")]


def test_two_stacks_on_one_host_share_no_name() -> None:
    one, two = names_on_the_engine(record("one")), names_on_the_engine(record("two"))
    assert len(set(one) | set(two)) == len(one) + len(two) == 16


def test_a_chosen_name_is_the_prefix_of_every_name(dev: Recording) -> None:
    parsed = docker_host(name="builders")
    stack = stack_of(parsed, None, gitlab_token=pulumi.Output.secret(API_TOKEN), project="any")
    chosen = names_on_the_engine(run(lambda: build(stack), calls=LOOKUPS))
    assert all(name == "builders" or name.startswith("builders-") for _, name in chosen)
    assert len(chosen) == len(names_on_the_engine(dev))


@pytest.fixture(name="client")
def _client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one `docker` on PATH: says how it is called in `asked`, then does what a test adds to it."""
    script = tmp_path / "docker"
    script.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return script


def does(client: Path, commands: str) -> None:
    client.write_text(client.read_text() + commands)


def asked(client: Path) -> list[str]:
    """With which arguments it was called."""
    calls = client.with_name("asked")
    return calls.read_text().splitlines() if calls.exists() else []


def after_failure(*errors: str, operation: str = "create", engine: DockerEngine | None = None) -> list[str]:
    """What is logged when an operation on the daemon's container has failed with these errors."""

    def program() -> dict[str, Any]:
        component = pulumi.ComponentResource("test:index:Component", "component")
        hook = log_tail_on_failure(component, "dind", "dev-dind", engine)
        args = pulumi.ErrorHookArgs(
            urn="", id="", name="", type="", failed_operation=operation, errors=list(errors or ("not healthy in time",))
        )
        return {"retry": pulumi.Output.from_input(hook(args))}

    recording = run(program)
    assert recording.outputs == {"retry": False}
    return recording.errors


FATAL = [f'level=fatal msg="{n}"' for n in range(30)]


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        (["one  ", "", "two"], ["one", "two"]),
        (["123456789"], ["123456789"]),
        (["größe 🏃"], ["größe 🏃"]),
        ([*FATAL, "time=1 level=info msg=x"], FATAL[10:]),
        (["level=info msg=a", "level=info msg=b"], ["level=info msg=a", "level=info msg=b"]),
    ],
    ids=["blank lines", "nine characters", "not ASCII", "many lines", "routine lines only"],
)
def test_a_daemon_that_does_not_become_ready_shows_the_end_of_its_log(
    client: Path, log: list[str], shown: list[str]
) -> None:
    client.with_name("log").write_text("".join(f"{line}\n" for line in log))
    does(client, f"cat {client.with_name('log')} >&2\n")
    assert after_failure() == ["\n  ".join(["last lines of the log of container dev-dind:", *shown])]
    assert asked(client) == ["logs --tail 300 dev-dind"]


def test_both_streams_of_a_log_are_shown_and_bytes_that_are_no_text_do_no_harm(client: Path) -> None:
    does(client, "echo out; printf '\\377err\\n' >&2\n")
    assert after_failure() == ["last lines of the log of container dev-dind:\n  out\n  \ufffderr"]


def test_the_log_is_read_from_the_engine_that_the_stack_is_on(client: Path) -> None:
    does(client, "echo one\n")
    assert after_failure(engine=DockerEngine(host="tcp://board:2376")) == [
        "last lines of the log of container dev-dind:\n  one"
    ]
    assert asked(client) == ["--host tcp://board:2376 logs --tail 300 dev-dind"]


@pytest.mark.parametrize("engine", ["unix:///var/run/docker.sock", "ssh://pi@raspberry"])
def test_the_daemons_log_is_asked_of_the_engine_of_the_settings(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hooked: list[tuple[str, DockerEngine | None]] = []

    def hook(component: pulumi.Resource, name: str, container: str, at: DockerEngine | None) -> pulumi.ErrorHook:
        hooked.append((container, at))
        return log_tail_on_failure(component, name, container, at)

    monkeypatch.setattr(daemon_module, "log_tail_on_failure", hook)
    record(docker_host=engine)
    assert hooked == [("gitlab-dind-runners-dev-dind", DockerEngine(host=engine))]


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        ("delete", "cannot remove it"),
        ("update", "not healthy in time"),
        ("create", 'Conflict. The container name "/dev-dind" is already in use by container "0123"'),
    ],
)
def test_the_log_of_a_container_that_was_not_created_is_not_read(client: Path, operation: str, error: str) -> None:
    assert after_failure(error, operation=operation) == []
    assert asked(client) == []


def test_a_log_that_the_engine_does_not_give_is_explained_in_its_own_words(client: Path) -> None:
    does(client, "echo 'Error response from daemon:' >&2; echo 'No such container: dev-dind' >&2; exit 1\n")
    assert after_failure() == [
        "the log of container dev-dind could not be read: Error response from daemon: No such container: dev-dind"
    ]


def test_a_client_that_is_not_there_leaves_the_engines_message_as_it_is(
    client: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.unlink()
    monkeypatch.setenv("PATH", str(client.parent))
    assert after_failure() == [
        "the log of container dev-dind could not be read: [Errno 2] No such file or directory: 'docker'"
    ]


def test_a_client_that_does_not_answer_is_given_up(client: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_tail, "LIMIT_SECONDS", 0.3)
    does(client, "exec sleep 30\n")
    begun = time.monotonic()
    assert after_failure() == [
        "the log of container dev-dind could not be read: Command '['docker', 'logs', '--tail', '300', 'dev-dind']' "
        "timed out after 0.3 seconds"
    ]
    assert time.monotonic() - begun < 10


def test_a_stacks_components_record_no_inputs_so_that_one_made_before_they_did_sees_no_change(dev: Recording) -> None:
    found = {each.name: each.inputs for each in dev.resources if each.type.startswith("dindrunner:")}
    assert found == {"network": {}, "dind": {}, "docker": {}, "runner": {}}
