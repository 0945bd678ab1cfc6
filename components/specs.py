"""The plain values that config.toml is rendered from. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .defaults import CLIENT_IMAGE, DAEMON_IMAGE, GITLAB_URL, REQUEST_CONCURRENCY
from .kinds import Executor, Kind
from .paths import DOCKER_SOCKET
from .transport import Transport


@dataclass(frozen=True, kw_only=True)
class DaemonSpec:
    """The shared daemon as its clients know it. host: its host name, for the runner and for jobs."""

    transport: Transport = Transport.TLS
    host: str = "docker"


@dataclass(frozen=True, kw_only=True)
class TolerationSpec:
    """A taint of nodes that a pod tolerates. value: None: any value."""

    key: str
    value: str | None = None
    effect: str = "NoSchedule"


@dataclass(frozen=True, kw_only=True)
class RunnerSpec:
    """One `[[runners]]` entry.

    kind: how its jobs build images. executor: where they run.
    limit: jobs at once by this runner; 0: only the limit of all runners together counts.
    environment: more variables of the jobs. cache: the `[runners.cache]` table.
    image: for jobs that name none. helper_image: GitLab Runner's helper; None: the runner chooses it.
    job_daemon_image: of the daemon that kind `job-dind` starts for each job.
    volumes: more volumes of the jobs; sources are paths inside the daemon's machine.
    cpus, memory_mib: limits of a job's container, and of each of its services. shm_size_mib: its /dev/shm.
    network_mode: Docker network of the jobs.
    cpu_request, memory_request_mib, node_selector, tolerations: of jobs that are pods.
    extra: merged into the entry last.
    """

    name: str
    kind: Kind = Kind.DIND
    executor: Executor = Executor.DOCKER
    limit: int = 0
    request_concurrency: int = REQUEST_CONCURRENCY
    environment: Mapping[str, str] = field(default_factory=dict)
    cache: Mapping[str, Any] = field(default_factory=dict)
    image: str = CLIENT_IMAGE
    helper_image: str | None = None
    job_daemon_image: str = DAEMON_IMAGE
    pull_policy: Sequence[str] = ("always",)
    privileged: bool = False
    volumes: Sequence[str] = ()
    cpus: float | None = None
    memory_mib: int | None = None
    shm_size_mib: int | None = None
    network_mode: str | None = None
    cpu_request: float | None = None
    memory_request_mib: int | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[TolerationSpec] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ConfigSpec:
    """The whole config.toml without its tokens.

    concurrent: jobs at once, of all runners together.
    gitlab_url: base URL of the GitLab. has_ca_file: whether its CA lies beside config.toml, at `paths.CA_FILE`.
    host_socket: path of the host's Docker socket, as jobs of kind `host-docker` mount it.
    extra: merged into the file last.
    """

    runners: Sequence[RunnerSpec]
    concurrent: int
    daemon: DaemonSpec = DaemonSpec()
    gitlab_url: str = GITLAB_URL
    has_ca_file: bool = False
    check_interval: int = 3
    log_level: str = "info"
    metrics_address: str | None = None
    host_socket: str = DOCKER_SOCKET
    extra: Mapping[str, Any] = field(default_factory=dict)
