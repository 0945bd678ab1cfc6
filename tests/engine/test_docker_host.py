"""One stack on this machine's engine, from the first `up` to the last trace of it, with real jobs in between."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import pytest
from gitlab.v4.objects import Project as GitLabProject

from tests.engine.jobs import (
    end_long_job,
    finish_command,
    project_files,
    start_beside_job,
    start_long_job,
    wait_for_script,
)
from tests.engine.world import ROOT, Sandbox, Stack, docker, inspect, run, unique


@pytest.fixture(scope="module")
def stack(new_stack: Callable[[], Stack]) -> Stack:
    """The stack that the tests of this module share, up."""
    made = new_stack()
    made.up()
    return made


@pytest.fixture(scope="module")
def project(stack: Stack, sandbox: Sandbox) -> GitLabProject:
    """A project whose jobs ask for the stack's runner."""
    return sandbox.project(project_files(stack.name))


CLIENT = """
import socket, ssl, sys
host, port, tls = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "tls"
try:
    connection = socket.create_connection((host, port), 5)
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = context.wrap_socket(connection)
    connection.sendall(b"GET /info HTTP/1.0\\r\\n\\r\\n")
    print(connection.recv(4096).decode())
except OSError as error:
    print(type(error).__name__, error)
"""


def answer(host: str, port: int, kind: str, network: str) -> str:
    """What a client in a container of its own on a network gets from a port, without a certificate."""
    image = json.loads((ROOT / ".toolchain" / "images.json").read_text())["python"]
    arguments = ["python3", "-c", CLIENT, host, str(port), kind]
    return docker("run", "--rm", "--network", network, "--entrypoint", arguments[0], image, *arguments[1:])


def test_a_second_up_changes_nothing_and_a_refresh_finds_no_drift(stack: Stack) -> None:
    stack.expect_no_changes()
    stack.pulumi("preview", "--expect-no-changes")


def test_the_outputs_describe_the_stack_without_a_secret(stack: Stack) -> None:
    outputs = stack.outputs()
    runner = outputs["runners"]["docker"]
    assert outputs["target"] == "docker-host"
    assert outputs["network"] == stack.prefix
    assert outputs["daemon"] == {
        "endpoint": "tcp://docker:2376",
        "transport": "tls",
        "container": f"{stack.prefix}-dind",
        "volume": f"{stack.prefix}-dind-data",
    }
    # The sandbox names images of its own where none can be pulled.
    assert runner == {
        "id": runner["id"],
        "kind": "dind",
        "executor": "docker",
        "tags": [stack.name],
        "run_untagged": False,
        "access_level": "ref_protected",
        "maximum_timeout": 3600,
        "limit": 1,
        "paused": False,
        "image": runner["image"],
        "helper_image": runner["helper_image"],
        "description": f"{stack.name} docker",
    }
    assert "glrt-" not in json.dumps(outputs)
    assert f'tags: ["{stack.name}"]' in outputs["ci_snippet"]


def test_gitlab_knows_the_runner_as_the_settings_describe_it(stack: Stack, sandbox: Sandbox) -> None:
    runner = sandbox.client.runners.get(stack.outputs()["runners"]["docker"]["id"])
    assert runner.tag_list == [stack.name]
    assert (runner.run_untagged, runner.access_level, runner.maximum_timeout) == (False, "ref_protected", 3600)
    assert runner.maintenance_note == f"Managed by Pulumi: gitlab-dind-runners/{stack.name}, runner docker"


def test_only_the_daemon_is_privileged_and_nothing_is_published(stack: Stack) -> None:
    daemon, runner = inspect(f"{stack.prefix}-dind"), inspect(f"{stack.prefix}-runner")
    assert daemon["HostConfig"]["Privileged"] is True
    assert runner["HostConfig"]["Privileged"] is False
    for container in (daemon, runner):
        assert not any(container["NetworkSettings"]["Ports"].values())
        assert "/var/run/docker.sock" not in json.dumps(container["Mounts"])
    certificates = next(m for m in runner["Mounts"] if m["Destination"] == "/certs/client")
    assert certificates["RW"] is False


