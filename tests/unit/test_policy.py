"""The policies against what the program really asks for, on every target, and against each violation, word for word."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pulumi
import pytest
import tomli_w
import yaml

from components.image_names import moving
from policy.catalog import MANDATORY, POLICIES, ResourcePolicy
from policy.resources import CONTAINER, SERVICE, UNKNOWN, USER_RUNNER, VOLUME, Resource
from policy.rules_stack import reaches_socket
from stacks.gke import cluster
from stacks.gke.cluster import Facts
from stacks.gke.settings import GkeSettings
from stacks.raspberry_pi import board as boards
from stacks.raspberry_pi.board import Board
from stacks.raspberry_pi.settings import RaspberryPiSettings
from stacks.settings.shared import merged
from stacks.targets import build, parse
from tests.unit.recording import Recording, Secret, run
from tests.unit.samples import API_TOKEN, LOOKUPS, STANDARD, board, facts, gke, pi, plain, runner, stack_of

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "gitlab-dind-runners"
PACK = ROOT / "policy"
TLS = "set settings.daemon.transport: tls"
PINNED = "an image with a version, for example docker:28.5.2-dind, or with a digest"
ADVISORY = [policy.name for policy in POLICIES if policy.level != MANDATORY]
GKE = gke(cluster={"context": "mine"})
SWARM = pi(orchestrator="swarm")

Violations = dict[str, list[str]]


@cache
def recorded(settings: str) -> Recording:
    """What the program does with these settings, which are JSON, on a usual machine or cluster."""
    parsed = parse(json.loads(settings))
    here: Board | Facts | None = None
    if isinstance(parsed, RaspberryPiSettings):
        here = board(swarm="active", is_manager=True, node_id="own")
        parsed = boards.fitted(parsed, here)
    elif isinstance(parsed, GkeSettings):
        fast = dataclasses.replace(STANDARD, name="premium-rwo", is_default=False)
        here = facts(storage_classes=(STANDARD, fast))
        parsed = cluster.fitted(parsed, here)
    token = pulumi.Output.secret(API_TOKEN)
    stack = stack_of(parsed, here, gitlab_token=token, project=PROJECT)
    return run(lambda: build(stack), calls=LOOKUPS)


def resources(settings: Mapping[str, Any]) -> list[Resource]:
    """The same as the rules get it from the engine, which hands over secrets in the clear."""
    recording = recorded(json.dumps(settings))
    outputs = in_the_open(recording.outputs)
    found = {"": Resource(type="pulumi:pulumi:Stack", name=f"{PROJECT}-dev", props=outputs)}
    for each in recording.resources:
        found[each.name] = Resource(
            type=each.type,
            name=each.name,
            props=in_the_open(each.inputs),
            protect=each.protect,
            parent=found.get(each.parent or ""),
        )
    # The order in which a program registers them differs from run to run.
    return sorted(found.values(), key=lambda resource: resource.name)


def in_the_open(value: Any) -> Any:
    if isinstance(value, Secret):
        return in_the_open(value.value)
    if isinstance(value, Mapping):
        return {key: in_the_open(each) for key, each in value.items()}
    return [in_the_open(each) for each in value] if isinstance(value, list) else value


def judge(*stack: Resource) -> Violations:
    """The messages by policy; policies that are not violated are left out."""
    found = {policy.name: list(messages(policy, stack)) for policy in POLICIES}
    return {name: texts for name, texts in found.items() if texts}


def messages(policy: Any, stack: tuple[Resource, ...]) -> Iterator[str]:
    if isinstance(policy, ResourcePolicy):
        for resource in stack:
            yield from policy.rule(resource)
    else:
        yield from (text for _, text in policy.rule(stack))


def refused(settings: Mapping[str, Any]) -> Violations:
    """The mandatory ones, of a stack with these settings."""
    return {name: texts for name, texts in judge(*resources(settings)).items() if name not in ADVISORY}


# What must pass


def example(file: str) -> dict[str, Any]:
    """The settings of an example, on top of those that its project shares."""
    path = ROOT / file
    above = yaml.safe_load((path.parent / "Pulumi.yaml").read_text()).get("config", {})
    shared = above.get(f"{PROJECT}:shared", {}).get("value")
    settings: Any = merged(shared, yaml.safe_load(path.read_text())["config"][f"{PROJECT}:settings"])
    if settings["gitlab"]["url"] == "sandbox":
        settings["gitlab"]["url"] = "https://gitlab.example.com"
    return dict(settings)


ENVIRONMENTS = [f"examples/environments/Pulumi.{name}.yaml" for name in ("dev", "staging", "prod")]


@pytest.mark.parametrize("file", ["Pulumi.dev.yaml", "Pulumi.pi.yaml", "Pulumi.gke.yaml", *ENVIRONMENTS])
def test_no_example_violates_what_is_mandatory(file: str) -> None:
    assert refused(example(file)) == {}


KINDS = [runner(name=kind, kind=kind) for kind in ("dind", "plain", "job-dind", "host-docker")]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(plain(runners=KINDS), id="tls"),
        pytest.param(plain(runners=KINDS, daemon={"transport": "socket"}), id="socket"),
        pytest.param(pi(runners=KINDS), id="board"),
        pytest.param(pi(runners=KINDS, orchestrator="swarm"), id="swarm"),
        pytest.param(gke(runners=[runner(), runner(name="plain", kind="plain")], runner_cpus=1), id="cluster"),
        pytest.param(plain(runners=[runner(kind="plain", access_level="not_protected")]), id="open but plain"),
    ],
)
def test_no_kind_of_runner_and_no_safe_transport_violates_what_is_mandatory(settings: dict[str, Any]) -> None:
    assert refused(settings) == {}


def test_a_stack_with_limits_and_a_kept_cache_violates_nothing_at_all() -> None:
    daemon = {"memory_mib": 4096, "data_path": "/mnt/ssd"}
    assert judge(*resources(plain(daemon=daemon, runners=[runner(memory_mib=1024)]))) == {}
    cluster_daemon = {"memory_mib": 4096}
    assert judge(*resources(gke(daemon=cluster_daemon, runners=[runner(memory_mib=1024)]))) == {}


# plaintext-daemon


def test_a_daemon_without_tls_is_found_with_all_that_talks_to_it() -> None:
    found = refused(plain(daemon={"transport": "tcp"}))
    assert found == {
        "plaintext-daemon": [
            "dind-container envs: DOCKER_TLS_CERTDIR is empty, so the daemon takes connections on port 2375 without "
            f"TLS, and whoever gets there is root: {TLS}",
            "runner-config config.toml runners[0] (docker) docker.host: tcp://docker:2375 is used without TLS: " + TLS,
            "runner-config config.toml runners[0] (docker) environment: DOCKER_HOST=tcp://docker:2375 is used without "
            f"TLS: {TLS}, and name no other in settings.runners[0].environment",
        ]
    }


def test_a_daemon_without_tls_is_found_on_a_swarm() -> None:
    found = refused(pi(daemon={"transport": "tcp"}, orchestrator="swarm"))["plaintext-daemon"]
    assert [text.partition(":")[0] for text in found] == [
        "dind-container envs",
        f"{PROJECT}-dev-config config.toml runners[0] (docker) docker.host",
        f"{PROJECT}-dev-config config.toml runners[0] (docker) environment",
    ]


def test_a_daemon_without_tls_is_found_on_a_cluster() -> None:
    found = refused(gke(daemon={"transport": "tcp"}))["plaintext-daemon"]
    host = f"DOCKER_HOST=tcp://{PROJECT}-dev-dind:2375 is used without TLS: {TLS}"
    assert found == [
        "dind-statefulset spec.template.spec.containers[0].env: DOCKER_TLS_CERTDIR is empty, so the daemon takes "
        f"connections on port 2375 without TLS, and whoever gets there is root: {TLS}",
        f"network-service spec.ports[0].port: 2375 is Docker's port without TLS: {TLS}",
        f"prune-cronjob spec.jobTemplate.spec.template.spec.containers[0].env: {host}",
        f"runner-config config.toml runners[0] (docker) environment: {host}, and name no other in "
        "settings.runners[0].environment",
    ]


@pytest.mark.parametrize("value", [{}, {"value": ""}, {"valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}])
def test_a_variable_without_a_value_is_empty_in_a_pod_unless_it_comes_from_elsewhere(value: dict[str, Any]) -> None:
    daemon = {
        "image": "docker:28.5.2-dind",
        "securityContext": {"privileged": True},
        "resources": {"limits": {"memory": "1Gi"}},
        "env": [{"name": "DOCKER_TLS_CERTDIR"} | value],
    }
    assert list(judge(pod(containers=[daemon]))) == ([] if "valueFrom" in value else ["plaintext-daemon"])


def container(**props: Any) -> Resource:
    """A Docker container as Pulumi's provider has it, of a pinned image."""
    return Resource(type=CONTAINER, name="box", props={"image": "docker:28.5.2-dind"} | props)


