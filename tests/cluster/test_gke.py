"""Target `gke` on a real node, through the real engine: a real runner makes pods for real jobs."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from gitlab.v4.objects import Project as GitLabProject

from tests.cluster.node import Node, node_images
from tests.cluster.stacks import SMALL, GkeStack
from tests.engine.consumers import PIPELINE, running_consumer, variables_of
from tests.engine.programs import program_of_whole
from tests.engine.world import Sandbox, unique, wait_for

BUILD = "docker build --progress=plain --tag $CI_PROJECT_PATH_SLUG:$CI_PIPELINE_ID ."
LONG = "for i in $(seq 30); do docker info --format alive || exit 1; sleep 0.5; done"
"""A job of 15 s and more that needs its daemon all along."""

JOB_PODS = "--selector=app.kubernetes.io/component=job"


@pytest.fixture(scope="module")
def stack(new_gke_stack: Callable[..., GkeStack]) -> GkeStack:
    """A stack that is up, and that each test leaves so."""
    made = new_gke_stack()
    made.up()
    return made


def project_with(sandbox: Sandbox, stack: GkeStack, **jobs: list[str]) -> GitLabProject:
    """A project with jobs for the stack's runner, by name their scripts, and something slow to build."""
    pipeline = {name: {"tags": [stack.name], "script": script} for name, script in jobs.items()}
    image = stack.outputs()["runners"]["docker"]["image"]
    dockerfile = f"FROM {image}\nRUN sleep 2 && echo built > /built\n"
    return sandbox.project({".gitlab-ci.yml": json.dumps(pipeline), "Dockerfile": dockerfile})


def run_job(sandbox: Sandbox, stack: GkeStack, *script: str) -> str:
    """The log of a job, which has to end well."""
    project = project_with(sandbox, stack, job=list(script))
    return sandbox.finish(project, sandbox.run_pipeline(project), "job")


def test_a_stack_is_up_and_neither_preview_nor_refresh_finds_anything_to_do(stack: GkeStack, sandbox: Sandbox) -> None:
    outputs = stack.outputs()
    service, claim = f"{stack.prefix}-dind", f"{stack.prefix}-dind-data"
    runner = outputs["runners"].pop("docker")
    assert outputs == {
        "version": 1,
        "target": "gke",
        "prefix": stack.prefix,
        "gitlab": {"url": sandbox.described["url"], "scope": "group", "group": "demo", "project": None},
        "concurrent": 4,
        "namespace": stack.prefix,
        "network": service,
        "service": service,
        "claim": claim,
        "daemon": {
            "endpoint": f"tcp://{service}:2376",
            "transport": "tls",
            "container": f"{service}-0",
            "volume": claim,
        },
        "runners": {},
        "ci_snippet": outputs["ci_snippet"],
    }
    assert (runner["kind"], runner["tags"]) == ("dind", [stack.name])
    stack.expect_no_changes()


def test_a_job_just_builds_without_a_daemon_of_its_own_and_the_next_finds_the_cache(
    stack: GkeStack, sandbox: Sandbox
) -> None:
    project = project_with(sandbox, stack, job=["env | grep ^DOCKER_ | sort", BUILD])
    first = sandbox.finish(project, sandbox.run_pipeline(project), "job")
    second = sandbox.finish(project, sandbox.run_pipeline(project), "job")
    for line in (
        f"DOCKER_HOST=tcp://{stack.prefix}-dind:2376",
        "DOCKER_TLS_VERIFY=1",
        "DOCKER_CERT_PATH=/certs/client",
    ):
        assert line in first
    assert "CACHED" not in first
    assert "CACHED" in second
    stack.pod("daemon")


def test_the_example_consumer_reads_the_stack_and_its_projects_jobs_find_the_runner(
    stack: GkeStack, sandbox: Sandbox, tmp_path: Path
) -> None:
    project = sandbox.project({".gitlab-ci.yml": PIPELINE})
    with running_consumer(tmp_path / "consumer", stack, sandbox) as consumer:
        consumer.configure(project)
        consumer.up()
        assert variables_of(project) == {
            "DIND_RUNNER_TAG": stack.name,
            "DIND_RUNNER_TAGS": json.dumps([stack.name]),
            "DIND_RUNNER_IMAGE": stack.outputs()["runners"]["docker"]["image"],
        }
        consumer.pulumi("preview", "--expect-no-changes")
        pipeline = sandbox.run_pipeline(project)
        for job in ("build", "by variables"):
            assert "alive" in sandbox.finish(project, pipeline, job)
    assert variables_of(project) == {}


