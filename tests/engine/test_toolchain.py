"""What the toolchain put in place, for real: the Docker plugin's schema, a program, an interrupted install."""

from __future__ import annotations

import inspect
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi_docker
import pytest
from pulumi import _types as pulumi_types
from pulumi_docker import _inputs

from tests.engine.world import ROOT, docker, run, unique
from toolchain import pulumi
from toolchain.shared import cache_dir

# What docker.Image is made of: the official plugin adds it in code of its own, no other source has it.
_OF_IMAGE = {"CacheFrom", "DockerBuild", "Registry"}

Schema = dict[str, Any]


@pytest.fixture(scope="module")
def schema(environment: dict[str, str]) -> Schema:
    """The schema as the engine gets it from the installed plugin."""
    done = run("pulumi", "package", "get-schema", str(_docker_plugin()), env=environment)
    found: Schema = json.loads(done.stdout)
    return found


def _docker_plugin() -> Path:
    return pulumi.plugin_directory("docker", "5.2.0") / "pulumi-resource-docker"


def _by_name(entries: dict[str, Any]) -> dict[str, Any]:
    return {token.split(":")[-1]: entry for token, entry in entries.items()}


def _sdk_resources() -> dict[str, type]:
    modules = json.loads(inspect.getsource(pulumi_docker).split('resource_modules="""')[1].split('"""')[0])
    names = [name for module in modules for name in module["classes"].values()]
    return {name: getattr(pulumi_docker, name) for name in names if name != "Image"}


def test_the_plugin_serves_every_resource_of_the_sdk_but_image(schema: Schema) -> None:
    served = {token for token in schema["resources"] if not token.endswith(":Image")}
    assert served == {f"docker:index/{name[0].lower()}{name[1:]}:{name}" for name in _sdk_resources()}


@pytest.mark.parametrize("name", sorted(_sdk_resources()))
def test_a_resource_has_the_inputs_and_outputs_of_the_sdk(name: str, schema: Schema) -> None:
    resource = _by_name(schema["resources"])[name]
    inputs = pulumi_types.input_type_py_to_pulumi_names(getattr(pulumi_docker, f"{name}Args")).values()
    assert set(resource["inputProperties"]) == set(inputs)
    outputs = pulumi_types.resource_types(_sdk_resources()[name])
    assert set(outputs) <= set(resource["properties"])


@pytest.mark.parametrize("name", sorted(_sdk_resources()))
def test_a_resource_requires_the_inputs_that_the_sdk_requires(name: str, schema: Schema) -> None:
    args = getattr(pulumi_docker, f"{name}Args")
    names = pulumi_types.input_type_py_to_pulumi_names(args)
    parameters = list(inspect.signature(args.__init__).parameters.values())[1:]
    required = {names[parameter.name] for parameter in parameters if parameter.default is inspect.Parameter.empty}
    assert set(_by_name(schema["resources"])[name].get("requiredInputs", [])) == required


def test_nested_types_have_the_properties_of_the_sdk(schema: Schema) -> None:
    types = _by_name(schema["types"])
    differing = {}
    for name, cls in vars(_inputs).items():
        nested = name.removesuffix("Args")
        is_data_source = nested.startswith("Get")
        if nested == name or nested in _OF_IMAGE or is_data_source or not pulumi_types.is_input_type(cls):
            continue
        wanted = set(pulumi_types.input_type_py_to_pulumi_names(cls).values())
        if set(types[nested]["properties"]) != wanted:
            differing[nested] = wanted ^ set(types[nested]["properties"])
    assert len(types) > 20
    assert differing == {}


def test_the_plugin_serves_every_function_of_the_sdk(schema: Schema) -> None:
    functions = _by_name({token: entry for token, entry in schema["functions"].items() if "index/" in token})
    names = [name for name in pulumi_docker.__dict__ if name.startswith("get_") and not name.endswith("_output")]
    wanted = {name for name in names if inspect.isfunction(getattr(pulumi_docker, name))}
    assert {"".join(f"_{c.lower()}" if c.isupper() else c for c in name) for name in functions} == wanted


def test_the_plugin_has_the_settings_of_the_sdks_provider(schema: Schema) -> None:
    wanted = pulumi_types.input_type_py_to_pulumi_names(pulumi_docker.ProviderArgs).values()
    assert set(schema["config"]["variables"]) == set(wanted)


_PROGRAM = """\
import pulumi
import pulumi_docker as docker

config = pulumi.Config()
network = docker.Network("net", name=config.require("name"), labels=[docker.NetworkLabelArgs(label="a", value="b")])
volume = docker.Volume("data", name=config.require("name"))
named = docker.Network("named-by-pulumi", labels=[docker.NetworkLabelArgs(label="run", value=config.require("name"))])
pulumi.export("network", docker.get_network_output(name=network.name).id.apply(lambda id: bool(id)))
"""