DAEMON = {"labels": [{"label": "dindrunner.role", "value": "daemon"}]}


@pytest.mark.parametrize("option", ["command", "entrypoints"])
def test_a_daemon_that_is_told_to_listen_without_tls_is_found_by_its_arguments(option: str) -> None:
    words = ["dockerd", "--host=unix:///a.sock", "--host=tcp://0.0.0.0:2376"]
    assert judge(container(privileged=True, memory=1, **{option: words})) == {
        "plaintext-daemon": [
            "box command: tcp://0.0.0.0:2376 takes connections without TLS, and whoever gets there is root: " + TLS
        ]
    }


def test_a_daemon_that_is_told_to_listen_without_tls_is_found_by_its_file() -> None:
    text = '{"hosts": ["unix:///a.sock", "tcp://0.0.0.0:2375"]}'
    on_cluster = Resource(type="kubernetes:core/v1:ConfigMap", name="map", props={"data": {"daemon.json": text}})
    wrong = (
        "hosts tcp://0.0.0.0:2375 of daemon.json takes connections without TLS, and whoever gets there is root: " + TLS
    )
    uploads = [
        {"file": "/etc/docker/daemon.json", "content": text},
        {"file": "/a/daemon.json", "contentBase64": base64.b64encode(text.encode()).decode()},
    ]
    assert judge(container(uploads=uploads), on_cluster) == {
        "plaintext-daemon": [
            f"box uploads[0].content: {wrong}",
            f"box uploads[1].content: {wrong}",
            f"map data: {wrong}",
        ]
    }