def test_builds_at_once_share_the_daemon_without_a_clash_of_names(stack: GkeStack, sandbox: Sandbox) -> None:
    stack.configure(runners=[stack.runner(limit=3)])
    stack.up()
    stack.wait_for_config("limit = 3")
    script = ["docker build --no-cache --tag same:name .", "docker run --rm same:name cat /built"]
    project = project_with(sandbox, stack, one=script, two=script, three=script)
    pipeline = sandbox.run_pipeline(project)

    def together() -> bool | None:
        return True if len(stack.kubectl("get", "pods", JOB_PODS, "--output=name").split()) == 3 else None

    wait_for("three pods of jobs at once", 60, together)
    for name in ("one", "two", "three"):
        assert "built" in sandbox.finish(project, pipeline, name)


def test_a_change_of_the_runners_settings_touches_no_pod(stack: GkeStack) -> None:
    before = stack.uid("runner"), stack.uid("daemon")
    stack.configure(runners=[stack.runner(limit=2)], concurrent=7)
    assert "1 updated" in stack.up()
    stack.wait_for_config("concurrent = 7")
    assert (stack.uid("runner"), stack.uid("daemon")) == before


def test_the_runner_is_nobody_special_and_the_daemon_alone_is_privileged(stack: GkeStack) -> None:
    assert stack.exec("runner", "id", "-u") == "1000"
    assert stack.exec("runner", "stat", "-c", "%a", "/etc/gitlab-runner/config.toml") in ("600", "400")
    assert "No such file" in stack.exec("daemon", "ls", "/var/run/secrets", check=False)
    pods = json.loads(stack.kubectl("get", "pods", "--output=json"))["items"]
    privileged = [
        container["name"]
        for pod in pods
        for container in pod["spec"]["containers"]
        if container.get("securityContext", {}).get("privileged")
    ]
    assert privileged == ["dind"]


def test_an_upgrade_of_the_daemon_waits_for_its_jobs_and_keeps_the_cache(stack: GkeStack, sandbox: Sandbox) -> None:
    before = stack.uid("daemon")
    stack.daemon("pull", stack.outputs()["runners"]["docker"]["image"])
    project = project_with(sandbox, stack, job=[LONG])
    pipeline = sandbox.run_pipeline(project)
    sandbox.wait_for_job(project, pipeline, "job", "running")
    wait_for("the job's pod", 60, lambda: stack.kubectl("get", "pods", JOB_PODS, "--output=name") or None)
    images = stack.daemon("images", "--quiet")
    stack.configure(daemon={**SMALL, "memory_request_mib": 300})
    stack.up()
    assert sandbox.finish(project, pipeline, "job").count("\nalive") == 30
    assert stack.uid("daemon") != before
    assert stack.daemon("images", "--quiet") == images


def test_the_cache_outlives_the_daemons_pod(stack: GkeStack, sandbox: Sandbox) -> None:
    project = project_with(sandbox, stack, job=[BUILD])
    sandbox.finish(project, sandbox.run_pipeline(project), "job")
    before = stack.uid("daemon")
    stack.kubectl("delete", "pod", f"{stack.prefix}-dind-0", "--grace-period=0", "--force")
    stack.cluster.wait_for_pod_ready(stack.prefix, f"{stack.prefix}-dind-0")
    assert stack.uid("daemon") != before
    assert "CACHED" in sandbox.finish(project, sandbox.run_pipeline(project), "job")


def soon_ends(*names: str) -> Callable[[dict[str, Any]], None]:
    """Makes a state say that these certificates end within a month."""
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=30)

    def change(resource: dict[str, Any]) -> None:
        if resource["urn"].rpartition("::")[2] in names:
            resource["outputs"]["validityEndTime"] = end.strftime("%Y-%m-%dT%H:%M:%SZ")

    return change


