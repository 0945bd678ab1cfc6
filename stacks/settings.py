"""Typed settings of every target: what `Pulumi.<stack>.yaml` may say, with the reason for each default.

Pure: no Pulumi here. `parse` turns the plain object under the `settings` key into a frozen model, or raises
`SettingsError` with one line for each mistake: the setting's path, its value and the remedy.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal, NoReturn, Self, TypeAlias
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from components.transport import Transport

DIND_IMAGE = "docker:28.5.2-dind"
"""Docker Official Image, the daemon of the latest 28.x series: clients down to API 1.24 are still served."""

JOB_IMAGE = "docker:28.5.2-cli"
"""Docker Official Image with the client, buildx and compose: what a Docker build needs, nothing more to trust."""

RUNNER_IMAGE = "gitlab/gitlab-runner:v18.5.0"
"""GitLab's own image; its version should not be newer than the GitLab it talks to."""

HOST_SOCKET = "/var/run/docker.sock"

MOST = 2**31 - 1
"""Upper limit of whole numbers: GitLab's database and GitLab Runner on 32-bit ARM hold no more."""


class SettingsError(Exception):
    """The settings are wrong; the text has one line for each mistake."""


class Model(BaseModel):
    """Frozen, and refuses unknown keys: a misspelt setting must not be silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Kind(StrEnum):
    """How the jobs of a runner build images."""

    PLAIN = "plain"
    DIND = "dind"
    HOST_DOCKER = "host-docker"
    JOB_DIND = "job-dind"


class Executor(StrEnum):
    """Where the jobs of a runner run: in a container each, or in the runner's own container."""

    DOCKER = "docker"
    SHELL = "shell"


class Scope(StrEnum):
    """Who may use a runner."""

    INSTANCE = "instance"
    GROUP = "group"
    PROJECT = "project"


