"""A stack on a board, by SSH and from the board itself, from the first `up` to the last trace of it, with real jobs."""

from __future__ import annotations

import json
import os
import re
import signal
import tomllib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from gitlab.v4.objects import Project as GitLabProject

from components.config_toml import render
from components.defaults import DAEMON_IMAGE, RUNNER_IMAGE
from stacks.raspberry_pi.board import fitted
from stacks.raspberry_pi.platforms import Platform, helper_image
from stacks.raspberry_pi.questions import ask_board
from stacks.raspberry_pi.settings import RaspberryPiSettings
from stacks.targets import parse
from tests.engine.board import Board
from tests.engine.jobs import end_long_job, project_files, start_long_job
from tests.engine.world import ROOT, Sandbox, Stack, docker, run, unique, wait_for

MIB = 1024**2
LOGS = {"Type": "json-file", "Config": {"max-file": "3", "max-size": "10m"}}
KINDS = """\
plain:
  tags: [{name}-plain]
  script:
    - test -z "$DOCKER_HOST" && test ! -e /certs && test ! -e /var/run/docker.sock && echo no docker
  rules:
    - if: $WHAT == "kinds"
docker:
  tags: [{name}]
  script:
    - docker ps --format '{{{{.Image}}}}'
  rules:
    - if: $WHAT == "kinds"
host:
  tags: [{name}-host]
  script:
    - docker ps --format '{{{{.Names}}}}'
  rules:
    - if: $WHAT == "kinds"
"""


@pytest.fixture(scope="module")
def layers(board: Board) -> Path:
    """A directory on another disk of the board."""
    disk = board.directory / "ssd"
    disk.mkdir()
    board.inside("mount", "-t", "tmpfs", "-o", "size=4g", "tmpfs", str(disk))
    board.inside("mkdir", str(disk / "layers"))
    return disk / "layers"


@pytest.fixture(scope="module")
def prepared(board: Board, new_stack: Callable[..., Stack]) -> Stack:
    """The stack that the tests of this module share, before it is up: its name is needed first."""
    return new_stack(board)


@pytest.fixture(scope="module")
def project(prepared: Stack, sandbox: Sandbox) -> GitLabProject:
    """The project that the stack's runners are for."""
    files = project_files(prepared.name)
    return sandbox.project({**files, ".gitlab-ci.yml": files[".gitlab-ci.yml"] + KINDS.format(name=prepared.name)})


@pytest.fixture(scope="module")
def settings(prepared: Stack, project: GitLabProject, layers: Path) -> dict[str, Any]:
    """The stack's settings: three runners, limits, the layers on the other disk."""
    name = prepared.name
    return {
        "gitlab": {"url": "sandbox", "scope": "project", "project": project.path_with_namespace},
        "daemon": {"cpus": 1.5, "memory_mib": 1024, "data_path": str(layers)},
        "concurrent": 3,
        "runner_cpus": 0.5,
        "runners": [
            {"name": "plain", "kind": "plain", "tags": [f"{name}-plain"], "access_level": "not_protected"},
            prepared.runner(memory_mib=96),
            {"name": "host", "kind": "host-docker", "tags": [f"{name}-host"]},
        ],
    }


@pytest.fixture(scope="module")
def stack(prepared: Stack, settings: dict[str, Any]) -> Stack:
    """The stack that the tests of this module share, up."""
    prepared.configure(**settings)
    prepared.up()
    return prepared


def test_a_second_up_changes_nothing_and_a_refresh_finds_no_drift(stack: Stack) -> None:
    shown = stack.up()
    assert "unchanged" in shown
    assert not any(word in shown for word in ("created", "updated", "replaced"))
    stack.expect_no_changes()


def test_the_stack_is_on_the_board_and_nowhere_else(stack: Stack) -> None:
    roles = ["", "-dind", "-dind-certs-ca", "-dind-certs-client", "-runner", "-runner-config", "-runner-config"]
    expected = [*(stack.prefix + role for role in roles), stack.outputs()["daemon"]["volume"]]
    assert stack.leftovers() == sorted(expected)
    for kind in ("container", "volume", "network"):
        every = ["--all"] if kind == "container" else []
        assert docker(kind, "ls", *every, "--quiet", "--filter", f"label=dindrunner.stack={stack.name}") == ""


