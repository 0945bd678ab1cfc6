"""Typed settings that every target has, with the reason for each default. Pure."""

from __future__ import annotations

import ipaddress
import re
from pathlib import PurePosixPath
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from components import kinds
from components.defaults import (
    CACHE_BUDGET_GIB,
    CLIENT_IMAGE,
    DAEMON_IMAGE,
    DAEMON_SUBNET,
    GITLAB_URL,
    JOB_SECONDS,
    READY_SECONDS,
    REQUEST_CONCURRENCY,
    RUNNER_IMAGE,
    jobs_at_once,
)
from components.kinds import TRAITS, Builder, Executor, Kind, Scope
from components.paths import DOCKER_SOCKET, as_docker_reads
from components.specs import ConfigSpec, DaemonSpec, RunnerSpec
from components.transport import CERTS_DIR, SOCKET, Transport
from stacks.settings.mistakes import Model, fail
from stacks.settings.values import (
    MOST,
    Address,
    CertificateName,
    Count,
    CountOrNone,
    Cpus,
    Description,
    Directory,
    Flag,
    Image,
    Name,
    NetworkMode,
    PathOrId,
    PullPolicies,
    Registry,
    Subnet,
    Tag,
    TomlTable,
    Variables,
    Volume,
    VolumeName,
    is_address,
    listen_address,
    split,
    web_url,
)

PLACEHOLDER = "REPLACE-ME"
"""Stands for a secret in settings that are still to be completed; see docs/use/adoption.md."""

TOKEN_PLACEHOLDER = f"glrt-{PLACEHOLDER}"

DAEMON_SOCKETS = tuple(PurePosixPath(path) for path in (DOCKER_SOCKET, "/run/docker.sock", SOCKET))
DAEMON_SECRETS = (PurePosixPath(CERTS_DIR), PurePosixPath("/proc"))
"""Directories in the daemon's machine whose content is a way into the daemon."""


