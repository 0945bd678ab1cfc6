"""Target gke under a recording engine: what is asked of Kubernetes and GitLab, and what comes out."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from components.defaults import DAEMON_IMAGE, RUNNER_IMAGE
from components.kubernetes import RunnerContainer, RunnerContainerArgs, daemon, pruner
from components.kubernetes import runner as runner_module
from components.kubernetes.certificates import DaemonCertificates, DaemonCertificatesArgs
from components.kubernetes.spelling import cpu_quantity, memory_quantity
from components.paths import CONFIG_DIR
from stacks.gke.cluster import Access, ClaimFound, Facts, fitted
from stacks.gke.settings import GkeSettings
from stacks.targets import build
from tests.unit.recording import Recorded, Recording, Secret, in_the_clear, run
from tests.unit.samples import API_TOKEN, LOOKUPS, TOKEN, facts, gke, gke_settings, runner, runner_output, stack_of

PREFIX = "gitlab-dind-runners-dev"
DIND = f"{PREFIX}-dind"
# Of the certificate that the recording engine gives the CA.
CLIENT_SECRET = f"{DIND}-client-{hashlib.sha256(b'SelfSignedCert certificates-ca').hexdigest()[:8]}"
CLAIM = "kubernetes:core/v1:PersistentVolumeClaim"
USER_RUNNER = "gitlab:index/userRunner:UserRunner"
IN_IT: dict[str, Any] = {"create_namespace": False, "namespace": "ci"}
ADOPTING: dict[str, Any] = IN_IT | {"daemon": {"existing_claim": "cache"}}
ADOPTED = ClaimFound(name="cache", size_gib=200, access_modes=("ReadWriteOnce",))
PLAIN: dict[str, Any] = {"runners": [runner(kind="plain")]}
TCP: dict[str, Any] = {"daemon": {"transport": "tcp"}}
COMMON_LABELS = {
    "app.kubernetes.io/name": "gitlab-dind-runners",
    "app.kubernetes.io/instance": PREFIX,
    "app.kubernetes.io/managed-by": "pulumi",
    "dindrunner.stack": "dev",
}
STAYS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}


RECORDINGS: dict[str, Recording] = {}


def record(
    stack: str = "dev", found: Mapping[str, Any] | None = None, api_token: str | None = API_TOKEN, **settings: Any
) -> Recording:
    """What a stack with these settings does on a cluster with these facts; made once, because nothing changes it."""
    key = repr((stack, found, api_token, settings))
    if key not in RECORDINGS:
        RECORDINGS[key] = recorded(stack, facts(**found or {}), api_token, gke_settings(**settings))
    return RECORDINGS[key]


def recorded(stack: str, here: Facts, api_token: str | None, settings: GkeSettings) -> Recording:
    def program() -> dict[str, Any]:
        token = pulumi.Output.secret(api_token) if api_token else None
        completed = fitted(settings, here)
        return build(stack_of(completed, here, gitlab_token=token, name=stack))

    return run(program, stack=stack, calls=LOOKUPS)


@pytest.fixture(name="dev")
def _dev() -> Recording:
    """The smallest stack."""
    return record()


@pytest.fixture(name="tcp")
def _tcp() -> Recording:
    """The smallest stack without TLS."""
    return record(**TCP)


@pytest.fixture(name="plain")
def _plain() -> Recording:
    """A stack that needs no daemon."""
    return record(**PLAIN)


VARIANTS: dict[str, dict[str, Any]] = {
    "tls": {},
    "tcp": TCP,
    "plain": PLAIN,
    "adopting": ADOPTING,
    "no policy, no prune, no metrics": {"network": {"policy": False}, "prune": None, "metrics_address": None},
    "two kinds": {"runners": [runner(privileged=True), runner(name="plain", kind="plain")]},
}


@pytest.fixture(name="variant", params=VARIANTS)
def _variant(request: pytest.FixtureRequest) -> Recording:
    return record(found={"claim": ADOPTED}, **VARIANTS[request.param])


def inputs(recording: Recording, name: str) -> Any:
    return recording.one(name).inputs


def names(recording: Recording) -> list[str]:
    return [each.name for each in recording.resources]


def objects(recording: Recording) -> list[Recorded]:
    """What is made on the cluster."""
    return [each for each in recording.resources if each.type.startswith("kubernetes:")]


def template(recording: Recording, name: str) -> Any:
    """The template of a workload's pods."""
    spec = inputs(recording, name)["spec"]
    return spec["jobTemplate"]["spec"]["template"] if "jobTemplate" in spec else spec["template"]


def workloads(recording: Recording) -> dict[str, Any]:
    """The templates of all pods, by the resource's name."""
    return {
        each.name: template(recording, each.name)
        for each in objects(recording)
        if {"template", "jobTemplate"} & set(each.inputs.get("spec", {}))
    }


def container(recording: Recording, name: str) -> Any:
    (only,) = template(recording, name)["spec"]["containers"]
    return only


def contents(recording: Recording, name: str) -> dict[str, str]:
    """What a Secret holds, which nobody may read on the way."""
    data = inputs(recording, name)["data"]
    assert isinstance(data, Secret)
    return {file: base64.b64decode(text, validate=True).decode() for file, text in data.value.items()}


def config_toml(recording: Recording) -> dict[str, Any]:
    return tomllib.loads(contents(recording, "runner-config")["config.toml"])


ALWAYS = [
    ("dindrunner:index:RunnerRegistration", "docker", None),
    ("dindrunner:kubernetes:RunnerContainer", "runner", None),
    ("dindrunner:kubernetes:RunnerNetwork", "network", None),
    (USER_RUNNER, "docker-runner", "docker"),
    ("kubernetes:apps/v1:Deployment", "runner-deployment", "runner"),
    ("kubernetes:core/v1:Namespace", "network-namespace", "network"),
    ("kubernetes:core/v1:Secret", "runner-config", "runner"),
    ("kubernetes:core/v1:ServiceAccount", "runner-account", "runner"),
    ("kubernetes:core/v1:ServiceAccount", "runner-job-account", "runner"),
    ("kubernetes:rbac.authorization.k8s.io/v1:Role", "runner-role", "runner"),
    ("kubernetes:rbac.authorization.k8s.io/v1:RoleBinding", "runner-role-binding", "runner"),
    ("pulumi:providers:gitlab", "gitlab", None),
    ("pulumi:providers:kubernetes", "cluster", None),
]
WITH_DAEMON = [
    ("dindrunner:kubernetes:DaemonPruner", "prune", None),
    ("dindrunner:kubernetes:DindDaemon", "dind", None),
    ("kubernetes:apps/v1:StatefulSet", "dind-statefulset", "dind"),
    ("kubernetes:batch/v1:CronJob", "prune-cronjob", "prune"),
    ("kubernetes:core/v1:ConfigMap", "dind-config", "dind"),
    (CLAIM, "dind-data", "dind"),
    ("kubernetes:core/v1:Service", "network-service", "network"),
    ("kubernetes:networking.k8s.io/v1:NetworkPolicy", "network-policy", "network"),
]
WITH_TLS = [
    ("dindrunner:kubernetes:DaemonCertificates", "certificates", None),
    ("kubernetes:core/v1:Secret", "certificates-client-secret", "certificates"),
    ("kubernetes:core/v1:Secret", "certificates-server-secret", "certificates"),
    ("tls:index/certRequest:CertRequest", "certificates-client-request", "certificates"),
    ("tls:index/certRequest:CertRequest", "certificates-server-request", "certificates"),
    ("tls:index/locallySignedCert:LocallySignedCert", "certificates-client", "certificates"),
    ("tls:index/locallySignedCert:LocallySignedCert", "certificates-server", "certificates"),
    ("tls:index/privateKey:PrivateKey", "certificates-ca-key", "certificates"),
    ("tls:index/privateKey:PrivateKey", "certificates-client-key", "certificates"),
    ("tls:index/privateKey:PrivateKey", "certificates-server-key", "certificates"),
    ("tls:index/selfSignedCert:SelfSignedCert", "certificates-ca", "certificates"),
]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [*ALWAYS, *WITH_DAEMON, *WITH_TLS]),
        (TCP, [*ALWAYS, *WITH_DAEMON]),
        (PLAIN, ALWAYS),
        (ADOPTING, [*ALWAYS, *WITH_DAEMON, *WITH_TLS]),
        ({"network": {"policy": False}}, [*ALWAYS, *WITH_DAEMON, *WITH_TLS]),
        ({"prune": None}, [*ALWAYS, *WITH_DAEMON, *WITH_TLS]),
    ],
    ids=["tls", "tcp", "plain", "adopting", "no policy", "no prune"],
)
def test_the_stack_is_exactly_what_its_settings_need(
    settings: dict[str, Any], expected: list[tuple[str, str, str | None]]
) -> None:
    left_out: set[str] = set()
    if settings == ADOPTING:
        left_out = {"network-namespace", "dind-data"}
    if "network" in settings:
        left_out = {"network-policy"}
    if "prune" in settings:
        left_out = {"prune", "prune-cronjob"}
    recording = record(found={"claim": ADOPTED} if settings == ADOPTING else None, **settings)
    made = sorted((each.type, each.name, each.parent) for each in recording.resources)
    assert made == sorted(each for each in expected if each[1] not in left_out)


