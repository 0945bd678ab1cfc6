"""How the jobs of a runner build images, and what each way gives them. Pure.

A new kind is a member of `Kind`, a line of `TRAITS`, and a case of `gifts`. If one of them is missing, mypy and the
tests say so, and nothing is rendered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, assert_never

from .paths import DOCKER_SOCKET
from .transport import CERTS_DIR, CLIENT_CERTS_DIR, SOCKET, Transport


class Kind(StrEnum):
    """How the jobs of a runner build images."""

    PLAIN = "plain"
    DIND = "dind"
    HOST_DOCKER = "host-docker"
    JOB_DIND = "job-dind"


class Executor(StrEnum):
    """Where the jobs of a runner run: each in a container, all in the runner's own container, or each in a pod."""

    DOCKER = "docker"
    SHELL = "shell"
    KUBERNETES = "kubernetes"


class Scope(StrEnum):
    """Who may use a runner."""

    INSTANCE = "instance"
    GROUP = "group"
    PROJECT = "project"


class Builder(StrEnum):
    """Which Docker the jobs of a kind build with: none, the shared daemon, the host's, or a daemon for one job."""

    NONE = "none"
    SHARED = "shared"
    HOST = "host"
    OWN = "own"


_BUILD = ("docker build --tag $CI_PROJECT_PATH_SLUG:$CI_COMMIT_SHORT_SHA .",)


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What is the same for every runner of a kind.

    builder: which Docker its jobs build with. script: an example of what a job may do.
    refused: by executor, why the two do not go together, and what to use instead.
    warning: what the preview warns of; empty: nothing. `{runner}` is the runner's name.
    """

    builder: Builder
    script: Sequence[str] = _BUILD
    refused: Mapping[Executor, str] = field(default_factory=dict)
    warning: str = ""


_NO_SHELL = "does not go with executor shell: use executor docker"

TRAITS: Mapping[Kind, Traits] = {
    Kind.PLAIN: Traits(builder=Builder.NONE, script=("echo hello from $CI_RUNNER_DESCRIPTION",)),
    Kind.DIND: Traits(builder=Builder.SHARED),
    Kind.HOST_DOCKER: Traits(
        builder=Builder.HOST,
        refused={
            Executor.SHELL: _NO_SHELL,
            Executor.KUBERNETES: "does not go with target gke, whose nodes run no Docker: use dind",
        },
        warning=(
            "host-docker hands the host's Docker socket to every job of runner {runner}: whoever can push a job is "
            "root on the host. Use dind unless all of them may be"
        ),
    ),
    Kind.JOB_DIND: Traits(
        builder=Builder.OWN,
        refused={
            Executor.SHELL: _NO_SHELL,
            Executor.KUBERNETES: "would start a privileged daemon for every job, with an empty cache: use dind",
        },
    ),
}
"""What each kind is like."""


def builder_of(kind: object) -> Builder | None:
    """Which Docker the jobs of a kind build with; None for what is no kind."""
    return TRAITS[Kind(kind)].builder if isinstance(kind, str) and kind in TRAITS else None


def check(runner: str, kind: Kind, executor: Executor) -> None:
    """Raise ValueError if a runner's kind does not go with its executor."""
    if why := TRAITS[kind].refused.get(executor):
        raise ValueError(f"kind {kind} of runner {runner} {why}")


def needs_daemon(kind: Kind, executor: Executor) -> bool:
    """Whether these jobs run in the shared daemon, or build with it."""
    match TRAITS[kind].builder:
        case Builder.SHARED:
            return True
        case Builder.HOST:
            return False
        case Builder.NONE | Builder.OWN:
            return _runs_in_daemon(executor)
        case unknown:
            assert_never(unknown)


def _runs_in_daemon(executor: Executor) -> bool:
    """Whether jobs are containers of the shared daemon, whatever they build with."""
    match executor:
        case Executor.DOCKER:
            return True
        case Executor.SHELL | Executor.KUBERNETES:
            return False
        case unknown:
            assert_never(unknown)


@dataclass(frozen=True, kw_only=True)
class Place:
    """What has to be known of the place where jobs run, to decide what they are given.

    transport: of the shared daemon. daemon_host: its name on the runner's network.
    host_socket: path of the host's Docker socket. job_daemon_image: of a daemon for one job.
    """

    transport: Transport = Transport.TLS
    daemon_host: str = "docker"
    host_socket: str = DOCKER_SOCKET
    job_daemon_image: str = ""


