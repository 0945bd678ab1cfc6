"""The components as somebody else uses them: installed from a wheel, in a program of a directory of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from gitlab.v4.objects import Project as GitLabProject

from lab.programs import LANGUAGE_YAML
from tests.engine.jobs import project_files
from tests.engine.programs import Program, new_program
from tests.engine.world import ROOT, Sandbox, Stack, docker, inspect, run
from toolchain.gobuild import build
from toolchain.shared import make_say

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def example(language: str, start: str = "") -> str:
    """The first example of a language on the page that begins like this."""
    texts = FENCE.findall((ROOT / "docs/use/components.md").read_text())
    return str(next(text for name, text in texts if name == language and text.startswith(start)))


@pytest.fixture(scope="module", name="site")
def _site(environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what `pip install` of the wheel puts there."""
    directory = tmp_path_factory.mktemp("package")
    # Of a copy, because a build leaves a folder of its own beside what it builds.
    source = directory / "source"
    shutil.copytree(ROOT / "components", source / "components", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
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
    files = {"Pulumi.yaml": "name: stranger\nruntime: python\n", "__main__.py": example("python")}
    made = new_program(tmp_path_factory.mktemp("stranger"), files, {**environment, "PYTHONPATH": str(site)}, sandbox)
    settings = {"gitlab_url": sandbox.described["url"], "project": project.path_with_namespace}
    if images := sandbox.described["images"]:
        settings |= {
            "runner_image": images["runner"],
            "daemon_image": images["daemon"],
            "insecure_registries[0]": f"http://{sandbox.described['registry']}",
            "images_of_jobs.image": images["job"],
            "images_of_jobs.helper_image": images["helper"],
        }
    with made.up(settings):
        yield made


def test_the_page_shows_fifteen_lines_that_make_a_runner() -> None:
    code = [line for line in example("python").splitlines() if line and not line.startswith(("import", "from", '"""'))]
    assert len(code) <= 15


def test_the_program_of_the_page_makes_a_runner_that_builds(
    program: Program, project: GitLabProject, sandbox: Sandbox
) -> None:
    assert program.outputs() == {"endpoint": "tcp://docker:2376"}
    (runner,) = sandbox.runners_of(program.name)
    assert runner.description == f"{program.name} docker"
    trace = sandbox.finish(project, sandbox.run_pipeline(project, {"WHAT": "build"}), "build")
    assert "42" in trace


def test_the_installed_package_tells_types_to_those_who_check_them(site: Path) -> None:
    assert (site / "dindrunner/py.typed").exists()


def test_the_installed_package_has_its_license(site: Path) -> None:
    (license_file,) = site.glob("dindrunner-*.dist-info/licenses/LICENSE")
    assert license_file.read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert "License-Expression: Apache-2.0" in (license_file.parents[1] / "METADATA").read_text()


def test_what_was_given_is_recorded_and_tokens_only_as_secrets(program: Program) -> None:
    exported = json.loads(program.pulumi("stack", "export"))["deployment"]["resources"]
    inputs = {each["type"]: each.get("inputs", {}) for each in exported if each["type"].startswith("dindrunner:")}
    assert inputs["dindrunner:index:DockerRunners"]["scope"] == "project"
    assert "ciphertext" in inputs["dindrunner:docker:RunnerContainer"]["config_toml"]


def test_a_second_up_of_it_changes_nothing(program: Program) -> None:
    program.pulumi("preview", "--expect-no-changes")


# From another Pulumi language


@pytest.fixture(scope="module", name="elsewhere")
def _elsewhere(site: Path, cluster_environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which the package is installed, with the language host that official releases bring along."""
    host = build(LANGUAGE_YAML, say=make_say()).parent
    path = f"{host}{os.pathsep}{cluster_environment['PATH']}"
    return {**cluster_environment, "PATH": path, "PYTHONPATH": str(site), "PULUMI_CONFIG_PASSPHRASE": "stranger"}


def test_the_engine_reads_the_schema_of_the_wholes(elsewhere: Mapping[str, str], site: Path, tmp_path: Path) -> None:
    backend = {"PULUMI_BACKEND_URL": f"file://{tmp_path}"}
    plugin = str(site / "dindrunner/provider")
    schema = json.loads(run("pulumi", "package", "get-schema", plugin, env={**elsewhere, **backend}).stdout)
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


def test_a_program_in_pulumi_yaml_makes_a_runner(
    elsewhere: Mapping[str, str], sandbox: Sandbox, project: GitLabProject, tmp_path: Path
) -> None:
    made = new_program(tmp_path, {"Pulumi.yaml": example("yaml")}, elsewhere, sandbox)
    run("sh", "-c", example("sh", "pulumi package add"), cwd=tmp_path, env=made.environment)
    settings = {"gitlab_url": sandbox.described["url"], "project": project.path_with_namespace}
    if images := sandbox.described["images"]:
        settings |= {f"images.{role}": images[role] for role in ("runner", "daemon", "job", "helper")}
    with made.up(settings):
        (registered,) = sandbox.runners_of(made.name)
        assert made.outputs() == {"endpoint": "tcp://docker:2376", "runners": {"docker": str(registered.id)}}
        container = inspect(f"my-runners-{made.name}-ci-dind")
        assert container["HostConfig"]["Memory"] == 1024 * 1024**2
        config = docker("exec", f"my-runners-{made.name}-ci-runner", "cat", "/etc/gitlab-runner/config.toml")
        assert "limit = 1\n" in config
        made.pulumi("preview", "--expect-no-changes")
    assert Stack(tmp_path, made.name, {}).leftovers() == []
    assert sandbox.runners_of(made.name) == []