def test_everything_goes_through_the_stacks_own_providers(variant: Recording) -> None:
    assert {each.provider for each in objects(variant)} == {"cluster"}
    assert {each.provider for each in variant.of_type(USER_RUNNER)} == {"gitlab"}


@pytest.mark.parametrize(
    ("access", "provider"),
    [
        ({"title": "mine", "context": "mine", "provider_kubeconfig": None}, {"context": "mine"}),
        (
            {"title": "mine", "context": "mine", "provider_kubeconfig": "/home/me/config"},
            {"context": "mine", "kubeconfig": "/home/me/config"},
        ),
        (
            {"title": "p/europe-west3/ci", "context": None, "provider_kubeconfig": '{"apiVersion": "v1"}'},
            {"kubeconfig": '{"apiVersion": "v1"}'},
        ),
    ],
    ids=["context", "kubeconfig", "Google Cloud"],
)
def test_the_provider_reaches_the_cluster_that_was_asked(access: dict[str, Any], provider: dict[str, str]) -> None:
    made = inputs(record(found={"access": Access(**access)}), "cluster")
    # A provider's own inputs travel as text.
    assert made == provider | {
        "clusterIdentifier": access["title"],
        "enableSecretMutable": "true",
        "enableConfigMapMutable": "true",
    }


def test_every_object_carries_its_stack_and_its_component(dev: Recording) -> None:
    components = {
        "network-namespace": "namespace",
        "network-service": "daemon",
        "network-policy": "daemon",
        "dind-data": "daemon",
        "dind-config": "daemon",
        "dind-statefulset": "daemon",
        "certificates-server-secret": "certificates",
        "certificates-client-secret": "certificates",
        "prune-cronjob": "pruner",
        "runner-config": "runner",
        "runner-account": "runner",
        "runner-job-account": "runner",
        "runner-role": "runner",
        "runner-role-binding": "runner",
        "runner-deployment": "runner",
    }
    more = {"network-namespace": {"pod-security.kubernetes.io/enforce": "privileged"}}
    assert {each.name: each.inputs["metadata"]["labels"] for each in objects(dev)} == {
        name: COMMON_LABELS | {"app.kubernetes.io/component": component} | more.get(name, {})
        for name, component in components.items()
    }


@pytest.mark.parametrize(
    ("settings", "namespace"), [({}, PREFIX), ({"namespace": "ci"}, "ci"), (ADOPTING, "ci"), ({"name": "x"}, "x")]
)
def test_everything_is_in_the_stacks_namespace(settings: dict[str, Any], namespace: str) -> None:
    recording = record(found={"claim": ADOPTED} if settings == ADOPTING else None, **settings)
    own = [each for each in objects(recording) if each.name != "network-namespace"]
    assert {each.inputs["metadata"]["namespace"] for each in own} == {namespace}
    assert recording.outputs["namespace"] == namespace
    (subject,) = inputs(recording, "runner-role-binding")["subjects"]
    assert subject["namespace"] == namespace
    (entry,) = config_toml(recording)["runners"]
    assert entry["kubernetes"]["namespace"] == namespace
    if "create_namespace" not in settings:
        assert inputs(recording, "network-namespace")["metadata"]["name"] == namespace
        # It is there before anything is put into it.
        assert all("network-namespace" in each.depends_on for each in own)


@pytest.mark.parametrize(
    ("settings", "protected"),
    [
        ({}, ["dind-data", "network-namespace"]),
        (TCP, ["dind-data", "network-namespace"]),
        (IN_IT, ["dind-data"]),
        ({"daemon": {"claim": {"protect": False}}}, []),
        (ADOPTING, []),
        (PLAIN, []),
    ],
)
def test_the_layer_cache_and_the_namespace_that_it_is_in_are_protected_unless_the_settings_give_them_up(
    settings: dict[str, Any], protected: list[str]
) -> None:
    recording = record(found={"claim": ADOPTED} if settings == ADOPTING else None, **settings)
    assert sorted(each.name for each in recording.resources if each.protect) == protected
    assert not [each.name for each in recording.resources if each.retain_on_delete]


# network


def test_the_daemon_has_a_name_of_its_own_that_leads_to_its_pod_alone(dev: Recording, tcp: Recording) -> None:
    for recording, port in ((dev, 2376), (tcp, 2375)):
        service = inputs(recording, "network-service")
        assert service["metadata"]["name"] == DIND
        assert service["spec"] == {
            # Headless: no address of its own, and no port of a node.
            "clusterIP": "None",
            "selector": {"app.kubernetes.io/instance": PREFIX, "app.kubernetes.io/component": "daemon"},
            "ports": [{"name": "docker", "port": port, "targetPort": "docker"}],
            "publishNotReadyAddresses": True,
        }
        assert container(recording, "dind-statefulset")["ports"] == [{"name": "docker", "containerPort": port}]
        assert inputs(recording, "dind-statefulset")["spec"]["serviceName"] == DIND


def test_only_the_stacks_own_clients_in_its_namespace_reach_the_daemon(dev: Recording, tcp: Recording) -> None:
    client = {"app.kubernetes.io/instance": PREFIX, "dindrunner.client": "true"}
    for recording in (dev, tcp):
        assert inputs(recording, "network-policy")["spec"] == {
            "podSelector": {
                "matchLabels": {"app.kubernetes.io/instance": PREFIX, "app.kubernetes.io/component": "daemon"}
            },
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": client}}]}],
        }
        carriers = {
            name for name, pod in workloads(recording).items() if client.items() <= pod["metadata"]["labels"].items()
        }
        assert carriers == {"prune-cronjob", "runner-deployment"}


def test_pods_are_found_by_labels_that_never_change(variant: Recording) -> None:
    for name, pod in workloads(variant).items():
        spec = inputs(variant, name)["spec"]
        if "selector" in spec:
            chosen = spec["selector"]["matchLabels"]
            assert set(chosen) == {"app.kubernetes.io/instance", "app.kubernetes.io/component"}
            assert chosen.items() <= pod["metadata"]["labels"].items()


# the daemon


