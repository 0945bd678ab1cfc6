"""The clusters that the tests of the GKE target deploy to are what they take them for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import ApiClient, Configuration, CoreV1Api, VersionApi
from kubernetes.client.exceptions import ApiException

from lab.images import recorded
from lab.programs import KUBERNETES
from tests.cluster.control_plane import ControlPlane
from tests.cluster.node import Node, running_node
from tests.engine.world import ROOT, Sandbox, wait_for
from toolchain.shared import cache_dir

KEEP_A_NODE = """
import sys
from pathlib import Path
from tests.cluster.node import running_node
with running_node(Path(sys.argv[1])) as node:
    print(node.name, flush=True)
    sys.stdin.read()
"""
SETTINGS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys")


def image(role: str) -> str:
    return (recorded() or {})[role]


def pod(name: str, *, privileged: bool = False) -> dict[str, Any]:
    """A pod that does nothing until it is deleted."""
    container = {
        "name": "main",
        "image": image("job"),
        "imagePullPolicy": "Never",
        "command": ["sleep", "3600"],
        "securityContext": {"privileged": privileged},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    }


def daemon(registry: str) -> list[dict[str, Any]]:
    """A Docker daemon on a claim of the default class, behind a Service without an address of its own."""
    labels = {"app": "dind"}
    container = {
        "name": "dind",
        "image": image("dind"),
        "imagePullPolicy": "Never",
        # The first free network that it would take by itself can be the one that the registry is in. Without a word on
        # TLS it would wait for 15 s, so that people read what it says about that.
        "args": [f"--insecure-registry={registry}", "--bip=198.19.0.1/24", "--tls=false"],
        "env": [{"name": "DOCKER_TLS_CERTDIR", "value": ""}],
        "securityContext": {"privileged": True},
        "volumeMounts": [{"name": "data", "mountPath": "/var/lib/docker"}],
        # A machine that is busy with other tests may take a while to start a client.
        "readinessProbe": {"exec": {"command": ["docker", "info"]}, "periodSeconds": 1, "timeoutSeconds": 10},
    }
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    service = {"clusterIP": "None", "selector": labels, "ports": [{"port": 2375}]}
    workload = {
        "serviceName": "dind",
        "selector": {"matchLabels": labels},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dind"}, "spec": service},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "dind"}, "spec": workload},
    ]


def placed(namespace: str, *objects: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects, in a namespace."""
    return [{**one, "metadata": {**one["metadata"], "namespace": namespace}} for one in objects]


def leftovers(name: str) -> list[str]:
    """What of a node is on this machine."""
    processes = [
        f"process {folder.name}"
        for folder in Path("/proc").glob("[0-9]*")
        if _text(folder / "cgroup").count(name) or _text(folder / "cmdline").count(name)
    ]
    links = [link.name for link in Path("/sys/class/net").iterdir() if name.replace("-", "") in link.name]
    groups = [str(folder) for folder in Path("/sys/fs/cgroup").glob(f"**/{name}")]
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line]
    return [*processes, *links, *groups, *mounts, *map(str, (cache_dir() / "nodes").glob(f"*{name}*"))]


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def settings() -> list[str]:
    return [Path("/proc/sys", setting).read_text() for setting in SETTINGS]


def test_the_api_server_answers_and_refuses_an_unknown_token(control_plane: ControlPlane) -> None:
    client = control_plane.client()
    assert VersionApi(client).get_code().git_version == KUBERNETES.version
    stranger = Configuration()
    stranger.host, stranger.ssl_ca_cert = control_plane.url, client.configuration.ssl_ca_cert
    stranger.api_key = {"authorization": "Bearer unknown"}
    with pytest.raises(ApiException) as refused:
        CoreV1Api(ApiClient(stranger)).list_namespace()
    assert refused.value.status == 401


