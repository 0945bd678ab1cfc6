"""The GitLab plugin under the real Pulumi engine, with the official SDK, against a fake GitLab."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import pulumi_gitlab
import pytest
from gitlab import Gitlab
from pulumi import automation
from pulumi.automation._stack import ImportResource

from lab.tests.fake_gitlab import TOKEN, FakeGitLab, Request, running

ROOT = Path(__file__).resolve().parents[2]
IN_THE_WEB_PAGE = {
    "runner_type": "project_type",
    "project_id": 7,
    "description": "build",
    "tag_list": ["docker", "arm"],
    "maintenance_note": "app/dev",
}
"""A runner that somebody made without Pulumi."""

pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@dataclass(kw_only=True)
class World:
    """One stack of its own with at most one runner; `arguments` is what its program asks for."""

    directory: Path
    base_url: str
    token: str = TOKEN
    project: str = "demo/app"
    arguments: dict[str, Any] = field(
        default_factory=lambda: {
            "runner_type": "project_type",
            "project_id": 7,
            "description": "build",
            "tag_lists": ["docker", "arm"],
            "maintenance_note": "app/dev",
        }
    )
    options: pulumi.ResourceOptions = field(default_factory=pulumi.ResourceOptions)
    outputs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.plugin = self.directory / "home/plugins/resource-gitlab-v10.4.0/pulumi-resource-gitlab"
        self.plugin.parent.mkdir(parents=True)
        command = f'exec {sys.executable} -m lab.plugins.gitlab "$@"'
        self.plugin.write_text(f"#!/bin/sh\nexport PYTHONPATH={ROOT}\n{command}\n")
        self.plugin.chmod(self.plugin.stat().st_mode | stat.S_IXUSR)
        for name in ("state", "work"):
            (self.directory / name).mkdir(parents=True)
        self.stack = automation.create_stack(
            "test",
            project_name="plugin",
            program=self.program,
            opts=automation.LocalWorkspaceOptions(
                work_dir=str(self.directory / "work"),
                pulumi_home=str(self.directory / "home"),
                project_settings=automation.ProjectSettings("plugin", "python"),
                env_vars={
                    "PATH": f"{pulumi_directory()}{os.pathsep}{os.environ['PATH']}",
                    "PULUMI_BACKEND_URL": f"file://{self.directory}/state",
                    "PULUMI_CONFIG_PASSPHRASE": "sandbox",
                    "PULUMI_SKIP_UPDATE_CHECK": "true",
                    "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
                },
            ),
        )

    def program(self) -> None:
        provider = pulumi_gitlab.Provider("gitlab", base_url=self.base_url, token=self.token)
        options = pulumi.ResourceOptions.merge(pulumi.ResourceOptions(provider=provider), self.options)
        runner = pulumi_gitlab.UserRunner("runner", **self.arguments, opts=options)
        lookup = pulumi.InvokeOptions(provider=provider)
        project = pulumi_gitlab.get_project_output(path_with_namespace=self.project, opts=lookup)
        group = pulumi_gitlab.get_group_output(full_path="demo", opts=lookup)
        for name, value in {"id": runner.id, "token": runner.token, "tags": runner.tag_lists}.items():
            pulumi.export(name, value)
        pulumi.export("project", project.id.apply(int))
        pulumi.export("group", group.group_id)

    def up(self) -> dict[str, int]:
        """Runs `pulumi up`; how many resources of the provider's changed in which way."""
        done = self.stack.up(color="never")
        self.outputs = {name: output.value for name, output in done.outputs.items()}
        return changes(done.summary.resource_changes)

    def failing_up(self) -> str:
        with pytest.raises(automation.CommandError) as failed:
            self.stack.up(color="never")
        return str(failed.value)

    @property
    def runner(self) -> dict[str, Any]:
        """The runner as it lies in the state."""
        deployment = self.stack.export_stack().deployment
        assert deployment is not None
        return next(each for each in deployment["resources"] if each["type"] == "gitlab:index/userRunner:UserRunner")

    @property
    def state(self) -> str:
        """Everything that lies in the state's files."""
        files = (self.directory / "state").rglob("*.json*")
        return "\n".join(path.read_text() for path in files if path.is_file())


@dataclass(kw_only=True)
class FakeWorld(World):
    """One whose GitLab is a fake."""

    gitlab: FakeGitLab


@dataclass(kw_only=True)
class ProjectWorld(FakeWorld):
    """One whose program makes a variable of a project and a file in it. arguments: more of the variable's."""

    arguments: dict[str, Any] = field(default_factory=dict)
    value: str = "first-value"
    content: str = "one\n"

    def program(self) -> None:
        provider = pulumi_gitlab.Provider("gitlab", base_url=self.base_url, token=self.token)
        opts = pulumi.ResourceOptions(provider=provider)
        value = pulumi.Output.secret(self.value)
        pulumi_gitlab.ProjectVariable(
            "variable", project="demo/app", key="KEY", value=value, **self.arguments, opts=opts
        )
        file: dict[str, Any] = {"branch": "main", "file_path": "a/b.yml", "encoding": "text", "commit_message": "Made"}
        pulumi_gitlab.RepositoryFile("file", project="demo/app", content=self.content, **file, opts=opts)