def test_there_is_one_daemon_and_a_second_one_would_get_no_node(dev: Recording) -> None:
    assert inputs(dev, "dind-statefulset")["spec"]["replicas"] == 1
    (term,) = template(dev, "dind-statefulset")["spec"]["affinity"]["podAntiAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term == {
        "labelSelector": {
            "matchLabels": {"app.kubernetes.io/instance": PREFIX, "app.kubernetes.io/component": "daemon"}
        },
        "topologyKey": "kubernetes.io/hostname",
    }


def test_any_change_of_the_daemons_pod_replaces_it_old_before_new(dev: Recording) -> None:
    stateful_set = dev.one("dind-statefulset")
    assert stateful_set.replace_on_changes == ("spec",)
    assert stateful_set.delete_before_replace
    assert stateful_set.ignore_changes == ()


@pytest.mark.parametrize("settings", [{}, TCP, ADOPTING], ids=["tls", "tcp", "adopting"])
def test_the_runner_ends_before_its_daemon_is_replaced_and_begins_after_it(settings: dict[str, Any]) -> None:
    recording = record(found={"claim": ADOPTED} if settings == ADOPTING else None, **settings)
    deployment = recording.one("runner-deployment")
    assert deployment.replace_with == ("dind-statefulset",)
    assert deployment.delete_before_replace
    # The SDK waits for what `replace_with` names, and the engine counts it as a dependency.
    assert names(recording).index("dind-statefulset") < names(recording).index("runner-deployment")


def test_a_runner_without_a_daemon_is_replaced_with_nothing(plain: Recording) -> None:
    assert plain.one("runner-deployment").replace_with == ()


def test_only_the_daemon_is_privileged(variant: Recording) -> None:
    contexts = {
        name: each.get("securityContext", {})
        for name, pod in workloads(variant).items()
        for each in pod["spec"]["containers"]
    }
    privileged = [name for name, context in contexts.items() if context.get("privileged")]
    assert privileged == (["dind-statefulset"] if variant.outputs["daemon"] else [])
    for name, context in contexts.items():
        if name != "dind-statefulset":
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}


def test_no_pod_has_anything_of_its_node(variant: Recording) -> None:
    for pod in workloads(variant).values():
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod["spec"])
        assert not [volume for volume in pod["spec"].get("volumes", []) if "hostPath" in volume]
        assert not [port for each in pod["spec"]["containers"] for port in each.get("ports", []) if "hostPort" in port]


def test_only_the_runner_has_a_token_of_the_cluster(variant: Recording) -> None:
    tokens = {name: pod["spec"]["automountServiceAccountToken"] for name, pod in workloads(variant).items()}
    assert {name for name, mounted in tokens.items() if mounted} == {"runner-deployment"}
    accounts = {name: pod["spec"].get("serviceAccountName") for name, pod in workloads(variant).items()}
    assert {name: account for name, account in accounts.items() if account} == {"runner-deployment": f"{PREFIX}-runner"}
    for account in variant.of_type("kubernetes:core/v1:ServiceAccount"):
        assert account.inputs["automountServiceAccountToken"] is False
    for entry in config_toml(variant)["runners"]:
        assert entry["kubernetes"]["automount_service_account_token"] is False
        assert entry["kubernetes"]["service_account"] == f"{PREFIX}-job"


def test_pods_get_no_addresses_of_other_services_in_their_environment(variant: Recording) -> None:
    assert {pod["spec"]["enableServiceLinks"] for pod in workloads(variant).values()} == {False}


def test_the_autoscaler_leaves_daemon_runner_and_jobs_where_they_are(dev: Recording) -> None:
    kept = {
        name for name, pod in workloads(dev).items() if STAYS.items() <= pod["metadata"].get("annotations", {}).items()
    }
    assert kept == {"dind-statefulset", "runner-deployment"}
    assert config_toml(dev)["runners"][0]["kubernetes"]["pod_annotations"] == STAYS


@pytest.mark.parametrize(
    ("ready", "failures", "created"), [(120, 120, "720s"), (7, 120, "607s"), (602, 121, "1202s"), (3600, 720, "4200s")]
)
def test_up_waits_for_the_daemon_and_a_slow_one_is_never_killed(ready: int, failures: int, created: str) -> None:
    recording = record(daemon={"ready_timeout_seconds": ready})
    dind = container(recording, "dind-statefulset")
    probe = {
        "exec": {"command": ["docker", "--host", "unix:///var/run/docker.sock", "info"]},
        "periodSeconds": 5,
        "timeoutSeconds": 10,
    }
    assert dind["startupProbe"] == probe | {"failureThreshold": failures}
    assert dind["readinessProbe"] == probe | {"failureThreshold": 3}
    assert "livenessProbe" not in dind
    made = recording.one("dind-statefulset")
    assert (made.create_timeout, made.delete_timeout) == (created, "300s")
    assert template(recording, "dind-statefulset")["spec"]["terminationGracePeriodSeconds"] == 60


def test_a_daemon_with_tls_gets_its_certificate_and_no_key_of_the_ca_or_of_a_client(dev: Recording) -> None:
    dind, pod = container(dev, "dind-statefulset"), template(dev, "dind-statefulset")["spec"]
    assert dind["env"] == [
        {"name": "DOCKER_TLS_CERTDIR", "value": "/certs"},
        {"name": "NETWORK_MTU", "value": "1400"},
    ]
    assert "args" not in dind
    assert {each["name"]: each for each in pod["volumes"]} == {
        "data": {"name": "data", "persistentVolumeClaim": {"claimName": f"{DIND}-data"}},
        "config": {"name": "config", "configMap": {"name": DIND}},
        "certificates": {
            "name": "certificates",
            "secret": {"secretName": f"{DIND}-server", "defaultMode": 0o400},
        },
    }
    assert dind["volumeMounts"] == [
        {"name": "data", "mountPath": "/var/lib/docker"},
        {"name": "config", "mountPath": "/etc/docker/daemon.json", "subPath": "daemon.json"},
        {"name": "certificates", "mountPath": "/certs/server", "readOnly": True},
    ]


def test_a_daemon_without_tls_says_so_outright_and_has_no_certificates(tcp: Recording) -> None:
    dind, pod = container(tcp, "dind-statefulset"), template(tcp, "dind-statefulset")
    assert dind["env"][0] == {"name": "DOCKER_TLS_CERTDIR", "value": ""}
    assert dind["args"] == ["--tls=false"]
    assert [each["name"] for each in pod["spec"]["volumes"]] == ["data", "config"]
    assert [each["name"] for each in dind["volumeMounts"]] == ["data", "config"]
    assert "dindrunner.certificates" not in pod["metadata"]["annotations"]
    assert not [each.name for each in tcp.resources if each.type.startswith("tls:")]


def test_every_setting_of_the_daemon_reaches_it() -> None:
    recording = record(
        daemon={
            "image": "mine/dind:1",
            "storage_driver": "vfs",
            "cpus": 7.5,
            "memory_mib": 16384,
            "cpu_request": 2.5,
            "memory_request_mib": 3000,
            "dns": ["9.9.9.9"],
            "registry_mirrors": ["https://mirror:5000"],
            "insecure_registries": ["registry:5000"],
            "cache_budget_gib": 7,
            "subnet": "10.64.0.0/20",
            "claim": {"size_gib": 500, "storage_class": "standard-rwo", "access_mode": "ReadWriteOnce"},
        },
        network={"mtu": 1300},
    )
    dind = container(recording, "dind-statefulset")
    assert dind["image"] == "mine/dind:1"
    assert dind["resources"] == {
        "requests": {"cpu": "2500m", "memory": "3000Mi"},
        "limits": {"cpu": "7500m", "memory": "16Gi"},
    }
    config = json.loads(inputs(recording, "dind-config")["data"]["daemon.json"])
    assert config == {
        "bip": "10.64.0.1/24",
        "default-address-pools": [{"base": "10.64.8.0/21", "size": 24}],
        "builder": {
            "gc": {
                "enabled": True,
                "defaultMaxUsedSpace": "7GB",
                "defaultMinFreeSpace": "2GB",
                "defaultReservedSpace": "1792MB",
                "defaultKeepStorage": "7GB",
            }
        },
        "mtu": 1300,
        "log-driver": "json-file",
        "log-opts": {"max-size": "10m", "max-file": "3"},
        "storage-driver": "vfs",
        "dns": ["9.9.9.9"],
        "registry-mirrors": ["https://mirror:5000"],
        "insecure-registries": ["registry:5000"],
    }
    assert inputs(recording, "dind-data")["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "standard-rwo",
        "resources": {"requests": {"storage": "500Gi"}},
    }