def _matching(pattern: str, remedy: str) -> AfterValidator:
    """A check that a whole string matches; `remedy` says what it otherwise is not, and what to write."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(remedy)
        return value

    return AfterValidator(check)


def _pinned(image: str) -> str:
    """Refuse an image whose content may change under the same name."""
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    if "@sha256:" not in image and tag in ("", "latest"):
        raise ValueError("is not pinned: name a version tag or a digest, for example docker:28.5.2-dind")
    return image


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _path_or_id(value: object) -> object:
    is_path = isinstance(value, str) and re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", value, re.ASCII)
    is_id = type(value) is int and 0 < value <= MOST
    if value is None or is_path or is_id:
        return value
    raise ValueError("is no path or ID: give the full path, for example my-group/my-project, or the numeric ID")


def _subnet(value: object) -> ipaddress.IPv4Network:
    try:
        network = ipaddress.IPv4Network(value if isinstance(value, str) else "")
    except ValueError:
        network = None
    if network is None or network.prefixlen < 8 or network.is_loopback or network.is_multicast or network.is_reserved:
        raise ValueError("is no subnet for containers: give its first address and its length, for example 10.90.0.0/24")
    return network


def _address(value: object) -> IPAddress:
    try:
        return ipaddress.ip_address(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError("is no IP address: write for example 9.9.9.9") from None


def _certificate_name(value: str) -> str:
    if not _is_address(value) and not re.fullmatch(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", value):
        raise ValueError("is no host name or IP address: write for example docker")
    return value


def _listen_address(value: str) -> str:
    parts = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:/\s]*):([0-9]{1,5})", value)
    if parts is None or not 0 < int(parts[2]) < 2**16:
        raise ValueError("is no address to listen on: write host:port or :port, for example :9252")
    return value


def _variables(value: object) -> object:
    """Names and values of environment variables, of which only the names may be shown."""
    for name, text in value.items() if isinstance(value, Mapping) else ():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            shown = repr(str(name).partition("=")[0])
            raise ValueError(f"has {shown}, which is no variable's name: use letters, digits and _, no digit first")
        if not isinstance(text, str):
            raise ValueError(f"gives {name} a value that is no string: put it into quotes")
    return value


def _toml_table(value: object) -> object:
    if isinstance(value, Mapping):
        for path in _gaps(value):
            raise ValueError(f"has no value at {path}: give it one or remove it, as TOML has no null")
    return value


def _gaps(value: object, path: str = "") -> Iterator[str]:
    """Where a plain object is null."""
    if value is None:
        yield path
    elif isinstance(value, Mapping):
        for key, below in value.items():
            yield from _gaps(below, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _gaps(below, f"{path}[{index}]")


IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Address = Annotated[IPAddress, BeforeValidator(_address)]
Subnet = Annotated[ipaddress.IPv4Network, BeforeValidator(_subnet)]
PathOrId = Annotated[int | str, BeforeValidator(_path_or_id)]
Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=1, le=MOST)]
CountOrNone = Annotated[int, Field(strict=True, ge=0, le=MOST)]
Variables = Annotated[Mapping[str, str], BeforeValidator(_variables)]
TomlTable = Annotated[Mapping[str, Any], BeforeValidator(_toml_table)]
PullPolicy = Literal["always", "if-not-present", "never"]
Image = Annotated[
    str,
    _matching(
        # GitLab Runner expands variables in the images of jobs and helpers.
        r"[A-Za-z0-9$][A-Za-z0-9$._:/{}-]*(@sha256:[0-9a-f]{64})?",
        "is no image: write it as [registry/]name:tag, for example docker:28.5.2-dind",
    ),
    AfterValidator(_pinned),
]
Name = Annotated[
    str,
    _matching(
        r"[a-z0-9][a-z0-9-]{0,39}",
        "is no name: use up to 40 lower-case letters, digits and dashes, and no dash first",
    ),
]
Tag = Annotated[str, _matching(r"[^,\s]{1,255}", "is no tag: use up to 255 characters, no spaces, no commas")]
CertificateName = Annotated[str, AfterValidator(_certificate_name)]
Registry = Annotated[
    str,
    _matching(r"(http://)?[A-Za-z0-9.:\[\]-]+(/[0-9]{1,3})?", "is no registry: write it as host[:port] or as a subnet"),
]
Volume = Annotated[
    str, _matching(r"/[^:]*|[^:]+:/[^:]*(:[^:]+)?", "is no volume: write it as /path, or as source:/path[:mode]")
]
Engine = Annotated[
    str,
    _matching(
        r"unix:///\S+|(tcp|ssh|npipe)://\S+",
        "is no Docker engine: write it as unix:///path, tcp://host:port or ssh://user@host",
    ),
]
SocketPath = Annotated[
    str, _matching(r"/[^:\s]+", "is no path of a socket: write it as /var/run/docker.sock, without unix://")
]


class GitLab(Model):
    """The GitLab that the runners serve, and for whom.

    url: base URL of the GitLab, without `/api/v4`; `sandbox` is the embedded one. Default: gitlab.com.
    scope: `instance`, `group` or `project`. No default: it decides who can run code on this machine.
    group, project: its full path or numeric ID, for the scope of that name.
    """

    url: str = "https://gitlab.com"
    scope: Scope
    group: PathOrId | None = None
    project: PathOrId | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if set("@?#") & set(self.url):
            _fail("url", "(hidden)", "must be a bare base URL: put the token into GITLAB_TOKEN")
        parts = _web_url(self.url)
        if parts is None:
            _fail("url", self.url, "is no URL of a GitLab: give its base URL, for example https://gitlab.com")
        if parts.path.rstrip("/").endswith("/api/v4"):
            _fail("url", self.url, "is the API's URL: leave out /api/v4")
        if isinstance(self.project, str) and "/" not in self.project:
            _fail("project", self.project, "is no full path: write it as group/project, or give the numeric ID")
        for scope in (Scope.GROUP, Scope.PROJECT):
            value = getattr(self, scope)
            if self.scope is scope and value is None:
                _fail(scope, None, f"is needed for scope {scope}: give its full path or numeric ID")
            if self.scope is not scope and value is not None:
                _fail(scope, value, f"does not go with scope {self.scope}: remove it, or set scope: {scope}")
        return self


class Network(Model):
    """The stack's own bridge network.

    subnet: CIDR, for example 10.90.0.0/24. Default: Docker takes a free one of its pools.
    mtu: bytes. Default: Docker's, 1500; set it where the way out has a smaller one (VPN, cloud).
    """

    subnet: Subnet | None = None
    mtu: Annotated[int, Field(strict=True, ge=576, le=9000)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.subnet is not None and self.subnet.prefixlen > 29:
            _fail("subnet", str(self.subnet), "has no room for gateway, daemon and runner: use /29 or larger")
        return self


class Daemon(Model):
    """The Docker-in-Docker daemon that all jobs of the stack share.

    image: image of the daemon. Default: the pinned official one.
    transport: `tls` (mutual TLS, the default: a job that is not given the certificate has no way in), `socket`
        (a unix socket in a shared volume; no port at all) or `tcp` (plaintext: whoever reaches the port is root).
    endpoint: where clients find the daemon. Default: tcp://docker:2376, tcp://docker:2375 or
        unix:///run/dind/docker.sock; the host part is the daemon's alias on the stack's network.
    certificate_names: names in the daemon's certificate. Default: the endpoint's host.
    storage_driver: Default: the daemon's own choice (overlay2 wherever it works).
    cpus (in tenths), memory_mib: limits of the daemon and all that runs in it. Default: none, the host is the runner's.
    dns: servers for the containers inside. Default: as the daemon's container resolves.
    registry_mirrors, insecure_registries: for pulls by the daemon.
    cache_budget_gib: GiB that BuildKit's garbage collection leaves in the layer cache. Default 20, some ten images.
    subnet: what the daemon's own networks are cut from. Default 10.199.0.0/16, outside Docker's own pools, because an
        inner network equal to one of the host's cuts the jobs off.
    keep_cache: whether the layer cache survives `pulumi destroy`. Default no: nothing is left behind unasked.
    ready_timeout_seconds: how long `up` waits for the daemon. Default 120: a small board takes 10 s for certificates.
    """

    image: Image = DIND_IMAGE
    transport: Transport = Transport.TLS
    endpoint: str | None = None
    certificate_names: tuple[CertificateName, ...] | None = None
    storage_driver: Literal["overlay2", "fuse-overlayfs", "btrfs", "zfs", "vfs"] | None = None
    cpus: Annotated[float, Field(strict=True, ge=0.1, le=1024)] | None = None
    memory_mib: Annotated[int, Field(strict=True, ge=256, le=MOST)] | None = None
    dns: tuple[Address, ...] = ()
    registry_mirrors: tuple[str, ...] = ()
    insecure_registries: tuple[Registry, ...] = ()
    cache_budget_gib: Count = 20
    subnet: Subnet = ipaddress.IPv4Network("10.199.0.0/16")
    keep_cache: Flag = False
    ready_timeout_seconds: Annotated[int, Field(strict=True, ge=5, le=3600)] = 120

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.endpoint is not None:
            self._check_endpoint(self.endpoint)
        if self.certificate_names is not None and self.transport is not Transport.TLS:
            _fail(
                "certificate_names",
                list(self.certificate_names),
                f"has no use with transport {self.transport}: remove it",
            )
        if self.transport is Transport.TLS and self.alias not in self.names:
            _fail(
                "certificate_names",
                list(self.names),
                f"lacks the endpoint's host {self.alias}, so every TLS client would refuse the daemon: add it",
            )
        if self.cpus is not None and round(self.cpus, 1) != self.cpus:
            _fail("cpus", self.cpus, f"is too fine: use tenths, for example {max(round(self.cpus, 1), 0.1)}")
        if self.subnet.prefixlen > 20:
            _fail("subnet", str(self.subnet), "is too small for a network a job: use /20 or larger")
        for mirror in self.registry_mirrors:
            parts = _web_url(mirror)
            if parts is None or parts.path.strip("/") or set("@?#") & set(mirror):
                shown = "(hidden)" if "@" in mirror else mirror
                _fail("registry_mirrors", shown, "is no URL of a mirror: write it as https://host[:port]")
        return self

    def _check_endpoint(self, endpoint: str) -> None:
        expected = self.transport.endpoint("docker")
        parts = _split(endpoint)
        if parts is None or parts.scheme != urlsplit(expected).scheme:
            _fail("endpoint", endpoint, f"does not fit transport {self.transport}: use for example {expected}")
        if self.transport is Transport.SOCKET:
            if endpoint != expected:
                _fail("endpoint", endpoint, f"does not fit transport socket: use {expected}")
            return
        host = parts.hostname or ""
        if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", host) or host == "localhost" or _is_address(host):
            _fail("endpoint", endpoint, f"has no host name to give the daemon: use for example {expected}")
        if parts.port != self.transport.port:
            port = f"port {parts.port}" if parts.port is not None else "no port"
            _fail(
                "endpoint",
                endpoint,
                f"has {port}, which does not fit transport {self.transport}: use {self.transport.port}",
            )
        if endpoint.lower() != self.transport.endpoint(host):
            _fail("endpoint", endpoint, f"has more than host and port: use {self.transport.endpoint(host)}")

    @property
    def alias(self) -> str:
        """The daemon's host name on the stack's network."""
        return (urlsplit(self.endpoint).hostname if self.endpoint else None) or "docker"

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the daemon's certificate."""
        return self.certificate_names if self.certificate_names is not None else (self.alias,)