def test_everything_on_the_engine_carries_the_labels_of_stack_and_role(stack: Stack) -> None:
    roles = [
        "-dind",
        "-dind-certs-ca",
        "-dind-certs-client",
        "-dind-data",
        "-runner",
        "-runner-config",
        "-runner-config",
    ]
    assert stack.leftovers() == [stack.prefix, *(stack.prefix + role for role in roles)]
    labels = inspect(f"{stack.prefix}-runner")["Config"]["Labels"]
    assert labels["dindrunner.role"] == "runner"


def test_a_plaintext_client_is_refused(stack: Stack) -> None:
    assert "lient sent an HTTP request to an HTTPS server" in answer("docker", 2376, "plain", stack.prefix)


def test_a_tls_client_without_a_certificate_is_refused(stack: Stack) -> None:
    assert re.search("alert (bad certificate|certificate required)", answer("docker", 2376, "tls", stack.prefix))


def test_the_plaintext_port_is_closed(stack: Stack) -> None:
    assert "ConnectionRefusedError" in answer("docker", 2375, "plain", stack.prefix)


@pytest.mark.parametrize("network", ["bridge", "another"])
def test_the_daemon_is_out_of_reach_for_other_networks(stack: Stack, network: str) -> None:
    address = inspect(f"{stack.prefix}-dind")["NetworkSettings"]["Networks"][stack.prefix]["IPAddress"]
    if network == "another":
        network = unique()
        docker("network", "create", network)
    try:
        assert "timed out" in answer(address, 2376, "tls", network)
    finally:
        docker("network", "rm", network, check=False)


def test_the_second_build_comes_from_the_cache(sandbox: Sandbox, project: GitLabProject) -> None:
    cold = sandbox.finish(project, sandbox.run_pipeline(project, {"WHAT": "build"}), "build")
    warm = sandbox.finish(project, sandbox.run_pipeline(project, {"WHAT": "build"}), "build")
    assert "CACHED" not in cold
    assert warm.count("CACHED") == 3, warm


def test_a_higher_limit_lets_the_next_job_start_beside_a_running_one(
    stack: Stack, sandbox: Sandbox, project: GitLabProject
) -> None:
    before = inspect(f"{stack.prefix}-runner")["State"]["StartedAt"]
    first, finish_first = start_long_job(sandbox, project)
    waiting = sandbox.run_pipeline(project, {"WHAT": "long"})
    time.sleep(6)  # several requests for a job, as one is made each second
    assert sandbox.job(project, waiting, "long").status == "pending"
    stack.configure(runners=[stack.runner(limit=2)])
    stack.up()
    second = sandbox.wait_for_job(project, waiting, "long", "running")
    assert project.jobs.get(first).status == "running"
    assert docker("exec", f"{stack.prefix}-runner", "stat", "--format=%a", "/etc/gitlab-runner/config.toml") == "600"
    assert inspect(f"{stack.prefix}-runner")["State"]["StartedAt"] == before
    wait_for_script(project, second.id)
    for job in (first, second.id):
        end_long_job(stack, job)
    finish_first()
    sandbox.finish(project, waiting, "long")


def test_a_rotated_token_reaches_the_runner_while_it_runs(
    stack: Stack, sandbox: Sandbox, project: GitLabProject
) -> None:
    before, old_token = inspect(f"{stack.prefix}-runner")["State"]["StartedAt"], stack.token()
    old = stack.outputs()["runners"]["docker"]["id"]
    resources = json.loads(stack.pulumi("stack", "export").stdout)["deployment"]["resources"]
    (urn,) = (r["urn"] for r in resources if r["type"] == "gitlab:index/userRunner:UserRunner")
    stack.pulumi("up", "--yes", "--skip-preview", "--replace", urn)
    new = stack.outputs()["runners"]["docker"]["id"]
    assert stack.token() != old_token
    assert [r.id for r in sandbox.runners_of(stack.name)] == [int(new)] != [int(old)]
    assert inspect(f"{stack.prefix}-runner")["State"]["StartedAt"] == before
    done = sandbox.run_pipeline(project, {"WHAT": "build"})
    sandbox.finish(project, done, "build")
    assert sandbox.job(project, done, "build").runner["id"] == int(new)