def test_the_outputs_describe_the_stack_without_a_secret(stack: Stack) -> None:
    outputs = stack.outputs()
    assert (outputs["target"], outputs["platform"], outputs["orchestrator"]) == (
        "raspberry-pi",
        "linux/amd64",
        "docker",
    )
    assert outputs["network"] == stack.prefix
    volume = outputs["daemon"]["volume"]
    assert re.fullmatch(f"{stack.prefix}-dind-data-[0-9a-f]{{6}}", volume), "another disk is another volume"
    assert outputs["daemon"] == {
        "endpoint": "tcp://docker:2376",
        "transport": "tls",
        "container": f"{stack.prefix}-dind",
        "volume": volume,
    }
    assert {name: runner["kind"] for name, runner in outputs["runners"].items()} == {
        "plain": "plain",
        "docker": "dind",
        "host": "host-docker",
    }
    assert "glrt-" not in json.dumps(outputs)


def test_each_kind_is_a_runner_of_its_own_in_gitlab(stack: Stack, sandbox: Sandbox) -> None:
    known = {name: sandbox.client.runners.get(runner["id"]) for name, runner in stack.outputs()["runners"].items()}
    assert len({runner.id for runner in known.values()}) == 3 == len(sandbox.runners_of(stack.name))
    assert {name: runner.tag_list for name, runner in known.items()} == {
        "plain": [f"{stack.name}-plain"],
        "docker": [stack.name],
        "host": [f"{stack.name}-host"],
    }
    assert {name: runner.access_level for name, runner in known.items()} == {
        "plain": "not_protected",
        "docker": "ref_protected",
        "host": "ref_protected",
    }
    for runner in known.values():
        assert (runner.runner_type, runner.locked, runner.run_untagged) == ("project_type", True, False)


def test_one_configuration_has_all_kinds_with_their_limits(stack: Stack) -> None:
    config = tomllib.loads(stack.config_toml())
    assert config["concurrent"] == 3
    runners = {runner["name"]: runner for runner in config["runners"]}
    assert [runner["limit"] for runner in runners.values()] == [0, 1, 0]
    assert len({runner["token"] for runner in runners.values()}) == 3
    tables = {name: runner["docker"] for name, runner in runners.items()}
    assert {name: table["pull_policy"] for name, table in tables.items()} == dict.fromkeys(tables, "if-not-present")
    assert {name: table["privileged"] for name, table in tables.items()} == dict.fromkeys(tables, False)
    limits = {name: [table[key] for key in ("cpus", "memory")] for name, table in tables.items()}
    # A third of the daemon each, where nothing else is said.
    assert limits == {"plain": ["0.5", "341m"], "docker": ["0.5", "96m"], "host": ["0.5", "341m"]}
    assert limits == {name: [table[f"service_{key}"] for key in ("cpus", "memory")] for name, table in tables.items()}


def test_jobs_of_each_kind_end_well_on_the_runner_with_their_tag(
    stack: Stack, sandbox: Sandbox, project: GitLabProject
) -> None:
    running = sandbox.run_pipeline(project, {"WHAT": "kinds"})
    traces = {name: sandbox.finish(project, running, name) for name in ("plain", "docker", "host")}
    for name, runner in stack.outputs()["runners"].items():
        assert sandbox.job(project, running, name).runner["id"] == int(runner["id"])
    assert "no docker" in traces["plain"]
    assert f"{stack.prefix}-dind" in traces["host"]
    assert f"{stack.prefix}-dind" not in traces["docker"]
    stack.remove_job_volumes("host")


def build(sandbox: Sandbox, project: GitLabProject) -> str:
    """The log of a job that builds the sample image."""
    return sandbox.finish(project, sandbox.run_pipeline(project, {"WHAT": "build"}), "build")


def test_the_second_build_comes_from_the_cache(sandbox: Sandbox, project: GitLabProject) -> None:
    assert "CACHED" not in build(sandbox, project)
    warm = build(sandbox, project)
    assert warm.count("CACHED") == 3, warm


