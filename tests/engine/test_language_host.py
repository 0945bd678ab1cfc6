"""The project's own language host, built from Go modules: asked as the engine asks it, and by the real CLI."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
from google.protobuf.empty_pb2 import Empty  # type: ignore[import-untyped]
from google.protobuf.struct_pb2 import Struct  # type: ignore[import-untyped]
from pulumi.runtime.proto import language_pb2 as messages
from pulumi.runtime.proto.language_pb2_grpc import LanguageRuntimeStub

from tests.engine.world import run
from toolchain.pulumi import built_language_host
from toolchain.shared import VENV_DIR

_LIMIT = 60.0
LEAVES_A_PROCESS = """
import subprocess
print("left", subprocess.Popen(["sleep", "600"], start_new_session=True).pid)
"""


@pytest.fixture(scope="module")
def binary() -> Path:
    """The host, with its scripts beside it."""
    return built_language_host(print)[0]


@pytest.fixture(scope="module")
def host(binary: Path) -> Iterator[Any]:
    """A stub of a running host, with an engine that answers nothing but that it is there."""
    engine = grpc.server(ThreadPoolExecutor(max_workers=2))
    address = f"127.0.0.1:{engine.add_insecure_port('127.0.0.1:0')}"
    engine.start()
    with subprocess.Popen([binary, address], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        with grpc.insecure_channel(f"127.0.0.1:{process.stdout.readline().strip()}") as channel:
            yield LanguageRuntimeStub(channel)
        process.terminate()
    engine.stop(None)


def info(root: Path, **options: Any) -> Any:
    """A program in `root` with these runtime options, as the engine describes it."""
    given = Struct()
    given.update(options)
    return messages.ProgramInfo(
        root_directory=str(root), program_directory=str(root), entry_point=".", options=given if options else None
    )


def refused(call: Any, request: Any) -> str:
    """The words that a call fails with."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=_LIMIT)
    return str(caught.value.details())


def package(environment: Path, name: str, version: str, *, plugin: str = "", requires: tuple[str, ...] = ()) -> None:
    """Puts a package that holds nothing into an environment."""
    packages = next(environment.glob("lib/python*/site-packages"))
    metadata = packages / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {each}" for each in requires)]
    metadata.write_text("\n".join(["Metadata-Version: 2.1", *lines, "", "Name: of nothing", ""]))
    if plugin:
        folder = packages / name.replace("-", "_")
        folder.mkdir()
        (folder / "pulumi-plugin.json").write_text(plugin)


@pytest.fixture
def environment_of_ours(tmp_path: Path) -> Path:
    """An empty virtual environment, in the project `tmp_path`."""
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path / ".venv"))
    return tmp_path / ".venv"


def plugins(host: Any, project: Path) -> set[tuple[str, str]]:
    """Name and version of what the engine is told to have."""
    request = messages.GetRequiredPackagesRequest(info=info(project, toolchain="pip", virtualenv=".venv"))
    found = host.GetRequiredPackages(request, timeout=_LIMIT).packages
    assert {each.kind for each in found} <= {"resource"}
    return {(each.name, each.version) for each in found}


def test_the_packages_of_this_project_are_listed_as_pip_lists_them(host: Any, tmp_path: Path) -> None:
    for transitive, options in ((False, ["--not-required"]), (True, [])):
        request = messages.GetProgramDependenciesRequest(
            info=info(tmp_path, virtualenv=str(VENV_DIR)), transitiveDependencies=transitive
        )
        found = {each.name: each.version for each in host.GetProgramDependencies(request, timeout=_LIMIT).dependencies}
        pip = run(str(VENV_DIR / "bin" / "python"), "-m", "pip", "list", "--format=json", *options)
        assert found == {each["name"]: each["version"] for each in json.loads(pip.stdout)}


def test_the_plugins_are_those_that_the_installed_sdks_name(
    host: Any, environment_of_ours: Path, tmp_path: Path
) -> None:
    package(environment_of_ours, "pulumi-cloud", "1.2", plugin='{"resource": true, "name": "sky", "version": "7.0.1"}')
    package(environment_of_ours, "acme", "2.0", plugin='{"resource": true, "name": "acme"}')
    package(environment_of_ours, "helper", "2.0", plugin='{"resource": false, "name": "helper"}')
    package(environment_of_ours, "pulumi_plain", "3.1rc2")
    package(environment_of_ours, "pulumi_odd", "1!2.0")
    for name in ("pulumi", "pulumi-policy", "unrelated"):
        package(environment_of_ours, name, "1.0")
    assert plugins(host, tmp_path) == {("sky", "7.0.1"), ("acme", "2.0.0"), ("plain", "3.1.0-rc.2"), ("odd", "")}


