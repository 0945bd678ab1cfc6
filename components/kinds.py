"""How the jobs of a runner build images, and what each way gives them. Pure.

A new kind is a member of `Kind`, a line of `TRAITS`, and a case of `gifts`; where one is missing, mypy and the tests
say so, and nothing is rendered.
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
    """Where the jobs of a runner run: in a container each, in the runner's own container, or in a pod each."""

    DOCKER = "docker"
    SHELL = "shell"
    KUBERNETES = "kubernetes"


class Scope(StrEnum):
    """Who may use a runner."""

    INSTANCE = "instance"
    GROUP = "group"
    PROJECT = "project"


class Builder(StrEnum):
    """Whose Docker the jobs of a kind build with: nobody's, the shared daemon's, the host's, or a daemon of the job."""

    NONE = "none"
    SHARED = "shared"
    HOST = "host"
    OWN = "own"


_BUILD = ("docker build --tag $CI_PROJECT_PATH_SLUG:$CI_COMMIT_SHORT_SHA .",)


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What is the same for every runner of a kind.

    builder: whose Docker its jobs build with. script: what a job may do, as an example.
    refused: why an executor does not go with it, and what to use instead, by the executor.
    warning: why somebody should think about it; empty where nobody has to. `{runner}` is the runner's name.
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


def check(runner: str, kind: Kind, executor: Executor) -> None:
    """Raise ValueError where a runner's kind does not go with its executor."""
    if why := TRAITS[kind].refused.get(executor):
        raise ValueError(f"kind {kind} of runner {runner} {why}")


def needs_daemon(kind: Kind, executor: Executor) -> bool:
    """Whether such jobs run in, or build with, the shared daemon."""
    match TRAITS[kind].builder:
        case Builder.SHARED:
            return True
        case Builder.HOST:
            return False
        case Builder.NONE | Builder.OWN:
            return executor is Executor.DOCKER
        case unknown:
            assert_never(unknown)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where jobs run, as far as what they are given depends on it.

    transport, daemon_host: of the shared daemon, whose name on the runner's network that is.
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
    engine, volumes, more: for executor docker: keys of `[runners.docker]` that say which engine runs the job's
        containers, the volumes of these (sources are paths inside that engine's machine), and more keys of the table.
    client_certificate: whether a job's pod gets the client's certificate, where the daemon asks for one.
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
                    # Only this service is privileged; the job that talks to it is not, nor is one that the job names.
                    "services_privileged": True,
                    "allowed_privileged_services": [place.job_daemon_image],
                },
            )
        case unknown:
            assert_never(unknown)


def _of_shared_daemon(place: Place) -> Gifts:
    environment = client_environment(place.transport, place.transport.endpoint(place.daemon_host))
    # Job containers live inside the daemon's machine and do not know its alias: the gateway is the daemon.
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
    """The keys by which GitLab Runner itself, beside the daemon, runs the jobs' containers in it."""
    endpoint = place.transport.endpoint(place.daemon_host)
    match place.transport:
        case Transport.TLS:
            return {"host": endpoint, "tls_verify": True, "tls_cert_path": CLIENT_CERTS_DIR}
        case Transport.SOCKET | Transport.TCP:
            return {"host": endpoint}
        case unknown:
            assert_never(unknown)


def client_environment(transport: Transport, endpoint: str) -> dict[str, str]:
    """The environment of a Docker client of the daemon at `endpoint`; by the socket, that of a job's container."""
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