class Runner(Model):
    """One `[[runners]]` entry and its registration in GitLab.

    name: unique in the stack, lower-case letters, digits and dashes.
    description: what GitLab's pages show. Default: `<stack> <name>`.
    kind: how jobs build images; see `Kind`. Default `dind`, the shared daemon: cached, and no way to the host.
    executor: `docker` (default: a container a job) or `shell`.
    tags: what jobs ask for. Default none; then `run_untagged` has to be set.
    run_untagged: whether jobs without tags are taken. Default no: a job has to ask for this machine.
    locked: whether a project runner stays with its project. Default yes.
    access_level: `ref_protected` (default: only protected branches and tags, as whoever can push there is trusted) or
        `not_protected`.
    maximum_timeout: seconds that a job may take. Default 3600, GitLab's own; at least 600, as GitLab demands.
    paused: whether it takes no new jobs. Default no.
    image: image of jobs that name none. Default: the pinned Docker client.
    helper_image: GitLab Runner's helper. Default: what the runner itself chooses.
    job_daemon_image: image of the daemon that kind `job-dind` starts for each job. Default: the pinned official one.
    limit: jobs at once by this runner. Default 0: no limit but `concurrent`.
    request_concurrency: job requests at once. Default 1, GitLab Runner's own.
    pull_policy: one of `always`, `if-not-present`, `never`, or a list to try in turn. Default `always`: a job cannot
        use another project's private image just because it is already there.
    privileged: whether jobs run privileged. Default no: such a job owns the daemon's machine.
    volumes: more volumes of the jobs, as GitLab Runner writes them; sources are paths inside the daemon's machine.
    environment: more variables of the jobs.
    shm_size_mib: /dev/shm of jobs in MiB. Default: Docker's, 64.
    network_mode: Docker network of the jobs. Default: the daemon's bridge.
    cache: the `[runners.cache]` table, as GitLab Runner documents it.
    token: an authentication token (glrt-...) of a runner that exists already; it is then not registered here.
    extra: merged into this `[[runners]]` entry last.
    """

    name: Name
    description: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    kind: Kind = Kind.DIND
    executor: Executor = Executor.DOCKER
    tags: tuple[Tag, ...] = ()
    run_untagged: Flag = False
    locked: Flag = True
    access_level: Literal["ref_protected", "not_protected"] = "ref_protected"
    maximum_timeout: Annotated[int, Field(strict=True, ge=600, le=MOST)] = 3600
    paused: Flag = False
    image: Image = JOB_IMAGE
    helper_image: Image | None = None
    job_daemon_image: Image = DIND_IMAGE
    limit: CountOrNone = 0
    request_concurrency: Count = 1
    pull_policy: Annotated[tuple[PullPolicy, ...], Field(min_length=1), BeforeValidator(_one_or_many)] = ("always",)
    privileged: Flag = False
    volumes: tuple[Volume, ...] = ()
    environment: Variables = Field(default_factory=dict)
    shm_size_mib: Count | None = None
    network_mode: str | None = None
    cache: TomlTable = Field(default_factory=dict)
    token: SecretStr | None = None
    extra: TomlTable = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.tags and not self.run_untagged:
            _fail("tags", [], "is empty, so no job would ever run: name a tag, or set run_untagged: true")
        for index, tag in enumerate(self.tags):
            if tag in self.tags[:index]:
                _fail("tags", tag, "is there twice: remove one")
        if self.executor is Executor.SHELL:
            self._check_shell()
        if self.token is not None and not re.fullmatch(r"glrt-[!-~]+", self.token.get_secret_value()):
            _fail(
                "token", "(hidden)", "is no runner authentication token: those start with glrt-; create one in GitLab"
            )
        for volume in self.volumes:
            if HOST_SOCKET in volume.split(":")[0] and self.kind is not Kind.HOST_DOCKER:
                _fail(
                    "volumes", volume, f"hands out a daemon's socket to kind {self.kind}: use kind host-docker instead"
                )
        return self

    def _check_shell(self) -> None:
        if self.kind in (Kind.JOB_DIND, Kind.HOST_DOCKER):
            _fail("kind", self.kind, "does not go with executor shell: use executor docker")
        for name in ("privileged", "volumes", "shm_size_mib", "network_mode"):
            if getattr(self, name):
                _fail(name, getattr(self, name), "has no effect with executor shell: remove it, or use executor docker")

    @property
    def needs_daemon(self) -> bool:
        """Whether its jobs run in, or build with, the stack's daemon."""
        return self.kind is not Kind.HOST_DOCKER and not (self.kind is Kind.PLAIN and self.executor is Executor.SHELL)