def test_a_plugin_file_that_cannot_be_read_is_named(host: Any, environment_of_ours: Path, tmp_path: Path) -> None:
    package(environment_of_ours, "pulumi-cloud", "1.2", plugin="{")
    path = next(environment_of_ours.rglob("pulumi-plugin.json"))
    request = messages.GetRequiredPackagesRequest(info=info(tmp_path, virtualenv=".venv"))
    assert refused(host.GetRequiredPackages, request) == f"{path}: unexpected end of JSON input"


def test_packages_are_found_in_a_folder_whose_name_looks_like_a_pattern(host: Any, tmp_path: Path) -> None:
    project = tmp_path / "[a] project"
    run(sys.executable, "-m", "venv", "--without-pip", str(project / ".venv"))
    package(project / ".venv", "pulumi-cloud", "1.2.3")
    assert plugins(host, project) == {("cloud", "1.2.3")}


def test_an_interpreter_that_fails_is_named_with_its_own_words(
    host: Any, environment_of_ours: Path, tmp_path: Path
) -> None:
    python = environment_of_ours / "bin" / "python"
    python.unlink()
    python.write_text("#!/bin/sh\necho 'no library' >&2\nexit 3\n")
    python.chmod(0o755)
    request = messages.GetProgramDependenciesRequest(info=info(tmp_path, virtualenv=".venv"))
    assert refused(host.GetProgramDependencies, request) == (
        f"asking {python} where its packages are: exit status 3\nno library"
    )


def test_a_direct_dependency_is_one_that_nothing_else_needs_but_an_extra(
    host: Any, environment_of_ours: Path, tmp_path: Path
) -> None:
    package(environment_of_ours, "app", "1", requires=("Some_Lib (>=1)", "tool>2; extra == 'dev'"))
    package(environment_of_ours, "some.lib", "1")
    package(environment_of_ours, "tool", "3")
    request = messages.GetProgramDependenciesRequest(info=info(tmp_path, virtualenv=".venv"))
    found = host.GetProgramDependencies(request, timeout=_LIMIT).dependencies
    assert [each.name for each in found] == ["app", "tool"]


def test_it_tells_which_python_runs_the_program(host: Any, tmp_path: Path) -> None:
    told = host.About(messages.AboutRequest(info=info(tmp_path, virtualenv=str(VENV_DIR))), timeout=_LIMIT)
    assert (told.executable, told.version) == (str(VENV_DIR / "bin" / "python"), sys.version.split()[0])
    assert host.GetPluginInfo(Empty(), timeout=_LIMIT).version == "1.0.0"


def test_an_environment_that_is_missing_is_an_error_with_its_path(host: Any, tmp_path: Path) -> None:
    assert refused(host.About, messages.AboutRequest(info=info(tmp_path, virtualenv="venv"))) == (
        f"{tmp_path}/venv/bin/python is missing, and the runtime option virtualenv in {tmp_path} asks for it: "
        "pulumi install makes it"
    )


@pytest.mark.parametrize(("name", "value"), [("toolchain", "uv"), ("typechecker", "mypy"), ("virtualenvironment", "a")])
def test_an_option_that_it_does_not_know_is_an_error(name: str, value: str, host: Any, tmp_path: Path) -> None:
    assert refused(host.About, messages.AboutRequest(info=info(tmp_path, **{name: value}))) == (
        f"the runtime option {name}: {value} in {tmp_path} is not known to the language host of this toolchain, which "
        "knows virtualenv and toolchain: pip; an official Pulumi on PATH knows the others"
    )


