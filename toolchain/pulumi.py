"""Gets the Pulumi CLI with its Python language host, and the plugins, each from the first source that has it."""

from __future__ import annotations

import functools
import hashlib
import http.client
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from toolchain.gobuild import GoBinary, build, cached_path, fetch, module_directory
from toolchain.shared import (
    ROOT,
    TOOLCHAIN_DIR,
    VENV_DIR,
    Say,
    ToolchainError,
    check_stop,
    digest_of,
    elapsed,
    file_lock,
    link_or_copy,
    progress,
    reachable,
    run,
    unpack,
    whole_directory,
    write_atomic,
)

OLDEST_CLI = (3, 230)
"""The oldest Pulumi CLI on PATH that is good enough for the Python SDK in requirements.txt."""
OFFICIAL_CLI = "3.272.0"
BIN_DIR = TOOLCHAIN_DIR / "bin"
PULUMI_HOME = TOOLCHAIN_DIR / "pulumi-home"
STAND_IN = "stand-in"
OFFICIAL = "official release"
BUILT = "built from Go modules"
ON_PATH = "on PATH"
USER_HOME = "the user's Pulumi home"

_RELEASES = "https://github.com/pulumi/pulumi/releases/download"
_PLUGIN_SITE = "https://get.pulumi.com/"
_DOWNLOAD_LIMIT = 900.0

_CLI = GoBinary(
    name="pulumi",
    package="github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
    version="3.276.0",
    ldflags="-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v3.276.0",
    module="pulumi-cli",
    # Without Google's own service mesh, which is a tenth of the build: cloud storage's module has this tag for it.
    tags="disable_grpc_modules",
)
_LANGUAGE_HOST = GoBinary(
    name="pulumi-language-python", package="./language-python", version="1.0.0", module="pulumi-cli"
)
"""The project's own, in the CLI's module and so on the same modules: there is little left to compile after the CLI."""
_LANGUAGE_HOST_MODULE = "github.com/pulumi/pulumi/sdk/v3"
_LANGUAGE_HOST_SCRIPTS = ("cmd/pulumi-language-python-exec", "dist/pulumi-resource-pulumi-python")
_DOCKER = GoBinary(
    name="pulumi-resource-docker", package=".", version="5.2.0", module="docker-plugin", tags="no_compose"
)
_DOCKER_SCHEMA = GoBinary(
    name="pulumi-docker-schema", package="./schema", version="5.2.0", module="docker-plugin", tags="no_compose"
)

KUBERNETES = GoBinary(
    name="pulumi-resource-kubernetes",
    package=".",
    version="4.25.0",
    ldflags="-X github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version.Version=4.25.0",
    module="kubernetes-plugin",
)
_KUBERNETES_MODULE = "github.com/pulumi/pulumi-kubernetes/provider/v4"
_KUBERNETES_DATA = Path("cmd", "pulumi-resource-kubernetes")

_GITLAB_VERSION = "10.4.0"
TLS_VERSION = "5.6.2"


@dataclass(frozen=True)
class Origin:
    """Where a tool that is installed came from. source: one of the constants above. detail: a path or what to know."""

    source: str
    version: str
    detail: str = ""


Source = Callable[[Say], Origin | None]
"""Puts a tool in its place; None where this source does not have it here, ToolchainError where it should have."""


@dataclass(frozen=True)
class Tool:
    """A tool to have.

    marker: the file that says where it came from, written last. program: has to be there, or the marker does not count.
    recipe: a hash of the pins; if it changes, the tool is got again. sources: tried in this order.
    """

    name: str
    marker: Path
    program: Path
    recipe: str
    sources: tuple[Source, ...]


def tools() -> tuple[Tool, ...]:
    """Everything that `install` sees to, in order: the plugins are installed with the CLI."""
    return (
        Tool(
            name="pulumi",
            marker=BIN_DIR / "pulumi.origin.json",
            program=BIN_DIR / "pulumi",
            recipe=digest_of(OFFICIAL_CLI, cached_path(_CLI).parent.name, cached_path(_LANGUAGE_HOST).parent.name),
            sources=(cli_on_path, official_cli, built_cli),
        ),
        docker_plugin(),
        _plugin("gitlab", _GITLAB_VERSION, last=own_gitlab_plugin, pin=""),
    )