class Common(Model):
    """What the settings of every target have.

    name: prefix of every name made on the host. Default: `<project>-<stack>`, so that two stacks never collide.
    gitlab, network, daemon, runners: see there.
    runner_image: image of the runner's own container. Default: GitLab's pinned one.
    concurrent: jobs at once, of all runners together. Default 4, or the number of runners where that is more.
    check_interval: seconds between two requests for a job. Default 3, GitLab Runner's own.
    log_level: of GitLab Runner. Default `info`.
    metrics_address: `host:port` of GitLab Runner's Prometheus metrics, reachable on the stack's network only.
        Default: off.
    drain_seconds: how long a runner that is stopped may finish its jobs. Default 3600, the default `maximum_timeout`.
    extra: merged into config.toml last.
    """

    name: Name | None = None
    gitlab: GitLab
    network: Network = Network()
    daemon: Daemon = Daemon()
    runners: Annotated[tuple[Runner, ...], Field(min_length=1)]
    runner_image: Image = RUNNER_IMAGE
    concurrent: Count | None = None
    check_interval: Count = 3
    log_level: Literal["debug", "info", "warn", "error", "fatal", "panic"] = "info"
    metrics_address: Annotated[str, AfterValidator(_listen_address)] | None = None
    drain_seconds: CountOrNone = 3600
    extra: TomlTable = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [runner.name for runner in self.runners]
        for index, name in enumerate(names):
            if name in names[:index]:
                _fail(f"runners[{index}].name", name, f"is taken by runners[{names.index(name)}]: choose another")
        if self.concurrent is not None and self.concurrent < len(names):
            _fail(
                "concurrent",
                self.concurrent,
                f"is below the number of runners, so jobs would starve: set it to {len(names)} or more",
            )
        if self.needs_daemon and self.network.subnet is not None and self.network.subnet.overlaps(self.daemon.subnet):
            _fail(
                "network.subnet",
                str(self.network.subnet),
                f"overlaps daemon.subnet {self.daemon.subnet}, which would cut the jobs off: choose another",
            )
        if "runners" in self.extra:
            _fail("extra", "runners", "would hide the rendered runners: use extra of the runner in question")
        for index, runner in enumerate(self.runners):
            if runner.executor is Executor.SHELL and runner.needs_daemon and self.daemon.transport is Transport.SOCKET:
                _fail(
                    f"runners[{index}].executor",
                    runner.executor,
                    "cannot open the daemon's socket, which is root's: use daemon.transport tls, or executor docker",
                )
        return self

    @property
    def jobs_at_once(self) -> int:
        """`concurrent`, with its default."""
        return self.concurrent or max(4, len(self.runners))

    @property
    def needs_daemon(self) -> bool:
        """Whether any runner needs the stack's daemon."""
        return any(runner.needs_daemon for runner in self.runners)