@pytest.mark.parametrize(
    ("pod", "resources"),
    [
        ({}, {"requests": {"cpu": "1", "memory": "2Gi"}}),
        ({"cpus": 0.5}, {"requests": {"cpu": "500m", "memory": "2Gi"}, "limits": {"cpu": "500m"}}),
        ({"memory_mib": 1000}, {"requests": {"cpu": "1", "memory": "1000Mi"}, "limits": {"memory": "1000Mi"}}),
        ({"cpu_request": 3, "memory_request_mib": 4096}, {"requests": {"cpu": "3", "memory": "4Gi"}}),
    ],
)
def test_the_node_sets_something_aside_for_the_daemon_and_never_more_than_its_limits(
    pod: dict[str, Any], resources: dict[str, Any]
) -> None:
    assert container(record(daemon=pod), "dind-statefulset")["resources"] == resources


def test_a_new_configuration_of_the_daemon_or_a_new_certificate_is_a_change_of_its_pod(dev: Recording) -> None:
    def annotations(recording: Recording) -> dict[str, str]:
        found: dict[str, str] = template(recording, "dind-statefulset")["metadata"]["annotations"]
        return found

    usual, other = annotations(dev), annotations(record(daemon={"dns": ["9.9.9.9"]}))
    assert set(usual) == {*STAYS, "dindrunner.config", "dindrunner.certificates"}
    assert other["dindrunner.config"] != usual["dindrunner.config"]
    assert other["dindrunner.certificates"] == usual["dindrunner.certificates"]
    # Of the CA and of the daemon's certificate, and not of the clients'.
    fingerprinted = dev.one("dind-statefulset").depends_of["spec"]
    assert {"certificates-ca", "certificates-server"} <= set(fingerprinted)
    assert "certificates-client" not in fingerprinted


@pytest.mark.parametrize(
    ("settings", "selector", "tolerations"),
    [
        ({}, None, None),
        (
            {"dedicated_node": {"dedicated": "dind"}},
            {"dedicated": "dind"},
            [{"key": "dedicated", "operator": "Equal", "value": "dind", "effect": "NoSchedule"}],
        ),
        (
            {
                "node_selector": {"cloud.google.com/gke-nodepool": "ci"},
                "tolerations": [{"key": "ci"}, {"key": "spot", "value": "", "effect": "NoExecute"}],
                "dedicated_node": {"dedicated": "dind"},
            },
            {"cloud.google.com/gke-nodepool": "ci", "dedicated": "dind"},
            [
                {"key": "ci", "operator": "Exists", "effect": "NoSchedule"},
                {"key": "spot", "operator": "Equal", "value": "", "effect": "NoExecute"},
                {"key": "dedicated", "operator": "Equal", "value": "dind", "effect": "NoSchedule"},
            ],
        ),
    ],
    ids=["any node", "dedicated", "all"],
)
def test_the_daemon_runs_on_the_nodes_that_the_settings_name(
    settings: dict[str, Any], selector: dict[str, str] | None, tolerations: list[dict[str, str]] | None
) -> None:
    recording = record(daemon=settings)
    pod = template(recording, "dind-statefulset")["spec"]
    assert (pod.get("nodeSelector"), pod.get("tolerations")) == (selector, tolerations)
    others = [each["spec"] for name, each in workloads(recording).items() if name != "dind-statefulset"]
    assert not [each for each in others if {"nodeSelector", "tolerations"} & set(each)]


# its claim


