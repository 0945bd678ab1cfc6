"""Stacks of target `gke` on the clusters of the tests' own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.node import Node, node_images
from tests.engine.world import Sandbox, Stack, make_stack, unique, wait_for

REPLACED_SECONDS = 90
SMALL = {"cpu_request": 0.1, "memory_request_mib": 256, "claim": {"size_gib": 10, "protect": False}}
"""Settings of a daemon for a cluster that has other work, whose claim need not outlive its test."""


@dataclass(frozen=True)
class GkeStack(Stack):
    """A stack on a cluster. node: the cluster."""

    node: Node | None = None

    @property
    def cluster(self) -> Node:
        assert self.node is not None
        return self.node

    def kubectl(self, *arguments: str, check: bool = True) -> str:
        """What a kubectl command in the stack's namespace printed, stripped."""
        return self.cluster.kubectl(f"--namespace={self.prefix}", *arguments, check=check).stdout.strip()

    def object(self, kind: str, name: str) -> Any:
        """One object of its namespace, by the end of its name."""
        return json.loads(self.kubectl("get", kind, f"{self.prefix}-{name}", "--output=json"))

    def pod(self, component: str) -> Any:
        """Its only pod with a role that is not on its way out."""

        def probe() -> Any:
            labels = f"app.kubernetes.io/component={component}"
            found = json.loads(self.kubectl("get", "pods", f"--selector={labels}", "--output=json"))["items"]
            staying = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
            return staying[0] if len(staying) == 1 else None

        return wait_for(f"one pod of the {component}", REPLACED_SECONDS, probe)

    def uid(self, component: str) -> str:
        """What changes when that pod is made anew."""
        return str(self.pod(component)["metadata"]["uid"])

    def client_secret(self) -> Any:
        """The Secret with its clients' certificate, of which there is one."""
        found = json.loads(self.kubectl("get", "secrets", "--output=json"))["items"]
        (only,) = [each for each in found if each["metadata"]["name"].startswith(f"{self.prefix}-dind-client")]
        return only

    def exec(self, component: str, *command: str, check: bool = True) -> str:
        """What a command in that pod printed, stripped."""
        pod = self.pod(component)["metadata"]["name"]
        return self.cluster.exec(self.prefix, pod, *command, check=check).strip()

    def daemon(self, *arguments: str) -> str:
        """What the Docker client in the daemon's pod printed, stripped."""
        return self.exec("daemon", "docker", "--host", "unix:///var/run/docker.sock", *arguments)

    def config_toml(self) -> str:
        """The runner's configuration as it has it."""
        return self.exec("runner", "cat", "/etc/gitlab-runner/config.toml")

    def wait_for_config(self, text: str, seconds: float = 150) -> None:
        """Until the runner has a configuration with that text."""
        wait_for(f"{text!r} in config.toml", seconds, lambda: True if text in self.config_toml() else None)

    def state(self) -> dict[str, Any]:
        """Its state, as exported, secrets encrypted."""
        return dict(json.loads(self.pulumi("stack", "export").stdout))

    def change_state(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change its state behind the engine's back. change: given each resource."""
        state = self.state()
        for resource in state["deployment"]["resources"]:
            change(resource)
        file = self.directory / "state.json"
        file.write_text(json.dumps(state))
        self.pulumi("stack", "import", "--file", str(file))


def make_gke_stack(
    directory: Path, environment: Mapping[str, str], sandbox: Sandbox, node: Node, **settings: Any
) -> GkeStack:
    """A new stack with a small daemon, in a new folder of `directory`. environment: has the plugins."""
    name = unique()
    place = {"target": "gke", "cluster": {"context": node.context, "kubeconfig": str(node.kubeconfig)}}
    runner = node_images().get("runner")
    images = {"runner_image": runner} if runner else {}
    own = {**place, **images, "daemon": SMALL, **settings}
    stack = make_stack(directory / name, name, environment, sandbox, settings=own)
    return GkeStack(**vars(stack), node=node)
