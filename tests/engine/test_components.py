"""The components as somebody else uses them: installed from a wheel, in a program of a directory of its own."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from gitlab.v4.objects import Project as GitLabProject

from lab.plugins.install import install_into
from tests.engine.jobs import project_files
from tests.engine.world import ROOT, STEP_SECONDS, Sandbox, docker, inspect, run, unique

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def example(language: str, start: str = "") -> str:
    """The first example of a language on the page that begins like this."""
    texts = FENCE.findall((ROOT / "docs/components.md").read_text())
    return str(next(text for name, text in texts if name == language and text.startswith(start)))


@dataclass(frozen=True)
class Program:
    """A program in an empty directory, and its stack."""

    directory: Path
    name: str
    environment: Mapping[str, str]

    def pulumi(self, *arguments: str) -> str:
        """What a pulumi command on the stack printed."""
        words = ("pulumi", *arguments, "--stack", self.name, "--non-interactive", "--color=never")
        return run(*words, cwd=self.directory, env=dict(self.environment), seconds=STEP_SECONDS).stdout


@pytest.fixture(scope="module", name="site")
def _site(environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what `pip install` of the wheel puts there."""
    directory = tmp_path_factory.mktemp("package")
    # Of a copy, because a build leaves a folder of its own beside what it builds.
    source = directory / "source"
    shutil.copytree(ROOT / "components", source / "components", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", source)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", str(directory), str(source), env=environment)
    (wheel,) = directory.glob("dindrunner-*.whl")
    run(*pip, "install", "--no-deps", "--target", str(directory / "site"), str(wheel), env=environment)
    return directory / "site"


@pytest.fixture(scope="module", name="project")
def _project(sandbox: Sandbox) -> GitLabProject:
    """The project that the runner is for."""
    return sandbox.project(project_files("docker"))


@pytest.fixture(scope="module", name="program")
def _program(
    site: Path,
    project: GitLabProject,
    environment: Mapping[str, str],
    sandbox: Sandbox,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Program]:
    """The program of the page, brought up."""
    directory = tmp_path_factory.mktemp("stranger")
    name = unique()
    (directory / "state").mkdir()
    (directory / "Pulumi.yaml").write_text("name: stranger\nruntime: python\n")
    (directory / "__main__.py").write_text(example("python"))
    private = {
        **environment,
        "PULUMI_BACKEND_URL": f"file://{directory}/state",
        "PULUMI_CONFIG_PASSPHRASE": "stranger",
        "PYTHONPATH": str(site),
        "GITLAB_TOKEN": sandbox.token,
        "GITLAB_BASE_URL": f"{sandbox.described['url']}/api/v4/",
    }
    made = Program(directory, name, private)
    made.pulumi("stack", "init")
    made.pulumi("config", "set", "gitlab_url", sandbox.described["url"])
    made.pulumi("config", "set", "project", project.path_with_namespace)
    images = sandbox.described["images"] or {}
    for key in ("runner", "daemon"):
        if key in images:
            made.pulumi("config", "set", f"{key}_image", images[key])
    if images:
        registry = f"http://{sandbox.described['registry']}"
        made.pulumi("config", "set", "--path", "insecure_registries[0]", registry)
        made.pulumi("config", "set", "--path", "images_of_jobs.image", images["job"])
        made.pulumi("config", "set", "--path", "images_of_jobs.helper_image", images["helper"])
    try:
        made.pulumi("up", "--yes", "--skip-preview")
        yield made
    finally:
        made.pulumi("destroy", "--yes", "--skip-preview")


def test_the_page_shows_fifteen_lines_that_make_a_runner() -> None:
    code = [line for line in example("python").splitlines() if line and not line.startswith(("import", "from", '"""'))]
    assert len(code) <= 15


def test_the_program_of_the_page_makes_a_runner_that_builds(
    program: Program, project: GitLabProject, sandbox: Sandbox
) -> None:
    assert json.loads(program.pulumi("stack", "output", "--json")) == {"endpoint": "tcp://docker:2376"}
    (runner,) = sandbox.runners_of(program.name)
    assert runner.description == f"{program.name} docker"
    trace = sandbox.finish(project, sandbox.run_pipeline(project, {"WHAT": "build"}), "build")
    assert "42" in trace


def test_the_installed_package_tells_types_to_those_who_check_them(site: Path) -> None:
    assert (site / "dindrunner/py.typed").exists()


def test_what_was_given_is_recorded_and_tokens_only_as_secrets(program: Program) -> None:
    exported = json.loads(program.pulumi("stack", "export"))["deployment"]["resources"]
    inputs = {each["type"]: each.get("inputs", {}) for each in exported if each["type"].startswith("dindrunner:")}
    assert inputs["dindrunner:index:DockerRunners"]["scope"] == "project"
    assert "ciphertext" in inputs["dindrunner:docker:RunnerContainer"]["config_toml"]