def test_the_claim_is_what_the_cluster_and_the_settings_give(dev: Recording) -> None:
    claim = inputs(dev, "dind-data")
    assert claim["metadata"]["name"] == f"{DIND}-data"
    assert claim["spec"] == {"accessModes": ["ReadWriteOncePod"], "resources": {"requests": {"storage": "100Gi"}}}
    old = record(found={"storage_classes": None})
    assert inputs(old, "dind-data")["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_only_the_claim_is_not_waited_for_as_it_may_be_bound_to_its_first_pod(dev: Recording) -> None:
    skipping = [each.name for each in objects(dev) if "pulumi.com/skipAwait" in each.inputs["metadata"]["annotations"]]
    assert skipping == ["dind-data"]


def test_what_somebody_changed_by_hand_is_changed_back_on_every_object(dev: Recording) -> None:
    forced = [each.inputs["metadata"]["annotations"]["pulumi.com/patchForce"] for each in objects(dev)]
    assert set(forced) == {"true"}


@pytest.mark.parametrize(("size", "storage"), [(5, "5Gi"), (1000, "1000Gi"), (1024, "1Ti"), (1536, "1536Gi")])
def test_the_size_of_the_claim_is_written_as_the_api_server_reads_it_back(size: int, storage: str) -> None:
    claim = inputs(record(daemon={"claim": {"size_gib": size}}), "dind-data")
    assert claim["spec"]["resources"] == {"requests": {"storage": storage}}


def test_a_claim_that_the_settings_name_is_used_and_never_made() -> None:
    recording = record(found={"claim": ADOPTED}, **ADOPTING)
    assert recording.of_type(CLAIM) == []
    data = template(recording, "dind-statefulset")["spec"]["volumes"][0]
    assert data["persistentVolumeClaim"] == {"claimName": "cache"}
    assert (recording.outputs["claim"], recording.outputs["daemon"]["volume"]) == ("cache", "cache")
    config = json.loads(inputs(recording, "dind-config")["data"]["daemon.json"])
    assert config["builder"]["gc"]["defaultMaxUsedSpace"] == "120GB"


def test_nothing_but_the_daemon_has_the_claim(dev: Recording) -> None:
    users = [
        name
        for name, pod in workloads(dev).items()
        if any("persistentVolumeClaim" in volume for volume in pod["spec"].get("volumes", []))
    ]
    assert users == ["dind-statefulset"]


# certificates


def test_the_daemons_certificate_has_every_name_by_which_it_is_reached(dev: Recording) -> None:
    suffixes = ["", f".{PREFIX}", f".{PREFIX}.svc", f".{PREFIX}.svc.cluster.local"]
    request = inputs(dev, "certificates-server-request")
    assert request["dnsNames"] == [
        *(f"{DIND}{suffix}" for suffix in suffixes),
        *(f"{DIND}-0.{DIND}{suffix}" for suffix in suffixes),
        "localhost",
    ]
    assert request["ipAddresses"] == ["127.0.0.1"]
    host = dev.outputs["daemon"]["endpoint"].removeprefix("tcp://").partition(":")[0]
    assert host in request["dnsNames"]


def test_more_names_of_the_daemon_are_added_as_names_or_as_addresses() -> None:
    wanted = ["docker", "*.ci.internal", "10.0.0.2", "fd00::2"]
    request = inputs(record(namespace="ci", daemon={"certificate_names": wanted}), "certificates-server-request")
    assert f"{DIND}.ci.svc" in request["dnsNames"]
    assert request["dnsNames"][-2:] == ["docker", "*.ci.internal"]
    assert request["ipAddresses"] == ["127.0.0.1", "10.0.0.2", "fd00::2"]


def test_certificates_are_for_a_year_and_renewed_in_their_last_sixty_days(dev: Recording) -> None:
    for role in ("server", "client"):
        certificate = inputs(dev, f"certificates-{role}")
        assert (certificate["validityPeriodHours"], certificate["earlyRenewalHours"]) == (365 * 24, 60 * 24)
        assert certificate["allowedUses"] == ["digital_signature", f"{role}_auth"]
        assert certificate["certRequestPem"] == f"CertRequest certificates-{role}-request"
        assert certificate["caCertPem"] == "SelfSignedCert certificates-ca"
        assert "isCaCertificate" not in certificate
    ca = inputs(dev, "certificates-ca")
    assert (ca["isCaCertificate"], ca["validityPeriodHours"]) == (True, 3650 * 24)
    # What it signs does not outlive it.
    assert ca["earlyRenewalHours"] == 365 * 24
    assert not {"dnsNames", "ipAddresses"} & set(inputs(dev, "certificates-client-request"))


def test_a_certificate_says_whose_it_is(dev: Recording) -> None:
    parts = {"certificates-ca": "CA", "certificates-server-request": "server", "certificates-client-request": "client"}
    subjects = {name: inputs(dev, name)["subject"] for name in parts}
    assert subjects == {name: {"commonName": f"{PREFIX} docker {part}"} for name, part in parts.items()}
    # Longer ones are no common names: X.509 has 64 characters for them.
    longest = inputs(record(name="a" * 40), "certificates-server-request")["subject"]["commonName"]
    assert len(longest) <= 64


def test_each_side_gets_its_own_key_and_nobody_the_cas(dev: Recording) -> None:
    for role, name in (("server", f"{DIND}-server"), ("client", CLIENT_SECRET)):
        secret = inputs(dev, f"certificates-{role}-secret")
        assert secret["metadata"]["name"] == name
        assert contents(dev, f"certificates-{role}-secret") == {
            "ca.pem": "SelfSignedCert certificates-ca",
            "cert.pem": f"LocallySignedCert certificates-{role}",
            "key.pem": f"PRIVATE KEY certificates-{role}-key",
        }
    with_server_key = [
        name
        for name, pod in workloads(dev).items()
        if any(volume.get("secret", {}).get("secretName") == f"{DIND}-server" for volume in pod["spec"]["volumes"])
    ]
    assert with_server_key == ["dind-statefulset"]


def test_another_ca_is_another_secret_of_the_clients_and_the_same_one_of_the_daemon() -> None:
    def program() -> dict[str, Any]:
        args = DaemonCertificatesArgs(prefix=PREFIX, stack="dev", namespace=PREFIX, names=["localhost"])
        # By which the recording engine makes another certificate.
        made = DaemonCertificates("others", args)
        return {"client": made.client_secret, "server": made.server_secret}

    outputs = run(program).outputs
    assert re.fullmatch(f"{DIND}-client-[0-9a-f]{{8}}", outputs["client"])
    assert outputs["client"] != CLIENT_SECRET
    assert outputs["server"] == f"{DIND}-server"


# prune


@pytest.mark.parametrize(
    ("settings", "environment", "secrets"),
    [
        (
            {},
            {"DOCKER_HOST": f"tcp://{DIND}:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs/client"},
            [{"name": "certificates", "secret": {"secretName": CLIENT_SECRET}}],
        ),
        (TCP, {"DOCKER_HOST": f"tcp://{DIND}:2375", "DOCKER_TLS_CERTDIR": ""}, None),
    ],
    ids=["tls", "tcp"],
)
def test_the_pruner_is_a_client_like_any_other(
    settings: dict[str, Any], environment: dict[str, str], secrets: list[dict[str, Any]] | None
) -> None:
    recording = record(**settings)
    only = container(recording, "prune-cronjob")
    assert {each["name"]: each["value"] for each in only["env"]} == environment
    assert template(recording, "prune-cronjob")["spec"].get("volumes") == secrets
    mounts = [{"name": "certificates", "mountPath": "/certs/client", "readOnly": True}] if secrets else None
    assert only.get("volumeMounts") == mounts


def test_the_pruner_is_no_root(dev: Recording) -> None:
    assert template(dev, "prune-cronjob")["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_the_pruner_runs_once_a_week_never_twice_at_a_time_and_not_for_ever(dev: Recording) -> None:
    made = inputs(dev, "prune-cronjob")
    spec = dict(made["spec"])
    job = dict(spec.pop("jobTemplate")["spec"])
    pod = job.pop("template")["spec"]
    assert made["metadata"]["name"] == f"{PREFIX}-prune"
    assert spec == {
        "schedule": "0 0 * * 0",
        "timeZone": "Etc/UTC",
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 3600,
        "successfulJobsHistoryLimit": 1,
        "failedJobsHistoryLimit": 3,
    }
    assert job == {"backoffLimit": 1, "activeDeadlineSeconds": 3600}
    assert pod["restartPolicy"] == "Never"
    assert container(dev, "prune-cronjob")["image"] == DAEMON_IMAGE


def test_the_pruner_does_what_the_settings_say() -> None:
    recording = record(daemon={"image": "mine/dind:1"}, prune={"schedule": "@daily", "unused_hours": 24})
    assert inputs(recording, "prune-cronjob")["spec"]["schedule"] == "@daily"
    only = container(recording, "prune-cronjob")
    assert only["image"] == "mine/dind:1"
    assert "docker system prune --all --force --filter until=24h\n" in only["command"][-1]


# the runner


def test_there_is_one_runner_and_the_old_one_ends_before_the_new_one_begins(variant: Recording) -> None:
    spec = inputs(variant, "runner-deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


@pytest.mark.parametrize(("drain", "grace", "deleted"), [(0, 60, "180s"), (900, 960, "1080s"), (3600, 3660, "3780s")])
def test_a_runner_is_given_time_to_drain_and_nobody_gives_up_before(drain: int, grace: int, deleted: str) -> None:
    recording = record(drain_seconds=drain)
    deployment = recording.one("runner-deployment")
    assert template(recording, "runner-deployment")["spec"]["terminationGracePeriodSeconds"] == grace
    assert {"name": "DRAIN_SECONDS", "value": str(drain)} in container(recording, "runner-deployment")["env"]
    assert (deployment.create_timeout, deployment.update_timeout, deployment.delete_timeout) == ("600s", "", deleted)
    # A new one begins where the old one has ended.
    assert deployment.inputs["spec"]["progressDeadlineSeconds"] == 600


def test_any_change_of_the_runners_pod_replaces_it_old_before_new(variant: Recording) -> None:
    deployment = variant.one("runner-deployment")
    assert deployment.replace_on_changes == ("spec.template",)
    assert deployment.delete_before_replace


def test_the_runner_keeps_away_from_the_daemons_node_if_there_is_another(variant: Recording) -> None:
    assert template(variant, "runner-deployment")["spec"]["affinity"] == {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 100,
                    "podAffinityTerm": {
                        "labelSelector": {
                            "matchLabels": {
                                "app.kubernetes.io/instance": PREFIX,
                                "app.kubernetes.io/component": "daemon",
                            }
                        },
                        "topologyKey": "kubernetes.io/hostname",
                    },
                }
            ]
        }
    }


def test_the_runner_is_no_root_and_writes_only_to_its_own_volumes(dev: Recording) -> None:
    pod, only = template(dev, "runner-deployment")["spec"], container(dev, "runner-deployment")
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "fsGroup": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert only["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["volumes"] == [
        {"name": "config", "secret": {"secretName": f"{PREFIX}-runner-config", "defaultMode": 0o440}},
        {"name": "state", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
    ]
    assert only["volumeMounts"] == [
        {"name": "config", "mountPath": "/run/gitlab-runner", "readOnly": True},
        {"name": "state", "mountPath": "/etc/gitlab-runner"},
        {"name": "tmp", "mountPath": "/tmp"},
    ]


@pytest.mark.parametrize(
    ("settings", "resources"),
    [
        ({}, {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}),
        (
            {"runner_cpus": 2, "runner_memory_mib": 1024},
            {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}},
        ),
        (
            {"runner_cpus": 0.1, "runner_memory_mib": 64},
            {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}},
        ),
    ],
)
def test_the_runner_has_its_limits_and_asks_for_no_more(settings: dict[str, Any], resources: dict[str, Any]) -> None:
    assert container(record(**settings), "runner-deployment")["resources"] == resources