@pytest.mark.parametrize(
    "props",
    [
        {"command": ["dockerd", "--tlsverify", "--host=tcp://0.0.0.0:2376"]},
        {"command": ["sh", "-c", "docker --host tcp://localhost:2376 info"]},
        {"command": ["dockerd", "--host=unix:///run/dind/docker.sock"], "envs": ["DOCKER_TLS_CERTDIR="]},
        {"command": UNKNOWN, "envs": UNKNOWN, "uploads": UNKNOWN},
        {"uploads": [{"file": "/etc/docker/daemon.json", "content": UNKNOWN}]},
        {"uploads": [{"file": "/etc/docker/daemon.json", "content": "no JSON"}]},
        {"uploads": [{"file": "/etc/docker/daemon.json", "content": '{"hosts": ["tcp://a:2376"], "tlsverify": true}'}]},
    ],
)
def test_a_daemon_with_tls_or_a_socket_only_is_fine(props: dict[str, Any]) -> None:
    assert judge(container(privileged=True, memory=1, **props)) == {}


def test_a_client_with_an_empty_variable_of_the_daemons_is_no_daemon() -> None:
    assert judge(container(envs=["DOCKER_TLS_CERTDIR="])) == {}


# unpinned-image


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ("docker", "has no tag, which is latest"),
        ("registry.example.com:5000/docker", "has no tag, which is latest"),
        ("docker:latest", "changes all the time"),
        ("helper:x86_64-latest", "changes all the time"),
        ("alpine:edge", "changes all the time"),
        ("app:1.2-nightly", "changes all the time"),
        ("docker:dind", "has a tag that moves from version to version"),
        ("docker:28-dind", "has a tag that moves from version to version"),
        ("debian:bookworm", "has a tag that moves from version to version"),
        ("postgres:16-alpine3.22", "has a tag that moves from version to version"),
        ("mine/app:main", "has a tag that moves from version to version"),
        ("docker:28.5.2-dind", ""),
        ("alpine:3.22", ""),
        ("gitlab/gitlab-runner:v18.5.0", ""),
        ("registry.example.com:5000/gitlab-runner-helper:x86_64-v18.5.0", ""),
        ("debian:bookworm-20251020", ""),
        ("postgres:16.4-alpine3.22", ""),
        ("mine/app:1234-v1.2.3", ""),
        ("mine/app:2-1.2.3", ""),
        ("mine/app:4f9474f1", ""),
        (f"docker@sha256:{'0' * 64}", ""),
        (f"docker:latest@sha256:{'0' * 64}", ""),
        (f"sha256:{'0' * 64}", ""),
        ("$CI_REGISTRY_IMAGE:latest", ""),
        (UNKNOWN, ""),
        (None, ""),
    ],
)
def test_an_image_is_pinned_by_a_version_a_date_a_commit_or_a_digest(image: object, why: str) -> None:
    assert moving(image) == why