@pytest.mark.parametrize("ends", ["certificates-server", "certificates-ca"])
def test_an_ordinary_update_renews_what_the_daemon_has_and_loses_no_job(
    stack: GkeStack, sandbox: Sandbox, ends: str
) -> None:
    fingerprint = ["openssl", "x509", "-noout", "-fingerprint", "-in", "/certs/server/cert.pem"]
    before, daemon = stack.exec("daemon", *fingerprint), stack.uid("daemon")
    stack.change_state(soon_ends(ends))
    project = project_with(sandbox, stack, job=[LONG])
    pipeline = sandbox.run_pipeline(project)
    sandbox.wait_for_job(project, pipeline, "job", "running")
    stack.up()
    sandbox.finish(project, pipeline, "job")
    assert stack.exec("daemon", *fingerprint) != before
    assert stack.uid("daemon") != daemon
    stack.client_secret()
    stack.expect_no_changes()
    assert "alive" in run_job(sandbox, stack, "docker info --format alive")


def test_a_renewed_certificate_of_the_clients_starts_no_pod_anew(stack: GkeStack, sandbox: Sandbox) -> None:
    pods, before = (stack.uid("daemon"), stack.uid("runner")), stack.client_secret()["data"]
    stack.change_state(soon_ends("certificates-client"))
    stack.up()
    after = stack.client_secret()["data"]
    assert after["cert.pem"] != before["cert.pem"]
    assert (after["ca.pem"], after["key.pem"]) == (before["ca.pem"], before["key.pem"])
    assert (stack.uid("daemon"), stack.uid("runner")) == pods
    assert "alive" in run_job(sandbox, stack, "docker info --format alive")


def test_nobody_gets_in_without_the_certificate(stack: GkeStack, sandbox: Sandbox) -> None:
    turned_away = {
        "DOCKER_TLS_VERIFY= DOCKER_CERT_PATH= docker info": "Client sent an HTTP request to an HTTPS server",
        "cp /certs/client/ca.pem /tmp; DOCKER_CERT_PATH=/tmp docker info": "remote error: tls",
    }
    log = run_job(sandbox, stack, *(f"({client}) 2>&1 && exit 1 || echo turned away" for client in turned_away))
    for error in turned_away.values():
        assert error in log


def reaches_daemon(stack: GkeStack, namespace: str, **labels: str) -> bool:
    """Whether a pod with these labels, in that namespace, gets through to the daemon's port, whose name it knows."""
    address = f"{stack.prefix}-dind.{stack.prefix}.svc.cluster.local"
    overrides = {"metadata": {"labels": labels}, "spec": {"automountServiceAccountToken": False}}
    image = stack.outputs()["runners"]["docker"]["image"]
    command = (
        f"getent hosts {address} >/dev/null || exit 1; "
        f"for i in 1 2 3; do timeout 3 bash -c '</dev/tcp/{address}/2376' 2>/dev/null && echo open && exit; done; "
        "echo closed"
    )
    done = stack.cluster.kubectl(
        "run", unique("probe"), f"--namespace={namespace}", f"--image={image}", "--restart=Never", "--attach", "--rm",
        "--quiet", f"--overrides={json.dumps(overrides)}", "--command", "--", "bash", "-c", command,
    )  # fmt: skip
    assert done.stdout.strip() in ("open", "closed"), done.stdout + done.stderr
    return done.stdout.strip() == "open"


def test_only_the_stacks_own_clients_reach_the_daemons_port(stack: GkeStack) -> None:
    own = {"app.kubernetes.io/instance": stack.prefix, "dindrunner.client": "true"}
    assert reaches_daemon(stack, stack.prefix, **own)
    assert not reaches_daemon(stack, stack.prefix, **{"app.kubernetes.io/instance": stack.prefix})
    with stack.cluster.namespace() as elsewhere:
        assert not reaches_daemon(stack, elsewhere, **own)


def test_a_second_daemon_cannot_be_had_by_accident(stack: GkeStack) -> None:
    stack.kubectl("scale", "statefulset", f"{stack.prefix}-dind", "--replicas=2")
    second = f"{stack.prefix}-dind-1"
    try:

        def reason() -> str | None:
            found = stack.kubectl("get", "pod", second, "--output=json", check=False)
            conditions = json.loads(found or "{}").get("status", {}).get("conditions", [])
            return next((each["message"] for each in conditions if each.get("reason") == "Unschedulable"), None)

        assert "anti-affinity" in wait_for("the scheduler to turn the second pod away", 30, reason)
    finally:
        stack.kubectl("scale", "statefulset", f"{stack.prefix}-dind", "--replicas=1")
    stack.pulumi("refresh", "--yes", "--skip-preview")
    stack.expect_no_changes()