@dataclass(frozen=True, kw_only=True)
class Gifts:
    """What the jobs of a kind are given, so that a plain `docker build` finds its daemon.

    environment: variables, for every executor.
    engine, volumes, more: for executor docker. `engine` has the keys of `[runners.docker]` that say which engine runs
        the job's containers; `volumes` are theirs, with sources on that engine's machine; `more` has further keys.
    client_certificate: whether a job's pod gets the client's certificate, if the daemon asks for one.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    volumes: Sequence[str] = ()
    more: Mapping[str, Any] = field(default_factory=dict)
    client_certificate: bool = False


def gifts(kind: Kind, place: Place) -> Gifts:
    """What a kind gives its jobs, at a place."""
    match kind:
        case Kind.PLAIN:
            return Gifts(engine=_shared_engine(place))
        case Kind.DIND:
            return _of_shared_daemon(place)
        case Kind.HOST_DOCKER:
            return Gifts(
                environment=_socket_client(),
                engine={"host": f"unix://{DOCKER_SOCKET}"},
                volumes=[f"{place.host_socket}:{DOCKER_SOCKET}"],
            )
        case Kind.JOB_DIND:
            return Gifts(
                environment={"DOCKER_TLS_CERTDIR": CERTS_DIR} | _tls_client(Transport.TLS.endpoint("docker")),
                engine=_shared_engine(place),
                volumes=[CLIENT_CERTS_DIR],
                more={
                    "services": [{"name": place.job_daemon_image, "alias": "docker"}],
                    # Only this service is privileged, and neither the job nor another service that the job names.
                    "services_privileged": True,
                    "allowed_privileged_services": [place.job_daemon_image],
                },
            )
        case unknown:
            assert_never(unknown)


def _of_shared_daemon(place: Place) -> Gifts:
    environment = client_environment(place.transport, place.transport.endpoint(place.daemon_host))
    # Job containers run inside the daemon and do not know its alias: for them the gateway is the daemon.
    gateway = {"extra_hosts": [f"{place.daemon_host}:host-gateway"]}
    engine = _shared_engine(place)
    match place.transport:
        case Transport.TLS:
            volumes = [f"{CLIENT_CERTS_DIR}:{CLIENT_CERTS_DIR}:ro"]
            return Gifts(environment=environment, engine=engine, volumes=volumes, more=gateway, client_certificate=True)
        case Transport.SOCKET:
            return Gifts(environment=environment, engine=engine, volumes=[f"{SOCKET}:{DOCKER_SOCKET}"])
        case Transport.TCP:
            return Gifts(environment=environment, engine=engine, more=gateway)
        case unknown:
            assert_never(unknown)


def _shared_engine(place: Place) -> dict[str, Any]:
    """The keys by which GitLab Runner, which is beside the daemon, runs the jobs' containers in it."""
    endpoint = place.transport.endpoint(place.daemon_host)
    match place.transport:
        case Transport.TLS:
            return {"host": endpoint, "tls_verify": True, "tls_cert_path": CLIENT_CERTS_DIR}
        case Transport.SOCKET | Transport.TCP:
            return {"host": endpoint}
        case unknown:
            assert_never(unknown)


def client_environment(transport: Transport, endpoint: str) -> dict[str, str]:
    """The environment of a Docker client for the daemon at `endpoint`. With a socket: in a job's container."""
    match transport:
        case Transport.TLS:
            return _tls_client(endpoint)
        case Transport.SOCKET:
            return _socket_client()
        case Transport.TCP:
            # An empty DOCKER_TLS_CERTDIR keeps the docker image's entrypoint from expecting certificates.
            return {"DOCKER_HOST": endpoint, "DOCKER_TLS_CERTDIR": ""}
        case unknown:
            assert_never(unknown)


def _socket_client() -> dict[str, str]:
    return {"DOCKER_HOST": f"unix://{DOCKER_SOCKET}"}


def _tls_client(endpoint: str) -> dict[str, str]:
    return {"DOCKER_HOST": endpoint, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": CLIENT_CERTS_DIR}