def test_moving_images_are_found_wherever_a_stack_names_one() -> None:
    moving_ones = {
        "daemon": {"image": "docker:dind"},
        "runner_image": "gitlab/gitlab-runner:alpine",
        "runners": [
            runner(image="docker:cli", helper_image="helper:edge"),
            runner(name="own", kind="job-dind", job_daemon_image="docker:28-dind"),
        ],
    }
    moves = "has a tag that moves from version to version"
    first, second = "runner-config config.toml runners[0] (docker)", "runner-config config.toml runners[1] (own)"
    assert refused(plain(**moving_ones)) == {
        "unpinned-image": [
            f"dind-container image: docker:dind {moves}: set settings.daemon.image to {PINNED}",
            f"runner-config image: gitlab/gitlab-runner:alpine {moves}: set settings.runner_image to {PINNED}",
            f"{first} docker.image: docker:cli {moves}: set settings.runners[0].image to {PINNED}",
            f"{first} docker.helper_image: helper:edge changes all the time: set settings.runners[0].helper_image to "
            + PINNED,
            f"{second} docker.services[0].name: docker:28-dind {moves}: set settings.runners[1].job_daemon_image to "
            + PINNED,
            f"runner-container image: gitlab/gitlab-runner:alpine {moves}: set settings.runner_image to {PINNED}",
        ]
    }


def test_moving_images_are_found_in_every_pod() -> None:
    found = refused(gke(daemon={"image": "docker:dind"}, runner_image="mine/runner:1", runners=[runner(image="a:b")]))
    assert [text.partition(":")[0] for text in found["unpinned-image"]] == [
        "dind-statefulset spec.template.spec.containers[0].image",
        "prune-cronjob spec.jobTemplate.spec.template.spec.containers[0].image",
        "runner-config config.toml runners[0] (docker) kubernetes.image",
        "runner-deployment spec.template.spec.containers[0].image",
    ]


def pod(**spec: Any) -> Resource:
    """A pod of one pinned container, with `spec` laid over it."""
    usual = {"containers": [{"name": "a", "image": "alpine:3.22"}]}
    return Resource(type="kubernetes:core/v1:Pod", name="box", props={"spec": usual | spec})


def test_moving_images_are_found_in_containers_that_only_start_a_pod_and_in_images_that_are_pulled() -> None:
    first = pod(initContainers=[{"name": "b", "image": "busybox"}])
    pulled = Resource(type="docker:index/remoteImage:RemoteImage", name="pulled", props={"name": "busybox"})
    service = Resource(type=SERVICE, name="box", props={"taskSpec": {"containerSpec": {"image": "busybox"}}})
    assert judge(first, pulled, service) == {
        "unpinned-image": [
            f"box spec.initContainers[0].image: busybox has no tag, which is latest: use {PINNED}",
            f"pulled name: busybox has no tag, which is latest: use {PINNED}",
            f"box taskSpec.containerSpec.image: busybox has no tag, which is latest: use {PINNED}",
        ]
    }