class GitLab(Model):
    """The GitLab that the runners serve, and for whom.

    url: base URL of the GitLab, without `/api/v4`; `sandbox` is the embedded one. Default: gitlab.com.
    scope: `instance`, `group` or `project`. No default: it decides who can run code on this machine.
    group, project: its full path or numeric ID, for the scope of that name.
    ca_file: PEM file with the CA of a self-managed GitLab. Default: the CAs that the system trusts.
    """

    url: str = GITLAB_URL
    scope: Scope
    group: PathOrId | None = None
    project: PathOrId | None = None
    ca_file: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if set("@?#") & set(self.url):
            fail("url", "(hidden)", "must be a bare base URL: put the token into GITLAB_TOKEN")
        parts = web_url(self.url)
        if parts is None:
            fail("url", self.url, "is no URL of a GitLab: give its base URL, for example https://gitlab.com")
        if parts.path.rstrip("/").endswith("/api/v4"):
            fail("url", self.url, "is the API's URL: leave out /api/v4")
        if isinstance(self.project, str) and "/" not in self.project:
            fail("project", self.project, "is no full path: write it as group/project, or give the numeric ID")
        for scope in (Scope.GROUP, Scope.PROJECT):
            value = getattr(self, scope)
            if self.scope is scope and value is None:
                fail(scope, None, f"is needed for scope {scope}: give its full path or numeric ID")
            if self.scope is not scope and value is not None:
                fail(scope, value, f"does not go with scope {self.scope}: remove it, or set scope: {scope}")
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
            fail("subnet", str(self.subnet), "has no room for gateway, daemon and runner: use /29 or larger")
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
    dns: servers for the containers inside. Default: the daemon's own choice; Docker falls back to 8.8.8.8 where it sees
        Docker's resolver around it, so jobs that need private names need this.
    registry_mirrors, insecure_registries: for pulls by the daemon.
    cache_budget_gib: GiB that BuildKit's garbage collection leaves in the layer cache. Default 20, some ten images.
    subnet: what the daemon's own networks are cut from. Default 10.199.0.0/16, outside Docker's own pools, because an
        inner network equal to one of the host's cuts the jobs off.
    keep_cache: whether the layer cache survives `pulumi destroy`. Default no: nothing is left behind unasked.
    data_path: directory on the engine's machine that holds the layer cache, for example on another disk; it has to be
        there, and stays with all that is in it. Default: where the engine keeps its volumes.
    existing_volume: a Docker volume of another daemon to use in place of an own one; it is never changed and never
        deleted.
    ready_timeout_seconds: how long `up` waits for the daemon. Default 120: a small board takes 10 s for certificates.
    """

    image: Image = DAEMON_IMAGE
    transport: Transport = Transport.TLS
    endpoint: str | None = None
    certificate_names: tuple[CertificateName, ...] | None = None
    storage_driver: Literal["overlay2", "fuse-overlayfs", "btrfs", "zfs", "vfs"] | None = None
    cpus: Cpus | None = None
    memory_mib: Annotated[int, Field(strict=True, ge=256, le=MOST)] | None = None
    dns: tuple[Address, ...] = ()
    registry_mirrors: tuple[str, ...] = ()
    insecure_registries: tuple[Registry, ...] = ()
    cache_budget_gib: Count = CACHE_BUDGET_GIB
    subnet: Subnet = ipaddress.IPv4Network(DAEMON_SUBNET)
    keep_cache: Flag = False
    data_path: Directory | None = None
    existing_volume: VolumeName | None = None
    ready_timeout_seconds: Annotated[int, Field(strict=True, ge=5, le=3600)] = READY_SECONDS

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.endpoint is not None:
            self._check_endpoint(self.endpoint)
        if self.certificate_names is not None and self.transport is not Transport.TLS:
            fail(
                "certificate_names",
                list(self.certificate_names),
                f"has no use with transport {self.transport}: remove it",
            )
        self._check_names()
        if self.existing_volume is not None:
            self._check_existing_volume()
        if self.subnet.prefixlen > 20:
            fail("subnet", str(self.subnet), "is too small for a network a job: use /20 or larger")
        for mirror in self.registry_mirrors:
            parts = web_url(mirror)
            if parts is None or parts.path.strip("/") or set("@?#") & set(mirror):
                shown = "(hidden)" if "@" in mirror else mirror
                fail("registry_mirrors", shown, "is no URL of a mirror: write it as https://host[:port]")
        return self

    def _check_existing_volume(self) -> None:
        if self.data_path is not None:
            fail("data_path", self.data_path, "does not go with existing_volume, which stays where it is: remove one")
        if self.keep_cache:
            fail("keep_cache", True, "has no use with existing_volume, which is never deleted: remove it")

    def _check_names(self) -> None:
        if self.transport is Transport.TLS and self.alias not in self.names:
            fail(
                "certificate_names",
                list(self.names),
                f"lacks the endpoint's host {self.alias}, so every TLS client would refuse the daemon: add it",
            )

    def _check_endpoint(self, endpoint: str) -> None:
        expected = self.transport.endpoint("docker")
        parts = split(endpoint)
        if parts is None or parts.scheme != urlsplit(expected).scheme:
            fail("endpoint", endpoint, f"does not fit transport {self.transport}: use for example {expected}")
        if self.transport is Transport.SOCKET:
            if endpoint != expected:
                fail("endpoint", endpoint, f"does not fit transport socket: use {expected}")
            return
        host = parts.hostname or ""
        if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", host) or host == "localhost" or is_address(host):
            fail("endpoint", endpoint, f"has no host name to give the daemon: use for example {expected}")
        if parts.port != self.transport.port:
            port = f"port {parts.port}" if parts.port is not None else "no port"
            fail(
                "endpoint",
                endpoint,
                f"has {port}, which does not fit transport {self.transport}: use {self.transport.port}",
            )
        if endpoint.lower() != self.transport.endpoint(host):
            fail("endpoint", endpoint, f"has more than host and port: use {self.transport.endpoint(host)}")

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
    request_concurrency: job requests at once. Default 2: with one, GitLab Runner's own default, it warns at every load
        that a request which GitLab holds open delays other jobs.
    pull_policy: one of `always`, `if-not-present`, `never`, or a list to try in turn. Default `always`: a job cannot
        use another project's private image just because it is already there.
    privileged: whether jobs run privileged. Default no: such a job owns the daemon's machine.
    volumes: more volumes of the jobs, as GitLab Runner writes them; sources are paths inside the daemon's machine.
    environment: more variables of the jobs.
    cpus (in tenths), memory_mib: limits of a job's container, and of each of its services. Default: none. What the job
        builds or starts in the daemon counts for the daemon.
    shm_size_mib: /dev/shm of jobs in MiB. Default: Docker's, 64.
    network_mode: Docker network of the jobs. Default: the daemon's bridge.
    cache: the `[runners.cache]` table, as GitLab Runner documents it.
    token: an authentication token (glrt-...) of a runner that exists already; it is then not registered here.
    extra: merged into this `[[runners]]` entry last, for keys that have no setting here.
    extra_unchecked: keys in `extra` or `cache` that the table of GitLab Runner's keys does not have yet, such as
        `docker.new_key`, to let through.
    """

    EXECUTORS: ClassVar[tuple[Executor, ...]] = (Executor.DOCKER, Executor.SHELL)
    """Those that the target has."""

    name: Name
    description: Description | None = None
    kind: Kind = Kind.DIND
    executor: Executor = Executor.DOCKER
    tags: tuple[Tag, ...] = ()
    run_untagged: Flag = False
    locked: Flag = True
    access_level: Literal["ref_protected", "not_protected"] = "ref_protected"
    maximum_timeout: Annotated[int, Field(strict=True, ge=600, le=MOST)] = JOB_SECONDS
    paused: Flag = False
    image: Image = CLIENT_IMAGE
    helper_image: Image | None = None
    job_daemon_image: Image = DAEMON_IMAGE
    limit: CountOrNone = 0
    request_concurrency: Count = REQUEST_CONCURRENCY
    pull_policy: PullPolicies = ("always",)
    privileged: Flag = False
    volumes: tuple[Volume, ...] = ()
    environment: Variables = Field(default_factory=dict)
    cpus: Cpus | None = None
    memory_mib: Annotated[int, Field(strict=True, ge=16, le=MOST)] | None = None
    shm_size_mib: Count | None = None
    network_mode: NetworkMode | None = None
    cache: TomlTable = Field(default_factory=dict)
    token: SecretStr | None = None
    extra: TomlTable = Field(default_factory=dict)
    extra_unchecked: tuple[Annotated[str, Field(min_length=1)], ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.executor not in self.EXECUTORS:
            fail("executor", self.executor, f"does not go with this target: use {' or '.join(self.EXECUTORS)}")
        if not self.tags and not self.run_untagged and self.token is None:
            fail("tags", [], "is empty, so no job would ever run: name a tag, or set run_untagged: true")
        for index, tag in enumerate(self.tags):
            if tag in self.tags[:index]:
                fail("tags", tag, "is there twice: remove one")
        if self.executor is Executor.SHELL:
            self._check_shell()
        if self.token is not None:
            self._check_token(self.token.get_secret_value())
        for volume in self.volumes if TRAITS[self.kind].builder in (Builder.NONE, Builder.OWN) else ():
            if ":" in volume and _reaches_daemon(volume.partition(":")[0]):
                fail("volumes", volume, f"hands the daemon to kind {self.kind}: use kind dind, which is meant for that")
        return self

    def _check_token(self, token: str) -> None:
        if not re.fullmatch(r"glrt-[!-~]+", token):
            fail("token", "(hidden)", "is no runner authentication token: those start with glrt-; create one in GitLab")
        for name in ("description", "run_untagged", "locked", "access_level", "maximum_timeout", "paused"):
            if name in self.model_fields_set:
                fail(name, getattr(self, name), "has no effect with token, as GitLab keeps it: remove it, set it there")

    def _check_shell(self) -> None:
        if why := TRAITS[self.kind].refused.get(Executor.SHELL):
            fail("kind", self.kind, why)
        for name in ("privileged", "volumes", "cpus", "memory_mib", "shm_size_mib", "network_mode"):
            if getattr(self, name):
                fail(name, getattr(self, name), "has no effect with executor shell: remove it, or use executor docker")

    @property
    def needs_daemon(self) -> bool:
        """Whether its jobs run in, or build with, the stack's daemon."""
        return kinds.needs_daemon(self.kind, self.executor)

    def spec(self) -> RunnerSpec:
        """What its `[[runners]]` entry is rendered from."""
        return RunnerSpec(**self.named_as_in(RunnerSpec))


def _reaches_daemon(source: str) -> bool:
    """Whether a path in the daemon's machine, mounted into a job, gives the job the daemon."""
    path = as_docker_reads(source)
    sockets = any(socket.is_relative_to(path) for socket in DAEMON_SOCKETS)
    return sockets or any(path.is_relative_to(secret) for secret in DAEMON_SECRETS)


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
    runner_cpus (in tenths), runner_memory_mib: limits of the runner's own container. Default: none.
    drain_seconds: how long a runner that is stopped may finish its jobs. Default 3600, the default `maximum_timeout`.
    extra: merged into config.toml last, for keys that have no setting here.
    extra_unchecked: keys in `extra` that the table of GitLab Runner's keys does not have yet, to let through.
    """

    target: str
    name: Name | None = None
    gitlab: GitLab
    network: Network = Network()
    daemon: Daemon = Daemon()
    runners: Annotated[tuple[Runner, ...], Field(min_length=1)]
    runner_image: Image = RUNNER_IMAGE
    runner_cpus: Cpus | None = None
    runner_memory_mib: Annotated[int, Field(strict=True, ge=64, le=MOST)] | None = None
    concurrent: Count | None = None
    check_interval: Count = 3
    log_level: Literal["debug", "info", "warn", "error", "fatal", "panic"] = "info"
    metrics_address: Annotated[str, AfterValidator(listen_address)] | None = None
    drain_seconds: CountOrNone = JOB_SECONDS
    extra: TomlTable = Field(default_factory=dict)
    extra_unchecked: tuple[Annotated[str, Field(min_length=1)], ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [runner.name for runner in self.runners]
        for index, name in enumerate(names):
            if name in names[:index]:
                fail(f"runners[{index}].name", name, f"is taken by runners[{names.index(name)}]: choose another")
        if self.concurrent is not None and self.concurrent < len(names):
            fail(
                "concurrent",
                self.concurrent,
                f"is below the number of runners, so jobs would starve: set it to {len(names)} or more",
            )
        if self.needs_daemon and self.network.subnet is not None and self.network.subnet.overlaps(self.daemon.subnet):
            fail(
                "network.subnet",
                str(self.network.subnet),
                f"overlaps daemon.subnet {self.daemon.subnet}, which would cut the jobs off: choose another",
            )
        if "runners" in self.extra:
            fail("extra", "runners", "would hide the rendered runners: use extra of the runner in question")
        for index, runner in enumerate(self.runners):
            if runner.executor is Executor.SHELL:
                self._check_shell(f"runners[{index}]", runner)
        return self

    def _check_shell(self, where: str, runner: Runner) -> None:
        if not runner.needs_daemon:
            if self.needs_daemon:
                fail(
                    f"{where}.executor",
                    runner.executor,
                    "would give kind plain the certificates that the runner's container has for the other runners: "
                    "use executor docker, or a stack of its own",
                )
            return
        if self.daemon.transport is Transport.SOCKET:
            fail(
                f"{where}.executor",
                runner.executor,
                "cannot open the daemon's socket, which is root's: use daemon.transport tls, or executor docker",
            )
        if self.runner_image == RUNNER_IMAGE:
            fail(
                "runner_image",
                self.runner_image,
                f"has no Docker client, which {where} needs for its jobs with executor shell: "
                "name an image that has one, or use executor docker",
            )

    def spec(self, daemon_host: str | None = None) -> ConfigSpec:
        """What config.toml is rendered from. daemon_host: the daemon's name for its clients. Default: the alias."""
        given = {
            "runners": [runner.spec() for runner in self.runners],
            "concurrent": self.jobs_at_once,
            "daemon": DaemonSpec(transport=self.daemon.transport, host=daemon_host or self.daemon.alias),
            "gitlab_url": self.gitlab.url,
            "has_ca_file": bool(self.gitlab.ca_file),
        }
        return ConfigSpec(**self.named_as_in(ConfigSpec) | given)

    @property
    def jobs_at_once(self) -> int:
        """`concurrent`, with its default."""
        return self.concurrent or jobs_at_once(len(self.runners))

    @property
    def needs_daemon(self) -> bool:
        """Whether any runner needs the stack's daemon."""
        return any(runner.needs_daemon for runner in self.runners)

    @property
    def uses_host_socket(self) -> bool:
        """Whether any runner is given the Docker socket of its host."""
        return any(TRAITS[runner.kind].builder is Builder.HOST for runner in self.runners)