def docker_plugin() -> Tool:
    """The plugin for Docker, as a release or made of the two halves of the official one."""
    return _plugin("docker", _DOCKER.version, last=built_docker_plugin, pin=cached_path(_DOCKER).parent.name)


def cluster_plugins() -> tuple[Tool, ...]:
    """The plugins that only stacks on a cluster need."""
    return (kubernetes_plugin(), _plugin("tls", TLS_VERSION, last=nowhere_else, pin=""))


def kubernetes_plugin() -> Tool:
    """The official plugin for Kubernetes, as a release or built from its own module."""
    pin = cached_path(KUBERNETES).parent.name
    return _plugin("kubernetes", KUBERNETES.version, last=built_kubernetes_plugin, pin=pin)


def ensure(tool: Tool, *, say: Say) -> Origin:
    """Has the tool in its place and returns where it came from.

    Raises ToolchainError where it is nowhere to be had, with what each source said.
    """
    if known := installed(tool):
        return known
    with file_lock(tool.marker.with_name(f".{tool.name}.lock"), say=say):
        if known := installed(tool):
            return known
        tool.marker.unlink(missing_ok=True)
        origin = _first_source(tool, say)
        write_atomic(tool.marker, json.dumps({"recipe": tool.recipe, **vars(origin)}, indent=2) + "\n")
        say(describe(tool, origin))
        return origin


def installed(tool: Tool) -> Origin | None:
    """Where the tool that is in place came from; None where it is missing, incomplete or made from other pins."""
    try:
        known = json.loads(tool.marker.read_text())
        origin = Origin(known["source"], known["version"], known["detail"])
    except (OSError, ValueError, KeyError):
        return None
    if known["recipe"] != tool.recipe:
        return None
    return origin if tool.program.exists() else None


def describe(tool: Tool, origin: Origin) -> str:
    """One line for people."""
    return f"{tool.name} {origin.version}: {origin.source}" + (f" ({origin.detail})" if origin.detail else "")


def _first_source(tool: Tool, say: Say) -> Origin:
    failures: list[str] = []
    for source in tool.sources:
        try:
            if origin := source(say):
                return origin
        except ToolchainError as error:
            say(f"{tool.name}: {error}")
            failures.append(str(error))
    reasons = "".join(f"\n  - {failure}" for failure in failures)
    raise ToolchainError(f"{tool.name} is nowhere to be had: neither found nor downloaded nor built.{reasons}")


# The CLI and its Python language host


def cli_on_path(_: Say) -> Origin | None:
    """A Pulumi CLI on the user's PATH, recent enough and with its Python language host beside it."""
    found = shutil.which("pulumi", path=user_path())
    if not found:
        return None
    program = Path(found).resolve()
    if not (program.parent / "pulumi-language-python").exists():
        return None
    version = parse_version(cli_version(program))
    if version < OLDEST_CLI:
        return None
    _remove_from_bin()
    BIN_DIR.mkdir(parents=True, exist_ok=True)
    (BIN_DIR / "pulumi").symlink_to(program)
    return Origin(ON_PATH, ".".join(map(str, version)), str(program))


def user_path() -> str:
    """PATH without the directories of ours that `.toolchain/env` puts there."""
    ours = (BIN_DIR, VENV_DIR / "bin")
    return os.pathsep.join(part for part in os.environ.get("PATH", "").split(os.pathsep) if Path(part) not in ours)


def cli_version(program: Path) -> str:
    """What `pulumi version` says, "" where it cannot say."""
    with tempfile.TemporaryDirectory() as home:
        try:
            return run([program, "version"], limit=30, env={"PULUMI_HOME": home, "PULUMI_SKIP_UPDATE_CHECK": "true"})
        except ToolchainError:
            return ""


def parse_version(text: str) -> tuple[int, ...]:
    """The first dotted number in a text as a tuple that compares; () where there is none."""
    found = re.search(r"(\d+(?:\.\d+)+)", text)
    return tuple(map(int, found[1].split("."))) if found else ()