class DockerHostSettings(Common):
    """One Docker host.

    docker_host: the engine, as DOCKER_HOST. Default: $DOCKER_HOST, else this machine's socket.
    host_socket: path of the engine's socket on its own machine, for kind `host-docker`. Default /var/run/docker.sock.
    """

    target: Literal["docker-host"]
    docker_host: Engine | None = None
    host_socket: SocketPath = HOST_SOCKET


Settings: TypeAlias = DockerHostSettings

TARGETS: Mapping[str, type[DockerHostSettings]] = {"docker-host": DockerHostSettings}
"""The model of each `target`."""


class _Mistake(ValueError):
    """A mistake that a model's check found in one of its own settings."""

    def __init__(self, where: str, value: object, remedy: str) -> None:
        super().__init__(remedy)
        self.where, self.value, self.remedy = where, value, remedy


def _fail(where: str, value: object, remedy: str) -> NoReturn:
    raise _Mistake(where, value, remedy)


def parse(raw: object) -> Settings:
    """Settings from the plain object of a stack file.

    Raises SettingsError with a line for each mistake: `settings.<path>: <value> <what is wrong>: <remedy>`.
    """
    if not isinstance(raw, Mapping):
        raise SettingsError(f"settings: {_shown(raw)} is no table: write target, gitlab and runners below it")
    target = raw.get("target")
    model = TARGETS.get(target) if isinstance(target, str) else None
    if model is None:
        raise SettingsError(f"settings.target: {_shown(target)} is not known: use one of {', '.join(TARGETS)}")
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        mistakes = [details for details in error.errors(include_url=False) if not _is_consequence(details)]
        raise SettingsError("\n".join(dict.fromkeys(_explain(details, raw, model) for details in mistakes))) from None