# published-port


def test_every_way_to_publish_the_port_of_a_docker_daemon_is_found() -> None:
    published = container(
        **DAEMON, memory=1, ports=[{"internal": 2376.0, "external": 2376.0}], publishAllPorts=True, networkMode="host"
    )
    nobody = "remove it, as nobody outside the stack's network needs the daemon"
    assert judge(published) == {
        "published-port": [
            f"box ports[0]: publishes port 2376 of the daemon: {nobody}",
            f"box publishAllPorts: true publishes the daemon's ports: {nobody}",
            "box networkMode: host opens the daemon's port on its host: use the stack's network (networksAdvanced)",
        ]
    }
    on_swarm = Resource(type=SERVICE, name="box", props={"endpointSpec": {"ports": [{"targetPort": 2376.0}]}})
    assert judge(on_swarm) == {
        "published-port": [f"box endpointSpec.ports[0]: publishes Docker's port 2376 on every node: {nobody}"]
    }


def test_every_way_to_publish_the_port_of_a_daemons_pod_is_found() -> None:
    privileged = {"name": "a", "image": "docker:28.5.2-dind", "securityContext": {"privileged": True}}
    limited = {"resources": {"limits": {"memory": "1Gi"}}, "ports": [{"containerPort": 2376.0, "hostPort": 2376.0}]}
    nobody = "remove it, as nobody outside the stack's network needs the daemon"
    assert judge(pod(hostNetwork=True, containers=[privileged | limited])) == {
        "published-port": [
            "box spec.hostNetwork: true opens the daemon's port on its node: remove it",
            f"box spec.containers[0].ports[0].hostPort: 2376 opens the daemon's port on its node: {nobody}",
        ]
    }


@pytest.mark.parametrize(
    "spec",
    [
        {"selector": {"app.kubernetes.io/component": "daemon"}},
        {"selector": {"app.kubernetes.io/instance": "gitlab-dind-runners-dev"}},
        {"ports": [{"port": 2376}]},
    ],
)
def test_a_service_that_leads_to_the_daemon_from_outside_the_cluster_is_found(spec: dict[str, Any]) -> None:
    open_one = Resource(
        type="kubernetes:core/v1:Service",
        name="box",
        props={"spec": spec | {"type": "LoadBalancer", "externalIPs": ["192.0.2.1"]}},
    )
    nobody = "as nobody outside the stack's network needs the daemon"
    assert judge(open_one) == {
        "published-port": [
            f"box spec.type: LoadBalancer opens the daemon's port outside the cluster: use ClusterIP, {nobody}",
            f"box spec.externalIPs: opens the daemon's port outside the cluster: remove it, {nobody}",
        ]
    }


def test_what_is_no_daemon_may_publish_its_ports() -> None:
    web = Resource(type="kubernetes:core/v1:Service", name="web", props={"spec": {"type": "NodePort"}})
    open_pod = pod(hostNetwork=True, containers=[{"image": "a:1.0", "ports": [{"containerPort": 80, "hostPort": 80}]}])
    assert judge(container(ports=[{"internal": 80}], networkMode="host"), web, open_pod) == {}


# host-socket


@pytest.mark.parametrize(
    ("path", "reaches"),
    [
        ("/var/run/docker.sock", True),
        ("/run/docker.sock", True),
        ("//var//run/", True),
        ("/var/run", True),
        ("/mnt/../run", True),
        ("/run", True),
        ("/var", True),
        ("/", True),
        ("/run/user/1000/docker.sock", True),
        ("/var/lib/docker", False),
        ("/run/dind", False),
        ("/mnt/ssd", False),
        ("a-volume", False),
        (UNKNOWN, False),
        (None, False),
    ],
)
def test_the_socket_is_reached_by_its_path_or_by_that_of_a_directory_above_it(path: object, reaches: bool) -> None:
    assert reaches_socket(path) is reaches