def test_a_user_may_do_what_they_are_given_and_no_more(control_plane: ControlPlane) -> None:
    with control_plane.namespace() as namespace:
        pods = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
        user = control_plane.add_user("watcher", pods, namespace=namespace)
        of_user = CoreV1Api(control_plane.client(user))
        assert of_user.list_namespaced_pod(namespace).items == []
        with pytest.raises(ApiException, match='User \\\\"watcher\\\\" cannot list resource \\\\"secrets\\\\"'):
            of_user.list_namespaced_secret(namespace)
        with pytest.raises(ApiException, match="cannot list resource"):
            of_user.list_namespaced_pod("default")


def test_pod_security_refuses_a_privileged_pod_where_the_namespace_says_so(control_plane: ControlPlane) -> None:
    with control_plane.namespace("privileged") as open_to_it, control_plane.namespace("restricted") as closed:
        control_plane.apply(*placed(open_to_it, pod("daemon", privileged=True)))
        with pytest.raises(
            AssertionError, match=r"violates PodSecurity .*must not set securityContext\.privileged=true"
        ):
            control_plane.apply(*placed(closed, pod("daemon", privileged=True)))
        control_plane.kubectl("delete", "pod", "daemon", f"--namespace={open_to_it}", "--force")


def test_the_api_server_can_go_away_and_come_back(control_plane: ControlPlane) -> None:
    with control_plane.namespace() as namespace:
        control_plane.stop_api_server()
        try:
            refused = control_plane.kubectl("get", "namespace", namespace, check=False)
            assert "was refused" in refused.stderr
        finally:
            control_plane.start_api_server()
        assert control_plane.get("namespace", namespace)["status"]["phase"] == "Active"


def test_a_namespace_can_be_deleted(control_plane: ControlPlane) -> None:
    with control_plane.namespace() as namespace:
        control_plane.apply(
            *placed(namespace, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "some"}, "data": {}})
        )
        control_plane.kubectl("delete", "namespace", namespace, "--timeout=60s")
        assert "NotFound" in control_plane.kubectl("get", "namespace", namespace, check=False).stderr


def test_the_node_is_ready(node: Node) -> None:
    found = node.get("node", node.name)
    assert found["status"]["nodeInfo"]["kubeletVersion"] == KUBERNETES.version
    assert {one["type"]: one["status"] for one in found["status"]["conditions"]}["Ready"] == "True"


def test_a_daemon_on_a_claim_runs_containers_for_another_pod(node: Node, sandbox: Sandbox) -> None:
    registry = sandbox.described["registry"]
    images = sandbox.described["images"]
    with node.namespace("privileged") as namespace:
        node.apply(*placed(namespace, *daemon(registry), pod("client")))
        node.wait_for_pod_ready(namespace, "client")
        first = node.wait_for_pod_ready(namespace, "dind-0")
        assert node.get("pvc", "data-dind-0", namespace)["status"]["phase"] == "Bound"
        host = f"--host=tcp://dind-0.dind.{namespace}.svc.cluster.local:2375"
        say = ("docker", host, "run", "--rm", images["helper"], "echo", "hello")
        assert node.exec(namespace, "client", *say) == "hello"
        node.kubectl("delete", "pod", "dind-0", f"--namespace={namespace}")
        again = node.wait_for_pod_ready(namespace, "dind-0")
        assert again["metadata"]["uid"] != first["metadata"]["uid"]
        listed = ("docker", host, "images", "--format", "{{.Repository}}:{{.Tag}}")
        assert images["helper"] in node.exec(namespace, "client", *listed), "the claim should keep the images"


def test_a_service_without_an_address_has_its_pods_names(node: Node) -> None:
    with node.namespace() as namespace:
        server = pod("server")
        server["spec"] |= {"hostname": "first", "subdomain": "servers"}
        service = {"clusterIP": "None", "selector": {"app": "server"}}
        head = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "servers"}}
        node.apply(*placed(namespace, server, {**head, "spec": service}, pod("client")))
        address = node.wait_for_pod_ready(namespace, "server")["status"]["podIP"]
        node.wait_for_pod_ready(namespace, "client")

        def resolve(name: str) -> list[str]:
            return node.exec(namespace, "client", "sh", "-c", f"getent ahostsv4 {name} || true").split()

        assert wait_for("the name", 30, lambda: resolve("servers") or None)[0] == address
        assert resolve(f"first.servers.{namespace}.svc.cluster.local")[0] == address
        assert resolve("example.com") == []