@pytest.mark.parametrize(
    ("address", "ports"),
    [(":9252", [9252]), ("[::]:9100", [9100]), (None, [])],
)
def test_the_port_of_the_metrics_is_named_where_there_are_any(address: str | None, ports: list[int]) -> None:
    recording = record(metrics_address=address)
    named = container(recording, "runner-deployment").get("ports", [])
    assert named == [{"name": "metrics", "containerPort": port} for port in ports]
    assert config_toml(recording).get("listen_address") == address


def test_the_runner_may_make_pods_in_its_namespace_and_no_more(dev: Recording) -> None:
    assert inputs(dev, "runner-role")["rules"] == [
        {"apiGroups": [""], "resources": resources, "verbs": verbs}
        for resources, verbs in [
            (["pods"], ["create", "delete", "get", "list", "watch"]),
            (["pods/attach", "pods/exec"], ["create", "delete", "get", "patch"]),
            (["pods/log"], ["get", "list"]),
            (["configmaps", "secrets"], ["create", "delete", "get", "update"]),
            (["services"], ["create", "get"]),
            (["serviceaccounts"], ["get"]),
            (["events"], ["list", "watch"]),
        ]
    ]
    binding = inputs(dev, "runner-role-binding")
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": f"{PREFIX}-runner",
    }
    # The jobs' own account is in no binding.
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": f"{PREFIX}-runner", "namespace": PREFIX}]
    assert not [each.name for each in objects(dev) if "Cluster" in each.type]
    assert {"runner-role-binding", "runner-job-account"} <= set(dev.one("runner-deployment").depends_on)


def test_the_pod_of_the_runner_depends_on_no_content_of_config_toml(dev: Recording) -> None:
    other = record(concurrent=9, log_level="debug", runners=[runner(image="alpine:3.22"), runner(name="two")])
    assert inputs(other, "runner-deployment") == inputs(dev, "runner-deployment")
    assert inputs(other, "runner-config") != inputs(dev, "runner-config")


def test_the_ca_of_a_gitlab_of_ones_own_reaches_the_runner_whose_pod_is_made_anew_for_another(tmp_path: Path) -> None:
    annotations = []
    for text in ("a CA", "another CA"):
        file = tmp_path / text
        file.write_text(text)
        recording = record(gitlab=gke()["gitlab"] | {"ca_file": str(file)})
        assert contents(recording, "runner-config")["gitlab-ca.pem"] == text
        assert container(recording, "runner-deployment")["volumeMounts"][-1] == {
            "name": "config",
            "mountPath": "/etc/gitlab-runner/certs/gitlab-ca.pem",
            "subPath": "gitlab-ca.pem",
            "readOnly": True,
        }
        assert config_toml(recording)["runners"][0]["tls-ca-file"] == "/etc/gitlab-runner/certs/gitlab-ca.pem"
        assert inputs(recording, "gitlab")["cacertFile"] == str(file)
        annotations.append(template(recording, "runner-deployment")["metadata"]["annotations"]["dindrunner.ca"])
    assert annotations[0] != annotations[1]


def test_a_config_toml_that_a_stack_gives_in_the_clear_becomes_a_secret() -> None:
    def program() -> dict[str, Any]:
        args = RunnerContainerArgs(
            prefix="p", stack="dev", namespace="p", image="runner:1", config_toml="concurrent = 1", drain_seconds=1
        )
        return {"deployment": RunnerContainer("runner", args).deployment.metadata.name}

    assert contents(run(program), "runner-config") == {"config.toml": "concurrent = 1"}


# jobs and registrations


def test_jobs_with_the_daemon_are_pods_with_its_clients_certificate(dev: Recording) -> None:
    (entry,) = config_toml(dev)["runners"]
    assert entry["executor"] == "kubernetes"
    assert entry["environment"][0] == f"DOCKER_HOST={dev.outputs['daemon']['endpoint']}"
    assert entry["kubernetes"]["volumes"]["secret"] == [
        {"name": CLIENT_SECRET, "mount_path": "/certs/client", "read_only": True}
    ]
    client = {"app.kubernetes.io/instance": PREFIX, "dindrunner.client": "true"}
    assert client.items() <= entry["kubernetes"]["pod_labels"].items()
    assert inputs(dev, "certificates-client-secret")["metadata"]["name"] == CLIENT_SECRET


def test_jobs_without_the_daemon_have_no_way_to_it() -> None:
    recording = record(runners=[runner(), runner(name="plain", kind="plain")])
    _, entry = config_toml(recording)["runners"]
    assert entry["environment"] == []
    assert "volumes" not in entry["kubernetes"]
    assert "dindrunner.client" not in entry["kubernetes"]["pod_labels"]


def test_two_runners_share_one_pod_and_keep_a_registration_each() -> None:
    recording = record(runners=[runner(), runner(name="plain", kind="plain", description="Mine", tags=["b", "a"])])
    assert names(recording).count("runner-deployment") == 1
    assert sorted(each.name for each in recording.of_type(USER_RUNNER)) == ["docker-runner", "plain-runner"]
    registered = inputs(recording, "plain-runner")
    assert (registered["description"], registered["tagLists"]) == ("Mine", ["a", "b"])
    tokens = {each["name"]: each["token"] for each in config_toml(recording)["runners"]}
    assert tokens == {"docker": "glrt-docker-runner", "plain": "glrt-plain-runner"}


def test_a_runner_with_a_token_of_its_own_is_not_registered() -> None:
    recording = record(api_token=None, runners=[runner(token=TOKEN)])
    assert recording.of_type(USER_RUNNER) == recording.of_type("pulumi:providers:gitlab") == []
    assert config_toml(recording)["runners"][0]["token"] == TOKEN
    assert recording.outputs["runners"]["docker"]["id"] is None


# outputs, warnings, secrets, names


def outputs(**different: Any) -> dict[str, Any]:
    """Those of the smallest stack, with `different` laid over them."""
    return {
        "version": 1,
        "target": "gke",
        "prefix": "gitlab-dind-runners-dev",
        "gitlab": {"url": "https://gitlab.example.com", "scope": "project", "group": None, "project": "demo/app"},
        "concurrent": 4,
        "namespace": PREFIX,
        "network": DIND,
        "service": DIND,
        "claim": f"{DIND}-data",
        "daemon": {
            "endpoint": f"tcp://{DIND}:2376",
            "transport": "tls",
            "container": f"{DIND}-0",
            "volume": f"{DIND}-data",
        },
        "runners": {"docker": runner_output(executor="kubernetes")},
    } | different


def test_the_outputs_are_exactly_as_documented(dev: Recording) -> None:
    found = dict(dev.outputs)
    assert list(yaml.safe_load(found.pop("ci_snippet"))) == ["docker-job"]
    assert found == outputs()


def test_the_outputs_name_nothing_that_is_not_there(plain: Recording) -> None:
    found = {key: value for key, value in plain.outputs.items() if key != "ci_snippet"}
    only = outputs()["runners"]["docker"] | {"kind": "plain"}
    assert found == outputs(network=None, service=None, claim=None, daemon=None, runners={"docker": only})
    assert record(network={"policy": False}).outputs["network"] is None


def test_nothing_is_warned_of_on_a_cluster_that_has_all_it_needs(dev: Recording) -> None:
    assert (dev.warnings, dev.errors) == ([], [])