def official_cli(say: Say) -> Origin | None:
    """The official release, checked against the checksums that are published with it."""
    if not _reachable("https://github.com/"):
        return None
    archive_name = f"pulumi-v{OFFICIAL_CLI}-{release_platform()}.tar.gz"
    base = f"{_RELEASES}/v{OFFICIAL_CLI}"
    with progress(say, f"downloading Pulumi {OFFICIAL_CLI}"), tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / archive_name
        checksums = Path(scratch) / "checksums.txt"
        download(f"{base}/pulumi-{OFFICIAL_CLI}-checksums.txt", checksums)
        download(f"{base}/{archive_name}", archive)
        verify_sha256(archive, checksums.read_text())
        unpack(archive, Path(scratch))
        _fill_bin(path for path in (Path(scratch) / "pulumi").rglob("*") if path.is_file())
    return Origin(OFFICIAL, OFFICIAL_CLI)


def release_platform() -> str:
    """This machine as the names of Pulumi's release files spell it."""
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine().lower())
    if not machine:
        raise ToolchainError(f"there is no Pulumi release for {sys.platform} on {platform.machine()}")
    return f"{sys.platform}-{machine}"


def download(url: str, target: Path, *, limit: float = _DOWNLOAD_LIMIT) -> None:
    """Downloads `url` to `target` within `limit` seconds, else raises ToolchainError."""
    give_up = time.monotonic() + limit
    try:
        with urllib.request.urlopen(url, timeout=30) as answer, target.open("wb") as file:
            while chunk := answer.read(1 << 20):
                check_stop(url)
                file.write(chunk)
                if time.monotonic() > give_up:
                    raise ToolchainError(f"{url}: not downloaded after {elapsed(limit)}")
    except (OSError, http.client.HTTPException) as error:
        raise ToolchainError(f"{url}: {error}") from error


def verify_sha256(file: Path, checksums: str) -> None:
    """Raises ToolchainError unless `checksums` (lines of `digest  name`) has the digest of `file` under its name."""
    wanted = [words[0] for line in checksums.splitlines() if (words := line.split())[1:] == [file.name]]
    if not wanted:
        raise ToolchainError(f"{file.name} is not among the published checksums; it is not used")
    actual = hashlib.sha256(file.read_bytes()).hexdigest()
    if actual != wanted[0]:
        raise ToolchainError(f"{file.name} has SHA-256 {actual}, published is {wanted[0]}; it is not used")


def built_cli(say: Say) -> Origin | None:
    """CLI and language host from Go modules."""
    _fill_bin([build(_CLI, say=say), *built_language_host(say)])
    return Origin(BUILT, _CLI.version, "with the project's own language host")


def built_language_host(say: Say) -> list[Path]:
    """The project's own host, and the scripts that have to be beside it, which come from the SDK's module."""
    host = build(_LANGUAGE_HOST, say=say)
    scripts = [host.parent / Path(script).name for script in _LANGUAGE_HOST_SCRIPTS]
    if not all(script.exists() for script in scripts):
        module = module_directory(_LANGUAGE_HOST, _LANGUAGE_HOST_MODULE, say=say)
        for script, name in zip(scripts, _LANGUAGE_HOST_SCRIPTS, strict=True):
            write_atomic(script, (module / "python" / name).read_bytes(), mode=0o755)
    return [host, *scripts]


def _fill_bin(files: Iterator[Path] | list[Path]) -> None:
    _remove_from_bin()
    for file in files:
        link_or_copy(file, BIN_DIR / file.name)


def _remove_from_bin() -> None:
    for old in BIN_DIR.glob("pulumi*"):
        old.unlink()


# The plugins


def plugin_directory(name: str, version: str) -> Path:
    """Where the engine looks for a resource plugin."""
    return PULUMI_HOME / "plugins" / f"resource-{name}-v{version}"