def _is_consequence(details: ErrorDetails) -> bool:
    """A list counts as too short once its wrong items are left out; they have been reported then."""
    return details["type"] == "too_short" and bool(details["input"])


SHAPES = {
    "model_type": "must be a table",
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "missing": "is missing: set it",
    "too_short": "must not be empty",
}


def _explain(details: ErrorDetails, raw: Mapping[str, Any], model: type[Model]) -> str:
    location = details["loc"]
    path = "settings" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    hidden = bool({"token", "environment", "cache", "extra"} & set(location))
    value = "(hidden)" if hidden else _shown(_dig(raw, location))
    kind, mistake = details["type"], details.get("ctx", {}).get("error")
    if isinstance(mistake, _Mistake):
        return f"{path}.{mistake.where}: {_shown(mistake.value)} {mistake.remedy}"
    if kind == "value_error":
        return f"{path}: {value} {mistake}"
    if kind == "extra_forbidden":
        return f"{path}: is no setting: {_nearest(str(location[-1]), _known_keys(model, location[:-1]))}"
    if kind in ("missing", "too_short"):
        return f"{path}: {SHAPES[kind]}"
    if kind in SHAPES:
        return f"{path}: {value} {SHAPES[kind]}"
    return f"{path}: {value} is not accepted: {details['msg'].removeprefix('Input ')}"


def _nearest(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {near[0]}?" if near else f"use one of {', '.join(known)}"


def _known_keys(model: type[Model], location: Sequence[int | str]) -> list[str]:
    """The settings at a place in the tree of models."""
    for part in location:
        if isinstance(part, str):
            model = next(m for m in _models_in(model.model_fields[part].annotation))
    return sorted(model.model_fields)


def _models_in(annotation: Any) -> Iterator[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)


def _dig(raw: object, location: Sequence[int | str]) -> object:
    """The value at a place in the plain object; None where there is no such place."""
    for part in location:
        if isinstance(raw, Mapping):
            raw = raw.get(part)
        elif isinstance(raw, list) and isinstance(part, int):
            raw = raw[part]
    return raw


def _shown(value: object) -> str:
    """A value as a message shows it; what may hold a secret deep inside is only named."""
    match value:
        case Mapping():
            return "a table"
        case [*items]:
            return "[" + ", ".join(_shown(item) for item in items) + "]"
        case "(hidden)":
            return "(hidden)"
        case str():
            return repr(str(value))
        case bool() | None:
            return str(value).lower()
    return str(value)


def _split(url: str) -> SplitResult | None:
    """The parts of a URL; None where they, or its port, make no sense."""
    try:
        parts = urlsplit(url)
        usable = parts.port != 0 and not re.search(r"\s", url)
    except ValueError:
        return None
    return parts if usable else None


def _web_url(url: str) -> SplitResult | None:
    """The parts of an http or https URL; None where it is none."""
    parts = _split(url)
    return parts if parts and parts.scheme in ("http", "https") and parts.hostname else None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