def test_the_preview_warns_of_settings_and_of_the_cluster() -> None:
    recording = record(found={"enforcers": ()}, runners=[runner(privileged=True)])
    assert [text.split()[0] for text in recording.warnings] == [
        "settings.runners[0].privileged:",
        "settings.network.policy:",
    ]


def test_no_secret_leaves_in_the_clear() -> None:
    secret = {"cache": {"s3": {"SecretKey": "cache-s3cret"}}, "environment": {"KEY": "environment-s3cret"}}
    recording = record(runners=[runner(token=TOKEN, **secret), runner(name="two")], extra={"user": "extra-s3cret"})
    clear = in_the_clear([[each.inputs for each in recording.resources], recording.outputs, recording.warnings])
    encoded = [base64.b64encode(text.encode()).decode()[:8] for text in ("concurrent = ", TOKEN, "PRIVATE KEY")]
    hints = ("s3cret", "glrt-", "PRIVATE KEY", *encoded)
    assert [text for text in clear if any(hint in text for hint in hints)] == []
    content = contents(recording, "runner-config")["config.toml"]
    for expected in (TOKEN, "glrt-two-runner", "cache-s3cret", "environment-s3cret", "extra-s3cret"):
        assert expected in content


def names_on_the_cluster(recording: Recording) -> list[tuple[str, str, str]]:
    """With types and namespaces."""
    return [
        (each.type, each.inputs["metadata"].get("namespace", ""), each.inputs["metadata"]["name"])
        for each in objects(recording)
    ]


@pytest.mark.parametrize("settings", [{}, IN_IT], ids=["a namespace each", "one namespace"])
def test_two_stacks_on_one_cluster_share_no_name_and_no_label(settings: dict[str, Any]) -> None:
    one, two = record("one", **settings), record("two", **settings)
    found = [*names_on_the_cluster(one), *names_on_the_cluster(two)]
    assert len(set(found)) == len(found) == (30 if not settings else 28)
    selectors = [
        inputs(each, name)["spec"]["selector"]["matchLabels"]
        for each in (one, two)
        for name in ("dind-statefulset", "runner-deployment")
    ]
    assert len({tuple(sorted(each.items())) for each in selectors}) == 4


def test_a_chosen_name_is_the_prefix_of_every_name() -> None:
    recording = record(name="builders")
    assert all(name == "builders" or name.startswith("builders-") for _, _, name in names_on_the_cluster(recording))
    assert recording.outputs["daemon"]["endpoint"] == "tcp://builders-dind:2376"


@pytest.mark.parametrize(
    ("cpus", "written"), [(0.1, "100m"), (0.5, "500m"), (1, "1"), (1.5, "1500m"), (2.0, "2"), (0.3, "300m")]
)
def test_cpus_are_written_as_the_api_server_reads_them_back(cpus: float, written: str) -> None:
    assert cpu_quantity(cpus) == written


@pytest.mark.parametrize(
    ("mib", "written"), [(64, "64Mi"), (1000, "1000Mi"), (1024, "1Gi"), (1536, "1536Mi"), (1048576, "1Ti")]
)
def test_memory_is_written_as_the_api_server_reads_it_back(mib: int, written: str) -> None:
    assert memory_quantity(mib) == written


# the scripts that the containers run


def program(directory: Path, name: str, commands: str) -> None:
    """A stand-in on PATH, which says in `called` how it is called, and then does this."""
    script = directory / name
    script.write_text(f'#!/bin/sh\necho "{name} $*" >> {directory}/called\n{commands}\n')
    script.chmod(0o755)


def called(directory: Path) -> list[str]:
    return (directory / "called").read_text().splitlines()


def environment(directory: Path) -> dict[str, str]:
    return {"PATH": f"{directory}:/usr/bin:/bin"}


@pytest.mark.parametrize(
    ("group", "parent"),
    [
        ("/kubepods/burstable/pod1/abc", ["--cgroup-parent=/kubepods/burstable/pod1"]),
        (
            "/kubepods.slice/kubepods-pod1.slice/cri-containerd-abc.scope",
            ["--cgroup-parent=/kubepods.slice/kubepods-pod1.slice"],
        ),
        ("/", []),
        ("", []),
        ("/user.slice", []),
    ],
)
@pytest.mark.parametrize("arguments", [[], ["--tls=false"]])
def test_what_the_daemon_starts_is_in_the_groups_of_its_pod(
    tmp_path: Path, group: str, parent: list[str], arguments: list[str]
) -> None:
    program(tmp_path, "sed", f'echo "{group}"')
    program(tmp_path, "dockerd-entrypoint.sh", "exit 7")
    done = subprocess.run(
        ["sh", "-c", daemon.SCRIPT, "sh", *arguments], env=environment(tmp_path), capture_output=True, timeout=10
    )
    assert (done.returncode, done.stderr) == (7, b"")
    assert called(tmp_path)[-1].split() == ["dockerd-entrypoint.sh", *parent, *arguments]


HELP = "      --default-network-opt mapmapopts        Default network options (default map[])\n"


@pytest.mark.parametrize(
    ("mtu", "described", "options", "asked"),
    [
        ("1300", HELP, ["--default-network-opt=bridge=com.docker.network.driver.mtu=1300"], True),
        # dockerd before version 24 ends at an option that it does not know.
        ("1300", "      --mtu int        Set the containers network MTU\n", [], True),
        ("", HELP, [], False),
        (None, HELP, [], False),
    ],
    ids=["known", "unknown", "empty", "none"],
)
@pytest.mark.parametrize("arguments", [[], ["--tls=false"]])
def test_the_networks_of_jobs_get_the_mtu_where_dockerd_has_an_option_for_it(
    tmp_path: Path, mtu: str | None, described: str, options: list[str], asked: bool, arguments: list[str]
) -> None:
    program(tmp_path, "sed", "echo /")
    program(tmp_path, "dockerd", f"cat <<'EOF'\n{described}EOF")
    program(tmp_path, "dockerd-entrypoint.sh", "exit 7")
    more = {} if mtu is None else {"NETWORK_MTU": mtu}
    done = subprocess.run(
        ["sh", "-c", daemon.SCRIPT, "sh", *arguments],
        env=environment(tmp_path) | more,
        capture_output=True,
        timeout=10,
    )
    assert (done.returncode, done.stderr) == (7, b"")
    _, *calls = called(tmp_path)
    assert calls[:-1] == (["dockerd --help"] if asked else [])
    assert calls[-1].split() == ["dockerd-entrypoint.sh", *options, *arguments]


def test_the_daemon_runs_that_script_with_its_arguments(dev: Recording, tcp: Recording) -> None:
    for recording in (dev, tcp):
        assert container(recording, "dind-statefulset")["command"] == ["sh", "-c", daemon.SCRIPT, "sh"]


PRUNING = [
    "docker system df",
    "docker system prune --all --force --filter until=168h",
    "docker volume prune --force",
    "docker system df",
]


def pruned(directory: Path, docker: str) -> tuple[int, list[str]]:
    """The exit code of a run of the pruner whose client does this, and what that was called with."""
    program(directory, "docker", docker)
    program(directory, "sleep", "")
    script = pruner.SCRIPT.format(unused_hours=168)
    done = subprocess.run(["sh", "-c", script], env=environment(directory), capture_output=True, timeout=10)
    return done.returncode, [line for line in called(directory) if line.startswith("docker ")]


def test_the_pruner_waits_until_the_daemon_lets_it_in(tmp_path: Path) -> None:
    answers_at_last = f'[ "$1" != version ] || [ $(grep -c version {tmp_path}/called) -ge 3 ]'
    assert pruned(tmp_path, answers_at_last) == (0, ["docker version"] * 3 + PRUNING)