def _marker(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.origin.json")


def _plugin(name: str, version: str, *, last: Source, pin: str) -> Tool:
    directory = plugin_directory(name, version)
    return Tool(
        name=f"{name} plugin",
        marker=_marker(directory),
        program=directory / f"pulumi-resource-{name}",
        recipe=digest_of(version, pin),
        sources=(
            functools.partial(plugin_of_user, name, version),
            functools.partial(official_plugin, name, version),
            last,
        ),
    )


def plugin_of_user(name: str, version: str, _: Say) -> Origin | None:
    """The same plugin in the user's own Pulumi home, which is read but never written."""
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    if home == PULUMI_HOME:
        home = Path.home() / ".pulumi"
    directory = plugin_directory(name, version)
    theirs = home / "plugins" / directory.name
    half_done = theirs.with_name(f"{theirs.name}.partial").exists()
    # Another clone's home, where a stand-in may be.
    if half_done or _marker(theirs).exists() or not (theirs / f"pulumi-resource-{name}").is_file():
        return None
    with whole_directory(directory) as folder:
        shutil.copytree(theirs, folder, dirs_exist_ok=True)
    return Origin(USER_HOME, version, str(theirs))


def official_plugin(name: str, version: str, say: Say) -> Origin | None:
    """`pulumi plugin install`, where its site answers."""
    if not _reachable(_PLUGIN_SITE):
        return None
    with progress(say, f"installing the {name} plugin {version}"):
        run(
            [BIN_DIR / "pulumi", "plugin", "install", "resource", name, version, "--reinstall"],
            what=f"pulumi plugin install resource {name} {version}",
            limit=_DOWNLOAD_LIMIT,
            env={"PULUMI_HOME": str(PULUMI_HOME), "PULUMI_SKIP_UPDATE_CHECK": "true"},
        )
    return Origin(OFFICIAL, version)


def nowhere_else(_: Say) -> Origin | None:
    """Says why a plugin that no package registry has cannot be had. Raises ToolchainError."""
    raise ToolchainError(
        f"{_PLUGIN_SITE} does not answer, and no package registry has it: install it where that site answers, with "
        "pulumi plugin install, and copy ~/.pulumi/plugins from there"
    )


def built_docker_plugin(say: Say) -> Origin | None:
    """The upstream Terraform provider behind Pulumi's bridge; its schema is made here, once."""
    program = build(_DOCKER, say=say)
    generator = build(_DOCKER_SCHEMA, say=say)
    schema = run([generator], what="making the docker plugin's schema", limit=120, cwd=generator.parent)
    with whole_directory(plugin_directory("docker", _DOCKER.version)) as folder:
        link_or_copy(program, folder / _DOCKER.name)
        write_atomic(folder / "schema.json", schema)
    return Origin(BUILT, _DOCKER.version, "all resources but docker.Image")


def built_kubernetes_plugin(say: Say) -> Origin | None:
    """The official plugin's own code. Its schema in the module has no version: its makers add that in the build."""
    program = build(KUBERNETES, say=say)
    data = module_directory(KUBERNETES, _KUBERNETES_MODULE, say=say) / _KUBERNETES_DATA
    schema = json.loads((data / "schema.json").read_text()) | {"version": KUBERNETES.version}
    with whole_directory(plugin_directory("kubernetes", KUBERNETES.version)) as folder:
        link_or_copy(program, folder / KUBERNETES.name)
        write_atomic(folder / "schema.json", json.dumps(schema, separators=(",", ":")))
        write_atomic(folder / "terraform-mapping.json", (data / "terraform-mapping.json").read_bytes())
    return Origin(BUILT, KUBERNETES.version, "its components register objects without their types")


def fetch_modules(say: Say) -> None:
    """Downloads what the docker plugin will be built from, if it will be, while others compile."""
    if not installed(docker_plugin()) and not _reachable(_PLUGIN_SITE):
        for spec in (_DOCKER, _DOCKER_SCHEMA):
            fetch(spec, say=say)


def own_gitlab_plugin(say: Say) -> Origin | None:
    """The stand-in that this checkout has, which serves some resources against the sandbox GitLab only."""
    program = "pulumi-resource-gitlab"
    found = next(ROOT.glob(f"*/plugins/gitlab/{program}"), None)
    if not found:
        return nowhere_else(say)
    with whole_directory(plugin_directory("gitlab", _GITLAB_VERSION)) as folder:
        (folder / program).symlink_to(found)
    return Origin(STAND_IN, _GITLAB_VERSION)


@functools.cache
def _reachable(url: str) -> bool:
    return reachable(url)