def changes(found: Any) -> dict[str, int]:
    return {str(getattr(kind, "value", kind)): count for kind, count in (found or {}).items() if kind != "same"}


def command(pid: int) -> bytes:
    """The command line of a process; nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def children(pid: int) -> list[int]:
    """The processes that a process has started, without those that have ended."""
    found = [int(each) for path in Path(f"/proc/{pid}/task").glob("*/children") for each in path.read_text().split()]
    return [each for each in found if command(each)]


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, f"waited 10 s for {what}"
        time.sleep(0.05)


def pulumi_directory() -> Path:
    """Where the Pulumi CLI is: that of the toolchain, or one on PATH."""
    ours = ROOT / ".toolchain/bin/pulumi"
    found = str(ours) if ours.exists() else shutil.which("pulumi")
    if found is None:
        missing = "there is no Pulumi CLI: run python3 -m toolchain install"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return Path(found).parent


@pytest.fixture(autouse=True)
def _settings_of_the_user_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITLAB_TOKEN", "GITLAB_BASE_URL", "GITLAB_EARLY_AUTH_CHECK", "PULUMI_CONFIG_PASSPHRASE_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[FakeWorld]:
    with running() as gitlab:
        yield FakeWorld(directory=tmp_path, base_url=f"{gitlab.url}/api/v4/", gitlab=gitlab)
    # The SDK's coroutines of failed programs complain when they are collected: let it be here, where it is filtered.
    gc.collect()


@pytest.fixture
def sandbox_world(tmp_path: Path) -> Iterator[World]:
    """A stack whose GitLab is the sandbox, on a free port of 127.0.0.1, without a registry."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    info, state = tmp_path / "sandbox.json", tmp_path / "sandbox"
    command = [sys.executable, "-m", "lab"]
    places = ["--state", str(state), "--info", str(info)]
    options = ["--host", "127.0.0.1", "--port", port, "--registry-port", "0"]
    subprocess.run([*command, "up", *places, *options], cwd=ROOT, check=True, timeout=120)
    try:
        described = json.loads(info.read_text())
        token = Path(described["token_file"]).read_text().strip()
        yield World(directory=tmp_path / "stack", base_url=described["url"], token=token, project=described["project"])
    finally:
        subprocess.run([*command, "down", *places], cwd=ROOT, check=True, timeout=60)


def test_a_runner_is_made_left_alone_updated_in_place_and_destroyed(world: FakeWorld) -> None:
    assert world.up() == {"create": 3}
    assert world.outputs == {
        "id": "41",
        "token": "glrt-secret-41",
        "tags": ["docker", "arm"],
        "project": 7,
        "group": 3,
    }

    world.gitlab.requests.clear()
    world.arguments["tag_lists"] = ["arm", "docker"]
    assert world.up() == {}
    assert changes(world.stack.refresh(color="never").summary.resource_changes) == {}
    assert world.gitlab.sent("POST") + world.gitlab.sent("PUT") == []

    world.arguments |= {"description": "other", "maximum_timeout": 900, "paused": True}
    assert world.up() == {"update": 1}
    assert world.gitlab.runners[41]["description"] == "other"
    assert world.outputs["token"] == "glrt-secret-41"

    for name in ("description", "maximum_timeout", "tag_lists"):
        del world.arguments[name]
    assert world.up() == {}
    assert world.gitlab.runners[41]["maximum_timeout"] == 900

    world.stack.destroy(color="never")
    assert world.gitlab.runners == {}


def test_a_runner_is_imported_from_the_command_line_with_all_its_inputs(world: FakeWorld) -> None:
    world.gitlab.work(Request("POST", "/api/v4/user/runners", f"Bearer {TOKEN}", IN_THE_WEB_PAGE))
    world.stack.set_config("gitlab:baseUrl", automation.ConfigValue(world.gitlab.url))
    world.stack.set_config("gitlab:token", automation.ConfigValue(TOKEN, secret=True))
    runner = ImportResource(type="gitlab:index/userRunner:UserRunner", name="runner", id="41")
    world.stack.import_resources(resources=[runner], generate_code=False, protect=False)
    assert world.runner["inputs"] == {
        "runnerType": "project_type",
        "projectId": 7,
        "accessLevel": "not_protected",
        "description": "build",
        "locked": False,
        "maintenanceNote": "app/dev",
        "paused": False,
        "tagLists": ["arm", "docker"],
        "untagged": True,
    }