def test_dependencies_are_installed_into_an_environment_that_is_made(host: Any, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("tomli-w==1.2.0\n")
    request = messages.InstallDependenciesRequest(info=info(tmp_path, toolchain="pip", virtualenv="made"))
    output = b"".join(each.stdout for each in host.InstallDependencies(request, timeout=300))
    assert b"Successfully installed tomli-w-1.2.0" in output
    run(str(tmp_path / "made" / "bin" / "python"), "-c", "import tomli_w")


def test_a_plugin_is_run_with_its_output_and_its_exit_code(host: Any, tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text(
        "import os, sys\nprint(sys.argv[1:], os.environ['GIVEN'], os.environ['VIRTUAL_ENV'])\n"
        "print('wrong', file=sys.stderr)\nsys.exit(7)\n"
    )
    request = messages.RunPluginRequest(
        pwd="/", args=["127.0.0.1:1"], env=["GIVEN=1"], kind="resource", info=info(tmp_path, virtualenv=str(VENV_DIR))
    )
    found = list(host.RunPlugin(request, timeout=_LIMIT))
    assert b"".join(each.stdout for each in found) == f"['127.0.0.1:1'] 1 {VENV_DIR}\n".encode()
    assert b"".join(each.stderr for each in found) == b"wrong\n"
    assert found[-1].exitcode == 7


def test_a_plugin_that_leaves_a_process_behind_has_ended(host: Any, tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text(LEAVES_A_PROCESS)
    request = messages.RunPluginRequest(pwd="/", kind="resource", info=info(tmp_path))
    found = list(host.RunPlugin(request, timeout=_LIMIT))
    _end_process_of(b"".join(each.stdout for each in found))
    assert found[-1].WhichOneof("output") == "exitcode"
    assert found[-1].exitcode == 0


def test_a_debugger_is_refused_that_it_could_not_attach(host: Any, tmp_path: Path) -> None:
    expected = (
        "--attach-debugger is not known to the language host of this toolchain; an official Pulumi on PATH knows it"
    )
    assert refused(host.Run, messages.RunRequest(info=info(tmp_path), attach_debugger=True)) == expected
    with pytest.raises(grpc.RpcError) as caught:
        list(host.RunPlugin(messages.RunPluginRequest(info=info(tmp_path), attach_debugger=True), timeout=_LIMIT))
    assert caught.value.details() == expected


def test_a_host_that_is_asked_to_end_ends_what_it_runs_first(binary: Path, tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text("import os, time\nprint(os.getpid())\ntime.sleep(600)\n")
    with subprocess.Popen([binary, "127.0.0.1:1"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        with grpc.insecure_channel(f"127.0.0.1:{process.stdout.readline().strip()}") as channel:
            request = messages.RunPluginRequest(pwd="/", kind="resource", info=info(tmp_path))
            pid = int(next(LanguageRuntimeStub(channel).RunPlugin(request, timeout=_LIMIT)).stdout)
            process.send_signal(signal.SIGINT)
            assert process.wait(_LIMIT) == 0
    assert not Path(f"/proc/{pid}").exists()


def test_a_call_that_is_given_up_ends_the_plugin(host: Any, tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text("import os, time\nprint(os.getpid())\ntime.sleep(600)\n")
    call = host.RunPlugin(messages.RunPluginRequest(pwd="/", kind="resource", info=info(tmp_path)), timeout=_LIMIT)
    pid = int(next(call).stdout)
    call.cancel()
    _wait_for_end(pid)


def test_it_says_what_it_lacks_where_it_is_started_by_hand(binary: Path, tmp_path: Path) -> None:
    done = run(str(binary), check=False)
    assert (done.returncode, done.stderr) == (
        1, "pulumi-language-python: no address of an engine was given: it is the Pulumi CLI that starts this program\n",
    )  # fmt: skip
    alone = tmp_path / binary.name
    os.link(binary, alone) if binary.stat().st_dev == tmp_path.stat().st_dev else alone.write_bytes(binary.read_bytes())
    alone.chmod(0o755)
    assert run(str(alone), "127.0.0.1:1", check=False).stderr == (
        "pulumi-language-python: pulumi-language-python-exec is missing beside this program; "
        "python3 -m toolchain install puts it there\n"
    )


def test_it_takes_the_options_of_an_engine_that_logs(binary: Path) -> None:
    command = [str(binary), "--logtostderr", "-v=9", "--tracing", "file:trace", "127.0.0.1:1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline().strip().isdecimal()
        process.terminate()


def _end_process_of(output: bytes) -> None:
    os.kill(int(output.split(b"left ")[1].split()[0]), signal.SIGKILL)


def _wait_for_end(pid: int) -> None:
    give_up = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < give_up, f"process {pid} still runs"
        time.sleep(0.05)


# With the real CLI


@pytest.fixture
def project(environment: dict[str, str], tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A project without resources, with a state of its own; its program has to be written."""
    folder = tmp_path / "project"
    folder.mkdir()
    (tmp_path / "state").mkdir()
    options = f"{{toolchain: pip, virtualenv: {VENV_DIR}}}"
    (folder / "Pulumi.yaml").write_text(f"name: host\nruntime:\n  name: python\n  options: {options}\n")
    env = {
        **environment,
        "PULUMI_BACKEND_URL": f"file://{tmp_path / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "test",
    }
    run("pulumi", "stack", "init", "test", cwd=folder, env=env)
    return folder, env


def test_a_program_gets_its_configuration_and_its_output_is_shown(project: tuple[Path, dict[str, str]]) -> None:
    folder, env = project
    (folder / "__main__.py").write_text(
        "import pulumi, sys\nprint('on stdout')\nprint('on stderr', file=sys.stderr)\n"
        "pulumi.export('prefix', sys.prefix)\npulumi.export('name', pulumi.Config().require('name'))\n"
        "pulumi.export('word', pulumi.Config().require_secret('word'))\n"
    )
    run("pulumi", "config", "set", "name", "it", cwd=folder, env=env)
    run("pulumi", "config", "set", "--secret", "word", "hush", cwd=folder, env=env)
    shown = run("pulumi", "up", "--yes", "--skip-preview", "--color=never", cwd=folder, env=env).stdout
    assert "on stdout" in shown
    assert "on stderr" in shown
    assert "hush" not in shown
    outputs = json.loads(run("pulumi", "stack", "output", "--json", "--show-secrets", cwd=folder, env=env).stdout)
    assert outputs == {"prefix": str(VENV_DIR), "name": "it", "word": "hush"}


def test_a_process_that_a_program_leaves_behind_is_not_waited_for(project: tuple[Path, dict[str, str]]) -> None:
    folder, env = project
    (folder / "__main__.py").write_text(LEAVES_A_PROCESS)
    shown = run("pulumi", "preview", "--color=never", "--non-interactive", cwd=folder, env=env, seconds=_LIMIT).stdout
    _end_process_of(shown.encode())


def test_the_program_may_have_a_module_of_a_name_that_the_host_uses(project: tuple[Path, dict[str, str]]) -> None:
    folder, env = project
    (folder / "json.py").write_text("NAME = 'mine'\n")
    (folder / "__main__.py").write_text("import pulumi\npulumi.export('it', 1)\n")
    run("pulumi", "preview", "--color=never", "--non-interactive", cwd=folder, env=env)


@pytest.mark.parametrize(
    ("program", "shown"),
    [
        ("raise ValueError('broken')", "ValueError: broken"),
        ("import sys; sys.exit(3)", "program exited with non-zero exit code: 3"),
        ("import os; os.kill(os.getpid(), 9)", "program ended by signal: killed"),
    ],
)
def test_a_program_that_fails_fails_the_preview(program: str, shown: str, project: tuple[Path, dict[str, str]]) -> None:
    folder, env = project
    (folder / "__main__.py").write_text(program + "\n")
    done = run("pulumi", "preview", "--color=never", "--non-interactive", cwd=folder, env=env, check=False)
    assert done.returncode != 0
    assert shown in done.stdout + done.stderr


def test_an_interrupted_preview_ends_its_program(project: tuple[Path, dict[str, str]]) -> None:
    _interrupted(project, signal.SIGINT)


def test_the_program_of_a_killed_engine_ends(project: tuple[Path, dict[str, str]]) -> None:
    _interrupted(project, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_program_that_hears_no_signal_ends_as_well(
    number: signal.Signals, project: tuple[Path, dict[str, str]]
) -> None:
    _interrupted(project, number, "import signal\nfor each in (2, 15):\n    signal.signal(each, signal.SIG_IGN)\n")


def _interrupted(project: tuple[Path, dict[str, str]], number: signal.Signals, before: str = "") -> None:
    folder, env = project
    pid_file = folder / "pid"
    (folder / "__main__.py").write_text(
        f"{before}import os, time\nopen('{pid_file}.new', 'w').write(str(os.getpid()))\n"
        f"os.replace('{pid_file}.new', '{pid_file}')\ntime.sleep(600)\n"
    )
    command = ["pulumi", "preview", "--non-interactive"]
    with subprocess.Popen(command, cwd=folder, env={**os.environ, **env}, stdout=subprocess.DEVNULL) as process:
        give_up = time.monotonic() + _LIMIT
        while not pid_file.exists():
            assert time.monotonic() < give_up
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        process.wait(_LIMIT)
    _wait_for_end(int(pid_file.read_text()))
