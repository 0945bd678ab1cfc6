"""The policy pack in the real engine, on what a stack for a cluster asks of an API server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.control_plane import ControlPlane
from tests.engine.world import Sandbox, Stack, make_stack, unique

FAST = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "fast"},
    "provisioner": "pd.csi.storage.gke.io",
}
Preview = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def preview(
    control_plane: ControlPlane,
    cluster_environment: dict[str, str],
    sandbox: Sandbox,
    tmp_path_factory: pytest.TempPathFactory,
) -> Preview:
    """Previews a stack with the given settings, under the policies; its exit status and what it printed."""
    control_plane.apply(FAST)
    name = unique()
    place = {"context": control_plane.context, "kubeconfig": str(control_plane.kubeconfig)}
    settings = {"target": "gke", "cluster": place}
    directory = tmp_path_factory.mktemp("stack") / name
    stack: Stack = make_stack(directory, name, cluster_environment, sandbox, settings=settings)

    def run(claim: dict[str, Any], daemon: dict[str, Any], **more: Any) -> tuple[int, str]:
        runners = [stack.runner(**more.pop("runner", {}))]
        stack.configure(daemon={"claim": {"storage_class": "fast"} | claim, **daemon}, runners=runners, **more)
        pack = cluster_environment["DINDRUNNER_POLICY_PACK"]
        strict = str(Path(__file__).resolve().parents[2] / "policy" / "strict.json")
        done = stack.pulumi("preview", "--policy-pack", pack, "--policy-pack-config", strict, check=False)
        return done.returncode, done.stdout

    return run


def test_a_stack_with_a_limit_and_a_protected_claim_passes_even_the_strict_levels(preview: Preview) -> None:
    status, shown = preview({}, {"memory_mib": 4096})
    assert status == 0, shown
    assert "[mandatory]" not in shown


def test_what_a_stack_on_a_cluster_does_wrong_is_refused(preview: Preview) -> None:
    status, shown = preview(
        {"protect": False},
        {"transport": "tcp", "image": "docker:dind"},
        runner={"access_level": "not_protected", "image": "docker:cli"},
    )
    assert status == 1
    found = {line.split()[2] for line in shown.splitlines() if "- [mandatory]" in line}
    assert found == {
        "missing-limit",
        "open-runner",
        "plaintext-daemon",
        "unpinned-image",
        "unpinned-job-image",
        "unprotected-cache",
    }
    where = "spec.template.spec.containers[0]"
    for text in (
        f"dind-statefulset {where}.env: DOCKER_TLS_CERTDIR is empty, so the daemon takes connections on port 2375",
        f"dind-statefulset {where}.image: docker:dind has a tag that moves from version to version",
        "network-service spec.ports[0].port: 2375 is Docker's port without TLS",
        f"dind-statefulset {where}.resources.limits.memory: no limit",
        "dind-data: the layer cache goes when the stack is destroyed: set settings.daemon.claim.protect: true",
    ):
        assert text in shown
