"""A stack whose runner is a service of a swarm, from the first `up` to the last trace of it, with real jobs between."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from gitlab.v4.objects import Project as GitLabProject

from tests.engine.board import Board
from tests.engine.jobs import end_long_job, finish_command, project_files, start_beside_job, start_long_job
from tests.engine.programs import program_of_whole
from tests.engine.world import ROOT, Sandbox, Stack, unique


@pytest.fixture(scope="module")
def stack(swarm_board: Board, new_stack: Callable[..., Stack]) -> Stack:
    """The stack that the tests of this module share, up."""
    made = new_stack(swarm_board, orchestrator="swarm", network={"mtu": 1300})
    made.up()
    return made


@pytest.fixture(scope="module")
def project(stack: Stack, sandbox: Sandbox) -> GitLabProject:
    """A project whose jobs ask for the stack's runner."""
    return sandbox.project(project_files(stack.name))


def service(stack: Stack) -> Any:
    """The runner's service, as Swarm has it."""
    return json.loads(stack.docker("service", "inspect", stack.outputs()["service"]))[0]


def build(sandbox: Sandbox, project: GitLabProject) -> str:
    """The log of a job that builds the sample image."""
    return sandbox.finish(project, sandbox.run_pipeline(project, {"WHAT": "build"}), "build")


def local_image(role: str) -> str:
    """The name of a stand-in image, which the board has."""
    return str(json.loads((ROOT / ".toolchain" / "images.json").read_text())[role])


def test_a_second_up_changes_nothing_and_a_refresh_finds_no_drift(stack: Stack) -> None:
    stack.expect_no_changes()
    stack.pulumi("preview", "--expect-no-changes")


def test_the_outputs_say_where_the_runner_is(stack: Stack) -> None:
    outputs = stack.outputs()
    assert (outputs["target"], outputs["orchestrator"], outputs["platform"]) == ("raspberry-pi", "swarm", "linux/amd64")
    assert outputs["network"] == f"{stack.prefix}-overlay"
    assert outputs["daemon"]["container"] == f"{stack.prefix}-dind"
    assert "glrt-" not in json.dumps(outputs)


def test_only_the_daemon_is_privileged_and_nothing_is_published(stack: Stack) -> None:
    daemon, runner = stack.inspect(f"{stack.prefix}-dind"), stack.inspect(stack.runner_container())
    assert daemon["HostConfig"]["Privileged"] is True
    assert runner["HostConfig"]["Privileged"] is False
    for container in (daemon, runner):
        assert not any(container["NetworkSettings"]["Ports"].values())
        assert f"{stack.prefix}-overlay" in container["NetworkSettings"]["Networks"]
        assert "docker.sock" not in json.dumps(container["Mounts"])
    certificates = next(mount for mount in runner["Mounts"] if mount["Destination"] == "/certs/client")
    assert certificates["RW"] is False


def test_the_configuration_is_a_secret_that_only_root_may_read(stack: Stack) -> None:
    runner = stack.runner_container()
    assert stack.docker("exec", runner, "stat", "--format=%a %u", "/etc/gitlab-runner/config.toml") == "400 0"
    assert stack.token() in stack.config_toml()
    shown = json.dumps(service(stack)) + json.dumps(stack.inspect(runner)) + stack.pulumi("stack", "export").stdout
    assert stack.token() not in shown


def test_the_service_is_limited_and_stays_on_the_node_of_the_daemon(stack: Stack) -> None:
    task = service(stack)["Spec"]["TaskTemplate"]
    node = stack.docker("info", "--format", "{{.Swarm.NodeID}}")
    assert task["Placement"]["Constraints"] == [f"node.id=={node}"]
    assert stack.inspect(stack.runner_container())["HostConfig"]["Memory"] == 256 * 1024**2
    assert task["LogDriver"] == {"Name": "json-file", "Options": {"max-file": "3", "max-size": "10m"}}
    assert (task["ContainerSpec"]["StopSignal"], task["RestartPolicy"]["Condition"]) == ("SIGQUIT", "any")


def test_the_second_build_comes_from_the_cache(sandbox: Sandbox, project: GitLabProject) -> None:
    assert "CACHED" not in build(sandbox, project)
    warm = build(sandbox, project)
    assert warm.count("CACHED") == 3, warm


def test_a_new_configuration_rolls_out_without_a_lost_job(
    stack: Stack, sandbox: Sandbox, project: GitLabProject
) -> None:
    before, runner = secrets(stack), stack.runner_container()
    roll(stack, sandbox, project, {"runners": [stack.runner(limit=2)]})
    assert "limit = 2" in stack.config_toml()
    assert stack.runner_container() != runner
    assert len(secrets(stack)) == 1
    assert secrets(stack) != before
    assert len(sandbox.runners_of(stack.name)) == 1