def test_a_run_of_the_pruner_fails_where_the_daemon_never_answers(tmp_path: Path) -> None:
    assert pruned(tmp_path, "exit 1") == (1, ["docker version"] * 30 + PRUNING[:1])


@pytest.mark.parametrize(("failing", "last"), [("system df", 0), ("system prune", 1), ("volume prune", 2)])
def test_a_run_of_the_pruner_fails_where_one_of_its_commands_does(tmp_path: Path, failing: str, last: int) -> None:
    code, calls = pruned(tmp_path, f'case "$*" in "{failing}"*) exit 1;; esac')
    assert code == 1
    assert calls == ["docker version", *PRUNING[: last + 1]]


# Not a shell's: one that runs in the background is started with SIGQUIT ignored, which no trap changes.
RUNNER = """\
import os, pathlib, signal, sys, time

here = pathlib.Path(__file__).parent
if "STARTS_AFTER" in os.environ:
    (here / "arguments").touch()
    time.sleep(float(os.environ["STARTS_AFTER"]))
signal.signal(signal.SIGQUIT, lambda *_: (here / "draining").touch())
terms = []
signal.signal(signal.SIGTERM, lambda *_: (terms.append("TERM"), (here / "aborting").write_text(" ".join(terms))))
(here / "arguments").write_text(" ".join(sys.argv[1:]))
while not (here / "done").exists():
    time.sleep(0.02)
os._exit(4 if terms else 3)  # at once, as Python's own end takes no more signals
"""
"""A runner that drains at SIGQUIT until its jobs are done, or at SIGTERM aborted, which takes it a while too."""


@contextmanager
def runner_script(
    directory: Path, drain_seconds: int = 3600, starts_after: float | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The script of the runner's container; its Secret and its state are in the directory."""
    for name in ("secret", "state"):
        (directory / name).mkdir(parents=True)
    (directory / "secret/config.toml").write_text("one")
    (directory / "gitlab-runner").write_text(f"#!{sys.executable} -S\n{RUNNER}")
    (directory / "gitlab-runner").chmod(0o755)
    program(directory, "sleep", "exec /bin/sleep 0.02")
    script = runner_module.SCRIPT.replace(runner_module.SECRET_DIR, f"{directory}/secret").replace(
        CONFIG_DIR, f"{directory}/state"
    )
    variables = environment(directory) | {"DRAIN_SECONDS": str(drain_seconds)}
    if starts_after is not None:
        variables["STARTS_AFTER"] = str(starts_after)
    # A shell cannot trap what is ignored when it starts, as it may be here, but is not in a container.
    command = ["env", "--default-signal=INT,QUIT,TERM", "sh", "-c", script]
    with subprocess.Popen(command, env=variables, start_new_session=True) as running:
        try:
            wait_for("the start of the runner", (directory / "arguments").exists)
            yield running
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)


def holds(file: Path, content: str) -> bool:
    return file.read_text() == content


def wait_for(what: str, happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < deadline, f"{what} did not happen within 10 s"
        time.sleep(0.01)


def test_the_runner_follows_its_secret_while_it_runs_and_while_it_drains(tmp_path: Path) -> None:
    copy = tmp_path / "state/config.toml"
    with runner_script(tmp_path) as running:
        assert (copy.read_text(), copy.stat().st_mode & 0o777) == ("one", 0o600)
        for content in ("two", "three"):
            (tmp_path / "secret/config.toml").write_text(content)
            wait_for("the copy of the new configuration", partial(holds, copy, content))
            assert copy.stat().st_mode & 0o777 == 0o600
            # As Kubernetes ends a pod.
            running.send_signal(signal.SIGTERM)
            wait_for("the drain", (tmp_path / "draining").exists)
            assert running.poll() is None
        (tmp_path / "done").touch()
        # The runner's own end is the container's.
        assert running.wait(10) == 3
    state = f"{tmp_path}/state"
    assert (tmp_path / "arguments").read_text() == f"run --config {state}/config.toml --working-directory {state}"
    assert os.listdir(state) == ["config.toml"]
    assert not (tmp_path / "aborting").exists()


def rounds(directory: Path) -> int:
    """How often the script of the runner's container has looked around."""
    return sum(line.startswith("sleep ") for line in called(directory))


def wait_for_rounds(directory: Path) -> None:
    """Wait until the script has looked around ten times more."""
    enough = rounds(directory) + 10
    wait_for("ten rounds", lambda: rounds(directory) >= enough)


@pytest.mark.parametrize("drain_seconds", [0, 2])
def test_jobs_whose_time_is_over_are_aborted_once_and_not_before(tmp_path: Path, drain_seconds: int) -> None:
    aborting = tmp_path / "aborting"
    with runner_script(tmp_path, drain_seconds) as running:
        wait_for_rounds(tmp_path)
        begun = time.monotonic()
        running.send_signal(signal.SIGTERM)
        wait_for("the end of the jobs' time", aborting.exists)
        # The shell's clock has whole seconds only.
        assert drain_seconds - 1 < time.monotonic() - begun < drain_seconds + 5
        if drain_seconds:
            assert (tmp_path / "draining").exists()
        # Neither the script nor another signal sends a second one, at which a runner drops all; nor does it go first.
        running.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert aborting.read_text() == "TERM"
        assert running.poll() is None
        (tmp_path / "done").touch()
        assert running.wait(10) == 4
    assert aborting.read_text() == "TERM"


def test_a_runner_that_nobody_ends_is_never_told_to_abort(tmp_path: Path) -> None:
    with runner_script(tmp_path, 0):
        wait_for_rounds(tmp_path)
        assert not (tmp_path / "aborting").exists()
        assert not (tmp_path / "draining").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_a_signal_is_noticed_whatever_the_script_does_at_that_moment(tmp_path: Path, number: signal.Signals) -> None:
    # A round takes some 30 ms here: it is hit at work, while it waits, and in between.
    for milliseconds in range(0, 60, 5):
        directory = tmp_path / str(milliseconds)
        with runner_script(directory) as running:
            time.sleep(milliseconds / 1000)
            running.send_signal(number)
            wait_for(f"the drain after {milliseconds} ms", (directory / "draining").exists)
            (directory / "done").touch()
            assert running.wait(10) == 3
        assert not (directory / "aborting").exists()


def test_a_runner_that_ends_by_itself_ends_its_container_with_the_same_code(tmp_path: Path) -> None:
    with runner_script(tmp_path) as running:
        (tmp_path / "done").touch()
        assert running.wait(10) == 3
    assert not (tmp_path / "draining").exists()


def test_a_runner_without_a_configuration_is_not_started(tmp_path: Path) -> None:
    script = runner_module.SCRIPT.replace(runner_module.SECRET_DIR, f"{tmp_path}/nowhere")
    program(tmp_path, "gitlab-runner", "")
    done = subprocess.run(["sh", "-c", script], env=environment(tmp_path), capture_output=True, timeout=10)
    assert done.returncode == 1
    assert not (tmp_path / "called").exists()


def test_a_runner_that_is_still_starting_is_told_to_drain_as_well(tmp_path: Path) -> None:
    # Until it listens, a signal is lost on it: a shell starts it with SIGQUIT ignored.
    with runner_script(tmp_path, starts_after=0.3) as running:
        running.send_signal(signal.SIGTERM)
        wait_for("the drain", (tmp_path / "draining").exists)
        (tmp_path / "done").touch()
        assert running.wait(10) == 3


def test_the_runners_container_runs_that_script_and_keeps_its_files_where_it_may_write(dev: Recording) -> None:
    only = container(dev, "runner-deployment")
    assert only["image"] == RUNNER_IMAGE
    assert only["command"] == ["sh", "-c", runner_module.SCRIPT]
    assert only["env"] == [{"name": "HOME", "value": CONFIG_DIR}, {"name": "DRAIN_SECONDS", "value": "3600"}]