def test_the_hosts_socket_is_found_wherever_something_is_mounted() -> None:
    ends = (
        "hands over the host's Docker, and with it the host: remove it; only a runner of kind host-docker is given that"
    )
    stack = (
        container(volumes=[{"hostPath": "/var/run/docker.sock", "containerPath": "/a"}]),
        container(mounts=[{"type": "bind", "source": "/run", "target": "/a"}, {"type": "volume", "source": "/run"}]),
        Resource(
            type=SERVICE,
            name="service",
            props={"taskSpec": {"containerSpec": {"mounts": [{"type": "bind", "source": "/run/docker.sock"}]}}},
        ),
        Resource(type=VOLUME, name="volume", props={"driverOpts": {"type": "none", "device": "/var/run"}}),
        pod(volumes=[{"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": {"path": "/"}}]),
    )
    assert judge(*stack) == {
        "host-socket": [
            f"box volumes[0].hostPath: /var/run/docker.sock {ends}",
            f"box mounts[0].source: /run {ends}",
            f"service taskSpec.containerSpec.mounts[0].source: /run/docker.sock {ends}",
            f"volume driverOpts.device: /var/run {ends}",
            f"box spec.volumes[1].hostPath.path: / {ends}",
        ]
    }


def test_a_cache_on_a_directory_that_holds_the_hosts_socket_is_found() -> None:
    assert list(refused(plain(daemon={"data_path": "/var/run"}))) == ["host-socket"]


def test_a_runner_of_another_kind_may_not_use_the_hosts_docker_of_one_that_may() -> None:
    runners = [
        {"name": "host"},
        {
            "name": "docker",
            "docker": {
                "host": "unix:///var/run/docker.sock",
                "volumes": ["/var/run/docker.sock:/var/run/docker.sock"],
                "memory": "1g",
            },
        },
    ]
    props = {"runners": {"host": {"kind": "host-docker"}, "docker": {"kind": "dind"}}}
    stack = Resource(type="pulumi:pulumi:Stack", name="s", props=props)
    upload = {"file": "/etc/gitlab-runner/config.toml", "content": tomli_w.dumps({"runners": runners})}
    found = judge(stack, container(uploads=[upload]))
    where = "box config.toml runners[1] (docker)"
    remedy = "remove it from settings.runners[1].extra, or set settings.runners[1].kind: host-docker"
    assert found == {
        "host-socket": [
            f"{where} docker.host: unix:///var/run/docker.sock runs the jobs on the host's Docker, and kind is not "
            f"host-docker: {remedy}",
            f"{where} docker.volumes: /var/run/docker.sock hands over the host's Docker to every job: {remedy}",
        ]
    }


def test_a_runner_on_a_cluster_may_not_mount_its_nodes_docker() -> None:
    volume = {"name": "d", "mount_path": "/d", "host_path": "/var/run/docker.sock"}
    found = refused(gke(runners=[runner(extra={"kubernetes": {"volumes": {"host_path": [volume]}}})]))
    assert found == {
        "host-socket": [
            "runner-config config.toml runners[0] (docker) kubernetes.volumes.host_path[0]: /var/run/docker.sock hands "
            "over the node's Docker to every job: remove it from settings.runners[0].extra"
        ]
    }


def test_the_runner_that_is_given_the_hosts_socket_may_not_have_all_of_the_host() -> None:
    stack = Resource(type="pulumi:pulumi:Stack", name="s", props={"runners": {"host": {"kind": "host-docker"}}})
    volumes = [{"hostPath": "/var/run/docker.sock"}, {"hostPath": "/"}]
    box = container(labels=[{"label": "dindrunner.role", "value": "runner"}], volumes=volumes)
    assert judge(stack, box) == {
        "host-socket": [
            "box volumes[1].hostPath: / hands over the host's Docker, and with it the host: remove it; only a runner "
            "of kind host-docker is given that"
        ]
    }


# open-runner


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "kind dind"),
        ({"kind": "job-dind"}, "kind job-dind"),
        ({"kind": "host-docker"}, "kind host-docker"),
        ({"kind": "plain", "privileged": True}, "docker.privileged"),
    ],
)
def test_a_runner_with_privileged_builds_may_not_take_jobs_of_unprotected_branches(
    settings: dict[str, Any], reason: str
) -> None:
    assert refused(plain(runners=[runner(access_level="not_protected", **settings)])) == {
        "open-runner": [
            "docker-runner accessLevel: not_protected lets whoever can push any branch run privileged builds "
            f"({reason}): set settings.runners[0].access_level: ref_protected, or kind: plain without privileged"
        ]
    }