def test_a_pod_reaches_the_sandbox_and_its_registry(node: Node, sandbox: Sandbox) -> None:
    urls = [f"{sandbox.described['url']}/api/v4/version", f"http://{sandbox.described['registry']}/v2/"]
    with node.namespace() as namespace:
        node.apply(*placed(namespace, pod("client")))
        node.wait_for_pod_ready(namespace, "client")
        asking = ("curl", "--silent", "--max-time", "10", "--output", "/dev/null", "--write-out", "%{http_code}")
        assert [node.exec(namespace, "client", *asking, url) for url in urls] == ["401", "200"]


def test_a_network_policy_keeps_other_namespaces_from_a_daemon(node: Node, sandbox: Sandbox) -> None:
    admitted = {"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}], "ports": [{"port": 2375}]}
    policy = {"podSelector": {"matchLabels": {"app": "dind"}}, "policyTypes": ["Ingress"], "ingress": [admitted]}
    head = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "dind"}}
    with node.namespace("privileged") as namespace, node.namespace() as elsewhere:
        friend, stranger = pod("friend"), pod("friend")
        node.apply(*placed(namespace, *daemon(sandbox.described["registry"]), friend, pod("other")))
        node.apply(*placed(elsewhere, stranger))
        address = node.wait_for_pod_ready(namespace, "dind-0")["status"]["podIP"]
        clients = ((namespace, "friend"), (namespace, "other"), (elsewhere, "friend"))
        for where, name in clients:
            node.wait_for_pod_ready(where, name)

        def answers() -> list[bool]:
            asking = ("curl", "--silent", "--max-time", "5", f"http://{address}:2375/_ping")
            return [node.exec(where, name, *asking, check=False) == "OK" for where, name in clients]

        assert answers() == [True, True, True]
        node.apply(*placed(namespace, {**head, "spec": policy}))
        wait_for("the policy", 30, lambda: True if answers() == [True, False, False] else None)
        node.kubectl("delete", "networkpolicy", "dind", f"--namespace={namespace}")
        wait_for("the policy to go", 30, lambda: True if answers() == [True, True, True] else None)


def test_the_node_pulls_from_the_sandboxs_registry(node: Node, sandbox: Sandbox) -> None:
    pulled = pod("pulled")
    pulled["spec"]["containers"][0] |= {"image": sandbox.described["images"]["job"], "imagePullPolicy": "Always"}
    with node.namespace() as namespace:
        node.apply(*placed(namespace, pulled))
        node.wait_for_pod_ready(namespace, "pulled")


def test_a_node_leaves_nothing_behind(sandbox: Sandbox, tmp_path: Path) -> None:
    before = settings()
    with running_node(tmp_path / "node") as node:
        node.kubectl("create", "namespace", "full")
        node.apply(*placed("full", *daemon(sandbox.described["registry"]), pod("client")))
        node.wait_for_pod_ready("full", "dind-0")
        assert settings() == before
        assert leftovers(node.name) != []
    assert leftovers(node.name) == []


def test_what_a_killed_run_leaves_goes_with_the_next(environment: dict[str, str], tmp_path: Path) -> None:
    killed = subprocess.Popen(
        [sys.executable, "-c", KEEP_A_NODE, str(tmp_path / "killed")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **environment},
    )  # fmt: skip
    assert killed.stdout
    name = killed.stdout.readline().strip()
    assert leftovers(name) != []
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    wait_for("its processes to end", 30, lambda: None if any("process" in one for one in leftovers(name)) else True)
    with running_node(tmp_path / "next"):
        assert leftovers(name) == []
