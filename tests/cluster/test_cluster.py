"""The clusters that the tests of the GKE target deploy to leave this machine as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from lab.images import recorded
from tests.cluster.node import running_node
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


def pod(name: str) -> dict[str, Any]:
    """A pod that does nothing until it is deleted."""
    container = {
        "name": "main",
        "image": image("job"),
        "imagePullPolicy": "Never",
        "command": ["sleep", "3600"],
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