def test_daemon_runner_and_jobs_are_limited_and_their_logs_rotated(
    stack: Stack, sandbox: Sandbox, project: GitLabProject
) -> None:
    job_id, finish = start_long_job(sandbox, project)
    containers = [stack.inspect(f"{stack.prefix}-{role}") for role in ("dind", "runner")] + [
        job_container(stack, job_id)
    ]
    end_long_job(stack, job_id)
    finish()
    assert [limits(container) for container in containers] == [
        (1.5, 1024 * MIB),
        (0.5, 256 * MIB),
        (0.5, 96 * MIB),
    ]
    assert [container["HostConfig"]["LogConfig"] for container in containers] == [LOGS] * 3


def job_container(stack: Stack, job_id: int) -> Any:
    """`docker inspect`, in the daemon, of the container of a job that runs."""
    inside = ("exec", f"{stack.prefix}-dind", "docker")
    label = ("--filter", f"label=com.gitlab.gitlab-runner.job.id={job_id}")
    kind = ("--filter", "label=com.gitlab.gitlab-runner.type=build")
    (found,) = stack.docker(*inside, "ps", "--quiet", *label, *kind).split()
    return json.loads(stack.docker(*inside, "inspect", found))[0]


def limits(container: Any) -> tuple[float, int]:
    """CPUs and bytes."""
    return container["HostConfig"]["NanoCpus"] / 1e9, container["HostConfig"]["Memory"]


def test_destroy_leaves_nothing_but_the_layers_on_the_other_disk(
    stack: Stack, board: Board, layers: Path, sandbox: Sandbox
) -> None:
    stack.pulumi("destroy", "--yes", "--skip-preview")
    assert stack.leftovers() == []
    assert sandbox.runners_of(stack.name) == []
    assert "overlay2" in board.inside("ls", str(layers)).split()


def test_on_the_board_itself_a_stack_needs_no_ssh_and_finds_the_layers(
    stack: Stack, board: Board, settings: dict[str, Any], sandbox: Sandbox, project: GitLabProject
) -> None:
    def pulumi(*arguments: str) -> str:
        environment = [f"{name}={value}" for name, value in stack.environment.items()]
        where = ("env", "--ignore-environment", f"--chdir={stack.directory}", *environment)
        return board.inside(*where, "pulumi", *arguments, "--stack", stack.name, "--non-interactive")

    stack.configure(**settings, docker_host="unix:///var/run/docker.sock", ssh={})
    pulumi("up", "--yes", "--skip-preview")
    pulumi("preview", "--expect-no-changes")
    pulumi("refresh", "--yes", "--skip-preview", "--expect-no-changes")
    warm = build(sandbox, project)
    assert warm.count("CACHED") == 3, warm
    pulumi("destroy", "--yes", "--skip-preview")
    assert stack.leftovers() == []


@pytest.mark.parametrize("orchestrator", ["docker", "swarm"])
def test_the_stack_file_for_a_pi_asks_for_arm64_images_alone(
    board: Board, new_stack: Callable[..., Stack], sandbox: Sandbox, orchestrator: str
) -> None:
    stack, text = pi_stack(new_stack(board), board, sandbox, orchestrator)
    pi = board.pretending(arch="arm64", cores=4, memory_mib=3794)
    with board.swarm() if orchestrator == "swarm" else nullcontext(), pi:
        shown, said = stack.pulumi("preview", "--json").stdout, stack.pulumi("preview").stdout
        wanted = parse(yaml.safe_load(text)["config"]["gitlab-dind-runners:settings"])
        assert isinstance(wanted, RaspberryPiSettings)
        wanted = fitted(wanted, ask_board(wanted))
    made = [step["newState"] for step in json.loads(shown)["steps"]]
    pulled = [one["inputs"] for one in made if one["type"] == "docker:index/remoteImage:RemoteImage"]
    assert {image["name"]: image["platform"] for image in pulled} == {
        DAEMON_IMAGE: "linux/arm64",
        RUNNER_IMAGE: "linux/arm64",
    }
    (daemon,) = (one["inputs"] for one in made if one["urn"].endswith("::dind-container"))
    assert (daemon["image"], daemon["cpus"], daemon["memory"]) == (DAEMON_IMAGE, "3.0", 2560)
    assert ("docker:index/service:Service" in {one["type"] for one in made}) is (orchestrator == "swarm")
    assert re.search(r'platform +: "linux/arm64"', said)
    assert re.search(rf'orchestrator *: "{orchestrator}"', said)
    assert "dindrunner.local" not in shown
    # The configuration itself is not known before GitLab has given the tokens.
    config = tomllib.loads(render(wanted.spec(), {"plain": "glrt-1", "docker": "glrt-2"}))
    assert config["concurrent"] == 2
    assert [runner["docker"]["helper_image"] for runner in config["runners"]] == [
        helper_image(RUNNER_IMAGE, Platform.ARM64)
    ] * 2