def test_a_variable_and_a_file_are_made_left_alone_changed_and_destroyed(tmp_path: Path) -> None:
    with running() as gitlab:
        world = ProjectWorld(directory=tmp_path, base_url=f"{gitlab.url}/api/v4/", gitlab=gitlab)
        assert world.up() == {"create": 4}
        assert (gitlab.variables["KEY", "*"]["value"], gitlab.files["main", "a/b.yml"]["size"]) == ("first-value", 4)
        assert world.up() == changes(world.stack.refresh(color="never").summary.resource_changes) == {}

        world.value, world.content = "second-value", "one and two\n"
        assert world.up() == {"update": 2}
        assert (gitlab.variables["KEY", "*"]["value"], gitlab.files["main", "a/b.yml"]["size"]) == ("second-value", 12)

        # GitLab would not have two of one name and scope.
        world.arguments["environment_scope"] = "prod"
        assert world.up() == {"replace": 1}
        assert list(gitlab.variables) == [("KEY", "prod")]
        assert world.up() == changes(world.stack.refresh(color="never").summary.resource_changes) == {}
        for value in ("first-value", "second-value"):
            assert value not in world.state

        world.stack.destroy(color="never")
        assert gitlab.variables == gitlab.files == {}
    gc.collect()


def test_the_token_is_secret_in_the_preview_and_in_the_state(world: FakeWorld) -> None:
    preview = world.stack.preview(color="never", diff=True).stdout
    done = world.stack.up(color="never", show_secrets=False)
    up, outputs = done.stdout, done.outputs
    assert "[secret]" in preview
    assert "token" in preview
    assert "[secret]" in up
    for secret in (TOKEN, "glrt-secret-41"):
        assert secret not in preview
        assert secret not in up
        assert secret not in world.state
    assert outputs["token"].secret


def test_no_second_runner_is_made_when_the_first_one_could_not_be_read_after_its_creation(world: FakeWorld) -> None:
    world.gitlab.fail("GET", "/api/v4/runners/41", 400)
    assert (
        "the runner 'build' of project 7 has been created (id 41), but could not read runner 41" in world.failing_up()
    )
    assert world.runner["id"] == "41"
    assert world.up() == {"update": 1}
    assert list(world.gitlab.runners) == [41]
    assert world.outputs["token"] == "glrt-secret-41"


def test_an_engine_that_is_killed_during_a_creation_leaves_neither_runner_nor_plugin(world: FakeWorld) -> None:
    world.gitlab.be_slow("POST", "/api/v4/user/runners", 2.0)
    with ThreadPoolExecutor(1) as pool:
        up = pool.submit(world.failing_up)
        wait_for("the creation", lambda: 41 in world.gitlab.runners)
        [engine] = [pid for pid in children(os.getpid()) if b"pulumi" in command(pid).partition(b"\0")[0]]
        [plugin] = [pid for pid in children(engine) if b"lab.plugins.gitlab" in command(pid)]
        os.kill(engine, signal.SIGKILL)
        up.result()
    wait_for("the deletion of the runner", lambda: world.gitlab.runners == {})
    wait_for(f"the end of the plugin {plugin}", lambda: command(plugin) == b"")

    world.stack.cancel()
    again = world.stack.up(color="never")
    assert "runner, interrupted while creating" in again.stdout
    assert list(world.gitlab.runners) == [42]


def test_the_sandbox_serves_a_runner_from_its_creation_to_its_end(sandbox_world: World) -> None:
    world = sandbox_world
    client = Gitlab(world.base_url, private_token=world.token)
    world.arguments["project_id"] = client.projects.get(world.project).id
    assert world.up() == {"create": 3}
    runner = client.runners.get(world.outputs["id"])
    assert world.outputs["project"] == runner.projects[0]["id"]
    client.http_post("/runners/verify", post_data={"token": world.outputs["token"]})

    assert world.up() == {}
    assert changes(world.stack.refresh(color="never").summary.resource_changes) == {}

    runner.description = "by hand"
    runner.save()
    assert changes(world.stack.refresh(color="never").summary.resource_changes) == {"update": 1}
    world.arguments |= {"paused": True, "maximum_timeout": 900, "access_level": "ref_protected"}
    assert world.up() == {"update": 1}
    runner = client.runners.get(runner.id)
    assert (runner.description, runner.paused, runner.maximum_timeout) == ("build", True, 900)

    world.arguments |= {"runner_type": "group_type", "group_id": world.outputs["group"]}
    del world.arguments["project_id"]
    assert world.up() == {"replace": 1}
    assert [each.id for each in client.runners_all.list()] == [int(world.outputs["id"])] != [runner.id]

    client.runners.get(world.outputs["id"]).delete()
    world.stack.refresh(color="never")
    assert world.up() == {"create": 1}
    world.stack.destroy(color="never")
    assert client.runners_all.list() == []


def test_the_plugin_says_its_port_and_ends_with_its_engine(world: FakeWorld) -> None:
    # The shell plays the engine: it starts the plugin and is killed.
    script = f"{world.plugin} 127.0.0.1:1 & echo $!; wait"
    shell = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)
    assert shell.stdout is not None
    pid, port = int(shell.stdout.readline()), int(shell.stdout.readline())
    shell.kill()
    shell.wait()
    assert port > 0
    wait_for(f"the end of the plugin {pid}", lambda: command(pid) == b"")