@pytest.fixture
def program(environment: dict[str, str], tmp_path: Path) -> Iterator[tuple[Path, dict[str, str], str]]:
    """A stack of its own, with its own Pulumi home and state; whatever it made is removed."""
    name = unique("toolchain")
    (tmp_path / "home").mkdir()
    (tmp_path / "state").mkdir()
    (tmp_path / "home" / "plugins").symlink_to(pulumi.PULUMI_HOME / "plugins")
    project = tmp_path / "project"
    project.mkdir()
    (project / "Pulumi.yaml").write_text(f"name: {name}\nruntime: python\n")
    (project / "__main__.py").write_text(_PROGRAM)
    env = {
        **environment,
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_BACKEND_URL": f"file://{tmp_path / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "test",
    }
    run("pulumi", "stack", "init", "test", cwd=project, env=env)
    run("pulumi", "config", "set", "name", name, cwd=project, env=env)
    yield project, env, name
    run("pulumi", "destroy", "--yes", "--skip-preview", cwd=project, env=env, check=False)
    docker("network", "rm", name, check=False)
    docker("volume", "rm", name, check=False)


def test_a_program_is_brought_up_changes_nothing_again_and_is_destroyed(
    program: tuple[Path, dict[str, str], str],
) -> None:
    project, env, name = program

    def summary(*arguments: str) -> dict[str, int]:
        run("pulumi", *arguments, "--yes", "--skip-preview", cwd=project, env=env)
        last = json.loads(run("pulumi", "stack", "history", "--json", cwd=project, env=env).stdout)[0]
        assert last["result"] == "succeeded"
        changes: dict[str, int] = last["resourceChanges"]
        return changes

    assert summary("up") == {"create": 4}
    assert json.loads(docker("network", "inspect", name))[0]["Labels"] == {"a": "b"}
    assert docker("volume", "ls", "--quiet", "--filter", f"name=^{name}$") == name
    generated = docker("network", "ls", "--format", "{{.Name}}", "--filter", f"label=run={name}")
    assert generated.startswith("named-by-pulumi-")
    assert json.loads(run("pulumi", "stack", "output", "--json", cwd=project, env=env).stdout) == {"network": True}
    assert summary("up") == {"same": 4}
    assert summary("refresh") == {"same": 4}
    assert summary("destroy") == {"delete": 4}
    assert docker("network", "ls", "--quiet", "--filter", f"name=^{name}$") == ""
    assert docker("volume", "ls", "--quiet", "--filter", f"name=^{name}$") == ""


def test_nothing_is_written_into_the_users_own_pulumi_home(environment: dict[str, str], tmp_path: Path) -> None:
    run("pulumi", "plugin", "ls", env={**environment, "HOME": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []


def test_the_installed_toolchain_is_found_with_less_than_a_second_of_work(environment: dict[str, str]) -> None:
    def worked() -> float:
        """Seconds of CPU of ended children; what else runs on the machine is not in it."""
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        return spent.ru_utime + spent.ru_stime

    took = []
    for _ in range(3):
        began = worked()
        done = run(sys.executable, "-m", "toolchain", "install", cwd=ROOT, env=environment)
        took.append(worked() - began)
        assert "toolchain: ready in " in done.stderr
        assert "…" not in done.stderr, "something was made or got"
    assert min(took) < 1.0


def test_an_install_that_is_killed_goes_on_where_it_was(environment: dict[str, str], tmp_path: Path) -> None:
    """A copy of the checkout with the real cache, killed at several moments and then left to finish."""
    clone = tmp_path / "clone"
    parts = (
        "toolchain",
        "components/__init__.py",
        "components/docker_client.py",
        "components/labels.py",
        "policy",
        "constraints.txt",
        "lab/plugins",
    )
    tracked = run("git", "ls-files", *parts, cwd=ROOT).stdout
    for name in tracked.splitlines():
        target = clone / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    # One package is enough to see an interrupted installation.
    (clone / "requirements.txt").write_text("tomli-w==1.2.0\n")
    (clone / "requirements-dev.txt").write_text("")
    command = [sys.executable, "-m", "toolchain", "install"]
    env = {**os.environ, **environment, "HOME": str(tmp_path), "DINDRUNNER_CACHE": str(cache_dir())}
    kills = 0
    for seconds in (0.2, 0.6, 1.5, 3, 5):
        with subprocess.Popen(command, cwd=clone, env=env, stderr=subprocess.DEVNULL) as process:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
    assert kills > 1
    run(*command, cwd=clone, env=env)
    made = clone / ".toolchain"
    assert run(str(made / "bin" / "pulumi"), "version", env=env).stdout.startswith("v3.")
    run(str(clone / ".venv" / "bin" / "python"), "-c", "import tomli_w")
    plugin = made / "pulumi-home" / "plugins" / "resource-docker-v5.2.0" / "pulumi-resource-docker"
    assert run(str(plugin), "--version").stdout == "5.2.0\n"
    assert [path.name for path in made.rglob("*.tmp*")] == []


def test_the_doctor_finds_everything_that_the_install_put_there(environment: dict[str, str]) -> None:
    done = run(sys.executable, "-m", "toolchain", "doctor", cwd=ROOT, env=environment)
    for what in ("python packages", "pulumi", "docker plugin", "gitlab plugin", "environment", "docker engine"):
        assert f"\n{what} " in done.stdout
    assert "missing or out of date" not in done.stdout