def test_the_weekly_prune_removes_what_is_old_and_unused_and_a_failed_one_stays_to_be_seen(stack: GkeStack) -> None:
    cron = f"{stack.prefix}-prune"
    assert stack.object("cronjob", "prune")["spec"]["schedule"] == "0 0 * * 0"
    stack.kubectl("create", "job", "now", f"--from=cronjob/{cron}")
    stack.kubectl("wait", "--for=condition=complete", "job/now", "--timeout=90s")
    assert "Total reclaimed space" in stack.kubectl("logs", "job/now")
    stack.kubectl("delete", "job", "now")
    broken = json.loads(
        stack.kubectl("create", "job", "broken", f"--from=cronjob/{cron}", "--dry-run=client", "-ojson")
    )
    broken["spec"] |= {"backoffLimit": 0}
    (container,) = broken["spec"]["template"]["spec"]["containers"]
    for variable in container["env"]:
        if variable["name"] == "DOCKER_HOST":
            variable["value"] = f"tcp://{stack.prefix}-dind:1"
    # It waits a minute for a daemon that keeps it out.
    container["command"][-1] = container["command"][-1].replace("seq 30", "seq 1")
    stack.cluster.apply(broken)
    stack.kubectl("wait", "--for=condition=failed", "job/broken", "--timeout=90s")
    assert "Cannot connect to the Docker daemon" in stack.kubectl("logs", "job/broken")
    stack.kubectl("delete", "job", "broken")


def test_no_secret_is_in_the_clear_in_preview_update_or_state(stack: GkeStack) -> None:
    token = stack.token()
    key = stack.exec("daemon", "cat", "/certs/server/key.pem").splitlines()[1]
    stack.configure(log_level="debug")
    shown = stack.pulumi("preview", "--diff").stdout + stack.up()
    kept = "".join(file.read_text() for file in (stack.directory / "state").rglob("*.json"))
    for secret in (token, key):
        assert secret not in shown
        assert secret not in kept


def left(stack: GkeStack) -> list[str]:
    """What is in the stack's namespace but for what every namespace has, without the prefix of its names."""
    everything = "all,pvc,configmaps,roles,rolebindings,networkpolicies,secrets,serviceaccounts"
    names = [name.partition("/")[2] for name in stack.kubectl("get", everything, "--output=name").split()]
    return [name.removeprefix(f"{stack.prefix}-") for name in names if name not in ("default", "kube-root-ca.crt")]


def test_a_protected_claim_outlives_the_stack_and_serves_the_next_one(
    new_gke_stack: Callable[..., GkeStack], sandbox: Sandbox
) -> None:
    stack = new_gke_stack(daemon={**SMALL, "claim": {"size_gib": 10}})
    stack.up()
    project = project_with(sandbox, stack, job=[BUILD])
    sandbox.finish(project, sandbox.run_pipeline(project), "job")
    volume = stack.object("pvc", "dind-data")["spec"]["volumeName"]

    assert "protected" in stack.pulumi("destroy", "--yes", "--skip-preview", "--exclude-protected").stdout
    # The runner has asked for the end of its job's pod, which Kubernetes grants half a minute.
    wait_for("the claim to be all that is left", 60, lambda: left(stack) == ["dind-data"] or None)
    assert sandbox.runners_of(stack.name) == []

    stack.up()
    assert stack.object("pvc", "dind-data")["spec"]["volumeName"] == volume
    assert "CACHED" in sandbox.finish(project, sandbox.run_pipeline(project), "job")

    stack.configure(daemon=SMALL)
    stack.up()
    stack.pulumi("destroy", "--yes", "--skip-preview", "--exclude-protected")
    assert not stack.has_resources
    assert stack.cluster.kubectl("get", "namespace", stack.prefix, check=False).returncode != 0


def test_a_claim_that_is_there_is_used_and_never_deleted(new_gke_stack: Callable[..., GkeStack]) -> None:
    stack = new_gke_stack()
    with stack.cluster.namespace() as namespace:
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "old-cache", "namespace": namespace},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "30Gi"}}},
        }
        stack.cluster.apply(claim)
        daemon = {key: value for key, value in SMALL.items() if key != "claim"}
        stack.configure(namespace=namespace, create_namespace=False, daemon={**daemon, "existing_claim": "old-cache"})
        stack.up()
        assert stack.outputs()["claim"] == "old-cache"
        config = stack.cluster.exec(namespace, f"{stack.prefix}-dind-0", "cat", "/etc/docker/daemon.json")
        assert json.loads(config)["builder"]["gc"]["defaultMaxUsedSpace"] == "18GB"
        stack.expect_no_changes()
        stack.pulumi("destroy", "--yes", "--skip-preview")
        assert stack.cluster.get("pvc", "old-cache", namespace)["status"]["phase"] == "Bound"
        assert not stack.has_resources