def test_a_runner_with_privileged_pods_may_not_take_jobs_of_unprotected_branches() -> None:
    found = refused(gke(runners=[runner(kind="plain", privileged=True, access_level="not_protected")]))
    assert "(kubernetes.privileged)" in found["open-runner"][0]


def test_a_security_context_of_the_jobs_container_gives_privileges_too() -> None:
    extra = {"kubernetes": {"build_container_security_context": {"privileged": True}}}
    found = refused(gke(runners=[runner(kind="plain", access_level="not_protected", extra=extra)]))
    assert found == {
        "open-runner": [
            "docker-runner accessLevel: not_protected lets whoever can push any branch run privileged builds "
            "(kubernetes.build_container_security_context.privileged): set settings.runners[0].access_level: "
            "ref_protected, or kind: plain without privileged"
        ]
    }


def test_a_registration_that_says_nothing_is_open_as_gitlab_has_it() -> None:
    silent = Resource(
        type=USER_RUNNER, name="docker-runner", props={}, parent=Resource(type="", name="docker", props={})
    )
    stack = Resource(type="pulumi:pulumi:Stack", name="s", props={"runners": {"docker": {"kind": "dind"}}})
    assert judge(stack, silent) == {
        "open-runner": [
            "docker-runner accessLevel: not_protected lets whoever can push any branch run privileged builds (kind "
            "dind): set settings.runners (docker).access_level: ref_protected, or kind: plain without privileged"
        ]
    }


# What is advisory by default


def test_the_daemon_and_jobs_without_a_limit_of_memory_are_found_on_a_host_and_on_a_cluster() -> None:
    jobs = "no limit, so one job may take the memory of all others: set settings.runners[0].memory_mib"
    assert judge(*resources(plain(daemon={"data_path": "/mnt/ssd"}))) == {
        "missing-limit": [
            "dind-container memory: no limit, so builds may take all of the host's: set settings.daemon.memory_mib",
            f"runner-config config.toml runners[0] (docker) docker.memory: {jobs}",
        ]
    }
    assert judge(*resources(gke())) == {
        "missing-limit": [
            "dind-statefulset spec.template.spec.containers[0].resources.limits.memory: no limit, so builds may take "
            "all of the node's: set settings.daemon.memory_mib",
            f"runner-config config.toml runners[0] (docker) kubernetes.memory_limit: {jobs}",
        ]
    }


def test_a_cache_that_goes_with_its_stack_is_found_on_a_host_and_on_a_cluster() -> None:
    goes = "the layer cache goes when the stack is destroyed"
    limits = {"daemon": {"memory_mib": 4096}, "runners": [runner(memory_mib=512)]}
    assert judge(*resources(plain(**limits))) == {
        "unprotected-cache": [f"dind-data: {goes}: set settings.daemon.keep_cache: true"]
    }
    limits["daemon"] = {"memory_mib": 4096, "claim": {"protect": False}}
    assert judge(*resources(gke(**limits))) == {
        "unprotected-cache": [f"dind-data: {goes}: set settings.daemon.claim.protect: true"]
    }


def test_a_volume_is_kept_where_its_component_says_so() -> None:
    labels = {"labels": [{"label": "dindrunner.role", "value": "data"}]}
    kept = Resource(type="dindrunner:docker:DindDaemon", name="dind", props={"keep_cache": True})
    assert judge(Resource(type=VOLUME, name="data", props=labels, parent=kept)) == {}
    gone = dataclasses.replace(kept, props={"keep_cache": False})
    assert list(judge(Resource(type=VOLUME, name="data", props=labels, parent=gone))) == ["unprotected-cache"]


# What is not known


UNREAD = (
    "config.toml is unknown until its runners are registered, so what it says of the jobs' limits, volumes, rights and "
    "services can't be judged before the first up: run that with the same policies"
)