def pi_stack(made: Stack, board: Board, sandbox: Sandbox, orchestrator: str) -> tuple[Stack, str]:
    """A stack of the repository's own file for a Pi, but for addresses and orchestrator, and the text of that file."""
    text = (ROOT / "Pulumi.pi.yaml").read_text()
    ssh = json.dumps(board.ssh_settings())
    for words, instead in {
        "docker_host: ssh://pi@raspberrypi.local": f"docker_host: {board.url}\n    ssh: {ssh}",
        "url: https://gitlab.com": f"url: {sandbox.described['url']}",
        "project: my-group/my-project": f"project: {sandbox.described['project']}",
        "orchestrator: docker": f"orchestrator: {orchestrator}",
    }.items():
        assert text.count(words) == 1
        text = text.replace(words, instead)
    environment = {**made.environment, "PULUMI_CONFIG_PASSPHRASE": unique(), "GITLAB_TOKEN": sandbox.token}
    stack = replace(made, name=unique(), environment=environment)
    stack.pulumi("stack", "init")
    with (stack.directory / f"Pulumi.{stack.name}.yaml").open("a") as file:
        file.write(text)
    return stack, text


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_an_up_that_is_interrupted_once_gitlab_has_the_runner_ends_with_one_runner(
    board: Board, new_stack: Callable[..., Stack], sandbox: Sandbox, sent: signal.Signals
) -> None:
    stack = new_stack(board)
    update = stack.start("up", "--yes", "--skip-preview")
    (made,) = wait_for("the runner in GitLab and in the state", 120, lambda: recorded_runners(stack) or None)
    interrupt(update.pid, sent)
    output, _ = update.communicate(timeout=200)
    assert update.returncode != 0, output
    assert [runner.id for runner in sandbox.runners_of(stack.name)] == [int(made)]
    said = recover(stack)
    assert (f"removed the lock of process {update.pid}" in said) is (sent is signal.SIGKILL)
    for _ in range(3):
        stack.up()
        assert stack.outputs()["runners"]["docker"]["id"] == made
    stack.pulumi("refresh", "--yes", "--skip-preview", "--expect-no-changes")
    assert [runner.id for runner in sandbox.runners_of(stack.name)] == [int(made)]
    stack.pulumi("destroy", "--yes", "--skip-preview")
    assert stack.leftovers() == []
    assert sandbox.runners_of(stack.name) == []


def recorded_runners(stack: Stack) -> list[str]:
    """GitLab's IDs of the runners in the stack's state, read while an update writes it."""
    (file,) = (stack.directory / "state").rglob(f"stacks/*/{stack.name}.json")
    try:
        resources = json.loads(file.read_text())["checkpoint"]["latest"].get("resources") or []
    except ValueError:
        return []
    return [one["id"] for one in resources if one["type"] == "gitlab:index/userRunner:UserRunner" and "id" in one]


def interrupt(pid: int, sent: signal.Signals) -> None:
    """Send the signal to an update; one that kills goes to its plugins and their SSH connections as well."""
    processes = [pid, *(descendants(pid) if sent is signal.SIGKILL else [])]
    for process in processes:
        os.kill(process, sent)


def descendants(pid: int) -> list[int]:
    # Each thread has its own children.
    lists = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    children = [int(child) for found in lists for child in found]
    return children + [grandchild for child in children for grandchild in descendants(child)]


def recover(stack: Stack) -> str:
    """What the recovery says."""
    command = ("python", "-m", "toolchain", "recover", stack.name)
    return run(*command, cwd=stack.directory, env={**stack.environment, "PYTHONPATH": str(ROOT)}).stderr