def test_two_stacks_on_one_cluster_do_not_meet_and_plaintext_is_had_only_with_a_warning(
    stack: GkeStack, new_gke_stack: Callable[..., GkeStack], sandbox: Sandbox
) -> None:
    other = new_gke_stack(daemon={**SMALL, "transport": "tcp"}, network={"policy": False})
    assert "settings.daemon.transport: tcp is plaintext" in other.up()
    log = run_job(sandbox, other, "env | grep ^DOCKER_ | sort", BUILD)
    assert f"DOCKER_HOST=tcp://{other.prefix}-dind:2375" in log
    assert "CACHED" not in log
    assert stack.daemon("info", "--format={{.ID}}") != other.daemon("info", "--format={{.ID}}")
    other.expect_no_changes()
    # TLS against plaintext, the mirror image of the error above.
    address = f"tcp://{other.prefix}-dind.{other.prefix}:2375"
    mirrored = run_job(sandbox, stack, f"docker --host {address} info 2>&1 && exit 1 || echo turned away")
    assert "server gave HTTP response to HTTPS client" in mirrored


def test_an_upgrade_of_the_runner_waits_for_its_jobs(stack: GkeStack, sandbox: Sandbox) -> None:
    before = stack.uid("runner"), stack.uid("daemon")
    project = project_with(sandbox, stack, job=[LONG])
    pipeline = sandbox.run_pipeline(project)
    sandbox.wait_for_job(project, pipeline, "job", "running")
    stack.configure(runner_memory_mib=300)
    stack.up()
    assert sandbox.job(project, pipeline, "job").status == "success"
    assert stack.uid("runner") != before[0]
    assert stack.uid("daemon") == before[1]


def test_a_job_that_outlives_its_time_is_ended_in_gitlab_too_and_its_pod_goes(
    new_gke_stack: Callable[..., GkeStack], sandbox: Sandbox
) -> None:
    stack = new_gke_stack()
    stack.configure(drain_seconds=5, daemon=SMALL)
    stack.up()
    project = project_with(sandbox, stack, job=["sleep 600"])
    pipeline = sandbox.run_pipeline(project)
    sandbox.wait_for_job(project, pipeline, "job", "running")
    wait_for("the job's pod", 60, lambda: stack.kubectl("get", "pods", JOB_PODS, "--output=name") or None)
    stack.configure(drain_seconds=5, daemon=SMALL, runner_memory_mib=300)
    stack.up()
    sandbox.wait_for_job(project, pipeline, "job", "failed", "canceled")
    wait_for(
        "the job's pod to go", 60, lambda: None if stack.kubectl("get", "pods", JOB_PODS, "--output=name") else True
    )


def test_the_components_alone_make_a_daemon_and_a_runner_in_one_call_and_leave_nothing(
    node: Node, cluster_environment: Mapping[str, str], sandbox: Sandbox, tmp_path: Path
) -> None:
    on_node = {**cluster_environment, "KUBECONFIG": str(node.kubeconfig)}
    small: dict[str, Any] = {"claim_gib": 10, "protect": False, "daemon_memory_mib": 512}
    if runner := node_images().get("runner"):
        small["runner_image"] = runner
    made = program_of_whole("kubernetes.KubernetesRunners", tmp_path, on_node, sandbox, **small)
    with made.up({}):
        outputs, prefix = made.outputs(), f"whole-{made.name}-ci"
        (registered,) = sandbox.runners_of(made.name)
        assert outputs == {
            "namespace": prefix,
            "network_name": f"{prefix}-dind",
            "deployment_name": f"{prefix}-runner",
            "endpoint": f"tcp://{prefix}-dind:2376",
            "daemon_container_name": f"{prefix}-dind-0",
            "volume_name": f"{prefix}-dind-data",
            "runner_ids": {"docker": str(registered.id)},
        }
        for kind, name in (("statefulset", f"{prefix}-dind"), ("deployment", f"{prefix}-runner")):
            assert node.get(kind, name, prefix)["status"]["readyReplicas"] == 1
        made.pulumi("preview", "--expect-no-changes")
    assert node.kubectl("get", "namespace", prefix, check=False).returncode != 0
    assert sandbox.runners_of(made.name) == []