def test_a_running_job_survives_a_new_image_of_the_runner(
    stack: Stack, sandbox: Sandbox, project: GitLabProject
) -> None:
    job_id, finish = start_long_job(sandbox, project)
    stack.configure(runner_image=retagged(f"{stack.prefix}-runner"))
    up = start_beside_job(stack, "up", "--yes", "--skip-preview")
    end_long_job(stack, job_id)
    finish_command(up)
    finish()


def test_a_daemon_upgrade_lets_the_job_end_first_and_keeps_the_cache(
    stack: Stack, sandbox: Sandbox, project: GitLabProject
) -> None:
    old = inspect(f"{stack.prefix}-dind")["Id"]
    job_id, finish = start_long_job(sandbox, project)
    stack.configure(daemon={"image": retagged(f"{stack.prefix}-dind")})
    up = start_beside_job(stack, "up", "--yes", "--skip-preview")
    assert inspect(f"{stack.prefix}-dind")["Id"] == old, "the daemon went under the running job"
    end_long_job(stack, job_id)
    finish_command(up)
    finish()
    assert inspect(f"{stack.prefix}-dind")["Id"] != old
    warm = sandbox.finish(project, sandbox.run_pipeline(project, {"WHAT": "build"}), "build")
    assert warm.count("CACHED") == 3, warm


def test_no_secret_shows_in_previews_inspections_logs_or_the_whole_state(stack: Stack, sandbox: Sandbox) -> None:
    planted = {"environment.PLANTED": unique("variable"), "cache.s3.SecretKey": unique("key")}
    stack.configure(runners=[stack.runner(cache={"Type": "s3", "s3": {"BucketName": "layers"}})])
    for path, value in planted.items():
        name = f"gitlab-dind-runners:settings.runners[0].{path}"
        stack.pulumi("config", "set", "--secret", "--path", name, value)
    shown = stack.pulumi("preview", "--diff").stdout + stack.up()
    secrets = [stack.token(), sandbox.token, *planted.values()]
    config = stack.config_toml()
    for value in planted.values():
        assert value in config
    for container in ("dind", "runner", "runner-config"):
        shown += docker("inspect", f"{stack.prefix}-{container}")
        done = run("docker", "logs", f"{stack.prefix}-{container}", check=False)
        shown += done.stdout + done.stderr
    stack.pulumi("config", "set", "gitlab-dind-runners:settings.runner_image", "127.0.0.1:9/nothing:1", "--path")
    failed = stack.pulumi("up", "--yes", "--skip-preview", "--diff", check=False)
    assert failed.returncode != 0
    shown += failed.stdout + failed.stderr + stack.pulumi("stack", "export").stdout
    stack.pulumi("config", "set", "--path", "gitlab-dind-runners:settings.runners[0].limit", "many")
    refused = stack.pulumi("preview", check=False)
    assert "settings.runners[0].limit" in refused.stdout + refused.stderr
    shown += refused.stdout + refused.stderr
    files = [path for path in (stack.directory / "state").rglob("*") if path.is_file()]
    assert {f"{stack.name}.json", f"{stack.name}.json.bak"} <= {path.name for path in files}
    for secret in secrets:
        assert secret not in shown
        assert [path for path in files if secret.encode() in path.read_bytes()] == []


def test_destroy_leaves_nothing_on_the_engine_nor_in_gitlab(stack: Stack, sandbox: Sandbox) -> None:
    stack.pulumi("destroy", "--yes", "--skip-preview")
    assert stack.leftovers() == []
    assert sandbox.runners_of(stack.name) == []


def retagged(container: str) -> str:
    """Another name for a container's image, which makes the stack replace the container."""
    image = inspect(container)["Config"]["Image"]
    name = f"{image.rpartition(':')[0]}:{container}"
    docker("tag", image, name)
    return name