@pytest.mark.parametrize(
    "resource",
    [
        container(uploads=[{"file": "/etc/gitlab-runner/config.toml", "content": UNKNOWN}]),
        Resource(
            type="docker:index/secret:Secret",
            name="box",
            props={"data": UNKNOWN, "labels": [{"label": "dindrunner.role", "value": "config"}]},
        ),
        Resource(type="kubernetes:core/v1:Secret", name="box", props={"data": {"config.toml": UNKNOWN}}),
        Resource(type="kubernetes:core/v1:Secret", name="box", props={"data": UNKNOWN}),
    ],
)
def test_a_config_toml_that_is_not_known_yet_is_said_to_be_unjudged_and_its_images_are_taken_from_the_outputs(
    resource: Resource,
) -> None:
    assert judge(resource) == {"unjudged-config": [f"box: {UNREAD}"]}
    runners = {"docker": {"image": "docker:cli", "helper_image": None, "kind": "dind"}}
    stack = Resource(type="pulumi:pulumi:Stack", name="s", props={"runners": runners})
    assert judge(resource, stack)["unpinned-job-image"] == [
        "output runners.docker.image: docker:cli has a tag that moves from version to version: set the image of runner "
        f"docker to {PINNED}"
    ]


@pytest.mark.parametrize("kind", [CONTAINER, SERVICE, VOLUME, USER_RUNNER, "kubernetes:apps/v1:Deployment"])
def test_a_resource_of_which_nothing_is_known_violates_nothing_that_is_mandatory(kind: str) -> None:
    names = ("image", "uploads", "volumes", "mounts", "ports", "spec", "taskSpec", "labels", "command", "accessLevel")
    found = judge(Resource(type=kind, name="box", props=dict.fromkeys(names, UNKNOWN)))
    assert not set(found) - set(ADVISORY)


def test_a_port_that_is_not_known_yet_is_a_published_one_all_the_same() -> None:
    assert judge(container(privileged=True, memory=1, ports=[{"internal": UNKNOWN}])) == {
        "published-port": [
            "box ports[0]: publishes port (unknown) of the daemon: remove it, as nobody outside the stack's network "
            "needs the daemon"
        ]
    }
    ports = [{"containerPort": 2376.0, "hostPort": UNKNOWN}]
    assert judge(pod(containers=[{"image": "a:1.0", "ports": ports}])) == {}


@pytest.mark.parametrize("text", ["[[runners", "", "runners = 7", "[[runners]]\ndocker = 7\n"])
def test_a_file_that_is_no_config_toml_is_passed_over(text: str) -> None:
    assert judge(container(uploads=[{"file": "/etc/gitlab-runner/config.toml", "content": text}])) == {}


def test_no_message_shows_a_token_even_where_everything_is_wrong() -> None:
    docker = {"host": "tcp://docker:2375", "image": "a", "privileged": True, "volumes": ["/run:/run"]}
    entry = {"name": "docker", "token": "glrt-s3cret", "environment": ["PASSWORD=s3cret"], "docker": docker}
    text = tomli_w.dumps({"runners": [entry]})
    encoded = base64.b64encode(text.encode()).decode()
    secret = Resource(type="kubernetes:core/v1:Secret", name="box", props={"data": {"config.toml": encoded}})
    found = judge(secret, container(uploads=[{"file": "/a/config.toml", "content": text}], envs=["PASSWORD=s3cret"]))
    assert found
    assert "s3cret" not in json.dumps(found)


# The pack


def test_the_strict_levels_name_policies_and_make_all_of_them_mandatory_but_what_nobody_can_help() -> None:
    strict = json.loads((PACK / "strict.json").read_text())
    assert sorted(strict) == sorted(set(ADVISORY) - {"unjudged-config"})
    assert set(strict.values()) == {MANDATORY}


def test_the_page_lists_every_policy_with_its_level() -> None:
    page = (ROOT / "docs/use/policy.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in page.splitlines() if line.startswith("| `")]
    assert rows == [[f"`{policy.name}`", policy.level] for policy in POLICIES]