def test_a_new_image_of_the_runner_rolls_out_without_a_lost_job(
    stack: Stack, sandbox: Sandbox, project: GitLabProject
) -> None:
    image = f"{local_image('runner').rpartition(':')[0]}:{stack.prefix}"
    stack.docker("tag", local_image("runner"), image)
    roll(stack, sandbox, project, {"runner_image": image})
    assert service(stack)["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] == image
    stack.expect_no_changes()


def test_an_image_that_does_not_run_is_rolled_back_and_the_old_settings_work_again(
    stack: Stack, sandbox: Sandbox, project: GitLabProject
) -> None:
    good = service(stack)["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]
    stack.configure(runner_image=local_image("python"), log_level="debug")
    output = stack.up(check=False)
    assert "rollback completed" in output, output
    stack.configure(runner_image=good)
    stack.up()
    stack.expect_no_changes()
    assert len(secrets(stack)) == 1
    build(sandbox, project)


def test_a_daemon_upgrade_lets_the_job_end_first_and_keeps_the_cache(
    stack: Stack, sandbox: Sandbox, project: GitLabProject
) -> None:
    old = stack.inspect(f"{stack.prefix}-dind")["Id"]
    image = f"{local_image('dind').rpartition(':')[0]}:{stack.prefix}"
    stack.docker("tag", local_image("dind"), image)
    roll(
        stack, sandbox, project, {"daemon": {"image": image}},
        meanwhile=lambda: stack.inspect(f"{stack.prefix}-dind")["Id"] == old,
    )  # fmt: skip
    assert stack.inspect(f"{stack.prefix}-dind")["Id"] != old
    warm = build(sandbox, project)
    assert warm.count("CACHED") == 3, warm
    stack.expect_no_changes()


def test_an_image_of_a_registry_is_taken_by_its_digest_and_stays_without_drift(
    stack: Stack, sandbox: Sandbox, project: GitLabProject
) -> None:
    registry = sandbox.described["registry"]
    name = f"{registry}/dindrunner/{unique('runner')}"
    for part in ("single", "index"):
        stack.docker("tag", local_image("runner"), f"{name}:{part}")
        stack.docker("push", "--quiet", f"{name}:{part}")
    publish_index(stack, f"{name}:index", f"{name}:single")
    stack.configure(runner_image=f"{name}:index")
    stack.up()
    assert service(stack)["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"].startswith(f"{name}@sha256:")
    stack.expect_no_changes()
    build(sandbox, project)


def test_after_a_reboot_the_runner_comes_back_and_the_daemon_can_be_started(
    stack: Stack, swarm_board: Board, sandbox: Sandbox, project: GitLabProject
) -> None:
    swarm_board.restart_engine()
    # The engine tries once, and the network of the swarm is not always there by then (docs/use/raspberry-pi.md).
    stack.docker("start", f"{stack.prefix}-dind")
    warm = build(sandbox, project)
    assert warm.count("CACHED") == 3, warm
    stack.expect_no_changes()


def test_the_same_stack_without_a_swarm_keeps_the_runner_and_the_cache(
    stack: Stack, sandbox: Sandbox, project: GitLabProject
) -> None:
    registered = [runner.id for runner in sandbox.runners_of(stack.name)]
    roll(stack, sandbox, project, {"orchestrator": "docker"})
    stack.expect_no_changes()
    assert build(sandbox, project).count("CACHED") == 3
    roll(stack, sandbox, project, {"orchestrator": "swarm"})
    stack.expect_no_changes()
    assert build(sandbox, project).count("CACHED") == 3
    assert [runner.id for runner in sandbox.runners_of(stack.name)] == registered


def test_destroy_lets_the_job_end_and_leaves_nothing_in_the_swarm_nor_in_gitlab(
    stack: Stack, sandbox: Sandbox, project: GitLabProject
) -> None:
    job_id, finish = start_long_job(sandbox, project)
    destroy = start_beside_job(stack, "destroy", "--yes", "--skip-preview")
    end_long_job(stack, job_id)
    finish_command(destroy)
    finish()
    assert stack.leftovers() == []
    assert sandbox.runners_of(stack.name) == []


def test_the_components_alone_make_a_service_in_one_call_and_leave_nothing(
    swarm_board: Board, environment: Mapping[str, str], sandbox: Sandbox, tmp_path: Path
) -> None:
    node = swarm_board.docker("info", "--format", "{{.Swarm.NodeID}}")
    by_socket = {**environment, "DOCKER_HOST": swarm_board.local_url}
    made = program_of_whole("swarm.SwarmRunners", tmp_path, by_socket, sandbox, node=f"node.id == {node}")
    with made.up({}):
        outputs, prefix = made.outputs(), f"whole-{made.name}-ci"
        (registered,) = sandbox.runners_of(made.name)
        assert outputs == {
            "network_name": f"{prefix}-overlay",
            "service_name": f"{prefix}-runner",
            "endpoint": "tcp://docker:2376",
            "daemon_container_name": f"{prefix}-dind",
            "volume_name": f"{prefix}-dind-data",
            "runner_ids": {"docker": str(registered.id)},
        }
        of_it = ("--filter", f"name={prefix}-runner", "--format", "{{.Replicas}}")
        assert swarm_board.docker("service", "ls", *of_it) == "1/1"
        assert swarm_board.inspect(f"{prefix}-dind")["State"]["Health"]["Status"] == "healthy"
        made.pulumi("preview", "--expect-no-changes")
    assert Stack(tmp_path, made.name, {}, host=swarm_board.local_url).leftovers() == []
    assert sandbox.runners_of(made.name) == []


def secrets(stack: Stack) -> list[str]:
    """The stack's secrets in the swarm."""
    label = f"label=dindrunner.stack={stack.name}"
    return stack.docker("secret", "ls", "--filter", label, "--format", "{{.Name}}").splitlines()


def roll(
    stack: Stack,
    sandbox: Sandbox,
    project: GitLabProject,
    settings: dict[str, Any],
    meanwhile: Callable[[], bool] = lambda: True,
) -> None:
    """Change the settings while a job runs, which has to end well, and before anything is replaced."""
    job_id, finish = start_long_job(sandbox, project)
    stack.configure(**settings)
    up = start_beside_job(stack, "up", "--yes", "--skip-preview")
    assert meanwhile(), "it was replaced under the running job"
    end_long_job(stack, job_id)
    finish_command(up)
    finish()


def publish_index(stack: Stack, index: str, image: str) -> None:
    """Put an index with one image into the registry, as most official images are published."""
    stack.docker("manifest", "create", "--insecure", index, image)
    stack.docker("manifest", "push", "--insecure", "--purge", index)
    stack.docker("rmi", index, image)