def test_a_second_up_of_it_changes_nothing(program: Program) -> None:
    program.pulumi("preview", "--expect-no-changes")


REMOTE = """\
import json
import os

import pulumi


class Runners(pulumi.ComponentResource):
    endpoint: pulumi.Output[str]
    runnerIds: pulumi.Output[dict]

    def __init__(self, name, inputs):
        outputs = {"endpoint": None, "runnerIds": None}
        super().__init__("dindrunner:index:DockerRunners", name, {**inputs, **outputs}, None, remote=True)


made = Runners("ci", json.loads(os.environ["INPUTS"]))
pulumi.export("endpoint", made.endpoint)
pulumi.export("runners", made.runnerIds)
"""
"""What a program in another language asks of the engine: a component by its type, with the schema's names."""


@pytest.fixture(scope="module", name="served")
def _served(site: Path, environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the engine finds the components as a plugin."""
    home = tmp_path_factory.mktemp("pulumi-home")
    install_into(home)
    version = re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[0]
    shutil.copytree(ROOT / "components/provider", home / "plugins" / f"resource-dindrunner-v{version}")
    return {**environment, "PULUMI_HOME": str(home), "PYTHONPATH": str(site), "PULUMI_CONFIG_PASSPHRASE": "stranger"}


def test_the_engine_reads_the_schema_of_the_wholes(served: Mapping[str, str], tmp_path: Path) -> None:
    backend = {"PULUMI_BACKEND_URL": f"file://{tmp_path}"}
    schema = json.loads(run("pulumi", "package", "get-schema", "dindrunner", env={**served, **backend}).stdout)
    assert set(schema["resources"]) == {
        "dindrunner:index:DockerRunners",
        "dindrunner:index:SwarmRunners",
        "dindrunner:index:KubernetesRunners",
    }
    assert {kind for kind, found in schema["types"].items() if "enum" in found} == {
        "dindrunner:index:Kind",
        "dindrunner:index:Scope",
        "dindrunner:index:Transport",
    }
    whole = schema["resources"]["dindrunner:index:DockerRunners"]
    assert set(whole["requiredInputs"]) == {"scope", "runners"}
    assert "endpoint" in whole["properties"]
    assert schema["types"]["dindrunner:index:RunnerArgs"]["required"] == ["name"]
    explained = [each for each in whole["inputProperties"].values() if each.get("description")]
    assert "Whether the layer cache outlives the component. Default: no." in [each["description"] for each in explained]


def test_a_program_that_has_the_component_served_gets_the_same_runner(
    served: Mapping[str, str], sandbox: Sandbox, project: GitLabProject, tmp_path: Path
) -> None:
    images = sandbox.described["images"] or {}
    runner: dict[str, object] = {"name": "docker", "tags": ["served"], "kind": "dind", "limit": 1}
    inputs: dict[str, object] = {
        "scope": "project",
        "project": project.path_with_namespace,
        "gitlabUrl": sandbox.described["url"],
        "runners": [runner],
        "daemonMemoryMib": 1024,
    }
    if images:
        runner.update(image=images["job"], helperImage=images["helper"])
        inputs.update(runnerImage=images["runner"], daemonImage=images["daemon"])
    (tmp_path / "state").mkdir()
    (tmp_path / "Pulumi.yaml").write_text("name: served\nruntime: python\n")
    (tmp_path / "__main__.py").write_text(REMOTE)
    name = unique()
    environment = {
        **served,
        "PULUMI_BACKEND_URL": f"file://{tmp_path}/state",
        "GITLAB_TOKEN": sandbox.token,
        "GITLAB_BASE_URL": f"{sandbox.described['url']}/api/v4/",
        "INPUTS": json.dumps(inputs),
    }
    made = Program(tmp_path, name, environment)
    made.pulumi("stack", "init")
    try:
        made.pulumi("up", "--yes", "--skip-preview")
        outputs = json.loads(made.pulumi("stack", "output", "--json"))
        (registered,) = sandbox.runners_of(name)
        assert outputs == {"endpoint": "tcp://docker:2376", "runners": {"docker": str(registered.id)}}
        container = inspect(f"served-{name}-ci-dind")
        assert container["HostConfig"]["Memory"] == 1024 * 1024**2
        config = docker("exec", f"served-{name}-ci-runner", "cat", "/etc/gitlab-runner/config.toml")
        assert "limit = 1\n" in config
        made.pulumi("preview", "--expect-no-changes")
    finally:
        made.pulumi("destroy", "--yes", "--skip-preview")
