"""Makes settings from `[runners.docker]`: which kind a runner is, and what its jobs are given. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from components.defaults import CLIENT_IMAGE, DAEMON_IMAGE
from components.image_names import Reference
from components.kinds import Executor, Kind, client_environment
from components.paths import DOCKER_SOCKET
from components.quantities import docker_bytes
from components.transport import CERTS_DIR, CLIENT_CERTS_DIR, SOCKET, Transport
from stacks.settings.places import Path
from tools import adopt_keys as keys
from tools.adopt_draft import Draft

HOST_SOCKETS = (DOCKER_SOCKET, "/run/docker.sock")
DAEMON_VARIABLES = frozenset[str]().union(*(client_environment(transport, "") for transport in Transport))
"""What the runner gives its jobs by itself, as its kind needs it."""


def table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def texts(value: object) -> Iterator[tuple[int, str]]:
    """The texts in a list, with their places."""
    for index, item in enumerate(value if isinstance(value, list) else ()):
        if isinstance(item, str):
            yield index, item


def variables(entry: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a runner's jobs; of two with one name the last one counts."""
    return dict(text.split("=", 1) for _, text in texts(entry.get("environment")) if "=" in text)


def shares_hosts_socket(volume: str) -> bool:
    source, _, rest = volume.partition(":")
    target = rest.partition(":")[0]
    return source != SOCKET and (source in HOST_SOCKETS or (source.endswith(".sock") and target in HOST_SOCKETS))


def is_dind(image: object) -> bool:
    """Whether an image is a Docker daemon, as jobs start it beside themselves."""
    return isinstance(image, str) and bool(re.search(r"(^|/)docker(:|@|$).*dind|dind[^/]*$", image))


def kind_of(entry: Mapping[str, Any]) -> Kind:
    """How the jobs of a runner with executor docker build images, as far as its table shows it."""
    docker = table(entry.get("docker"))
    volumes = [volume for _, volume in texts(docker.get("volumes"))]
    if any(shares_hosts_socket(volume) for volume in volumes):
        return Kind.HOST_DOCKER
    if any(is_dind(table(service).get("name")) for service in _services(docker)):
        return Kind.JOB_DIND
    has_client = any(_is_clients(volume) for volume in volumes) or "DOCKER_HOST" in variables(entry)
    # A plaintext daemon is open to every job that runs in it.
    is_open = str(docker.get("host", "")).startswith("tcp://") and not docker.get("tls_verify")
    return Kind.DIND if has_client or is_open or docker.get("privileged") is True else Kind.PLAIN


def _is_clients(volume: str) -> bool:
    parts = volume.split(":")
    return parts[0] == SOCKET or any(part.startswith(CERTS_DIR) for part in parts[:2])


def _services(docker: Mapping[str, Any]) -> Sequence[Any]:
    services = docker.get("services")
    return services if isinstance(services, list) else ()


def runs_in_dind(docker: Mapping[str, Any]) -> bool:
    """Whether the jobs ran inside a daemon of the runners' own already, so that paths mean its machine."""
    host = docker.get("host")
    return isinstance(host, str) and (host.startswith("tcp://") or host == f"unix://{SOCKET}")


def daemon_settings(draft: Draft, entries: Mapping[int, Mapping[str, Any]]) -> None:
    """The stack's one daemon, from the addresses in the file."""
    sockets = list(_host_sockets(entries))
    if sockets and sockets[0][1] != DOCKER_SOCKET:
        draft.put(("host_socket",), sockets[0][1], sockets[0][0])
    for source, socket in sockets:
        if socket == sockets[0][1]:
            draft.agreed[source] = "kind host-docker"
        else:
            draft.refuse(source, f"all runners of a stack have one socket, and {sockets[0][1]} was taken: use --only")
    chosen: str | None = None
    for index, entry in entries.items():
        host, source = _daemon_of(entry, ("runners", index))
        if host == f"unix://{SOCKET}" and chosen in (None, host):
            draft.put(("daemon", "transport"), Transport.SOCKET.value, source)
        elif isinstance(host, str) and host.startswith("tcp://"):
            if chosen is None:
                _endpoint(draft, host, source)
            elif chosen != host:
                draft.refuse(source, f"a stack has one daemon, and that of {_plain(chosen)} was taken: use --only")
        else:
            continue
        chosen = chosen or host


def _daemon_of(entry: Mapping[str, Any], source: Path) -> tuple[object, Path]:
    """The address of a runner's own daemon, and where it stands; None where it has none."""
    if entry["executor"] == Executor.DOCKER and kind_of(entry) is Kind.HOST_DOCKER:
        return None, source
    host = table(entry.get("docker")).get("host")
    if entry["executor"] == Executor.DOCKER and host:
        return host, (*source, "docker", "host")
    for index, text in texts(entry.get("environment")):
        if text.startswith("DOCKER_HOST=tcp://"):
            return text.partition("=")[2], (*source, "environment", index)
    return None, source


def _host_sockets(entries: Mapping[int, Mapping[str, Any]]) -> Iterator[tuple[Path, str]]:
    for index, entry in entries.items():
        for position, volume in texts(table(entry.get("docker")).get("volumes")):
            if entry["executor"] == Executor.DOCKER and shares_hosts_socket(volume):
                socket = volume.partition(":")[0]
                place = ("runners", index, "docker", "volumes", position)
                yield place, DOCKER_SOCKET if socket in HOST_SOCKETS else socket


def _plain(host: str) -> str:
    return re.sub(r"//[^/@]*@", "//", host)


def _endpoint(draft: Draft, host: str, source: Path) -> None:
    try:
        parts = urlsplit(host)
        name, port = parts.hostname or "", parts.port
    except ValueError:
        name, port = "", None
    # A name with dots is that of another machine, which jobs may have to reach.
    if re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name) and name != "localhost":
        if name != "docker":
            draft.put(("daemon", "endpoint"), Transport.TLS.endpoint(name), source)
        new = Transport.TLS.endpoint(name)
    else:
        new = Transport.TLS.endpoint("docker")
    how = "it was plaintext, and whoever reached it was root in it" if port != Transport.TLS.port else "with mutual TLS"
    draft.change(source, f"the stack makes a daemon of its own, {new}: {how}")


def docker_settings(draft: Draft, entry: Mapping[str, Any], kind: Kind, source: Path, runner: Path) -> None:
    """The settings of one runner with executor docker."""
    docker, here, extra = table(entry.get("docker")), (*source, "docker"), (*runner, "extra", "docker")
    stays = kind is Kind.HOST_DOCKER
    in_dind = runs_in_dind(docker) and not stays
    _image(draft, docker, here, runner)
    _daemon_of_jobs(draft, docker, kind, here)
    _volumes(draft, docker, kind, here, runner, in_dind)
    _sizes(draft, docker, here, runner)
    _network(draft, docker, here, runner, stays or in_dind)
    _privileges(draft, kind, here)
    _docker_services(draft, docker, kind, here, runner)
    _hosts(draft, docker, kind, here, runner)
    for key, value in docker.items():
        if not keys.says_something(key, value):
            continue
        if key in keys.DOCKER_EXTRA or (key in keys.DOCKER_OF_ITS_MACHINE and stays):
            draft.put((*extra, key), value, (*here, key))
        elif key in keys.DOCKER_OF_ITS_MACHINE:
            draft.refuse((*here, key), "it names something of the host, and jobs run in the stack's own daemon")
        elif key in keys.DOCKER_UNSAFE:
            draft.change(
                (*here, key),
                f"left out, as it makes the wall around a job lower: write it in extra.docker.{key} where jobs need it",
            )


def _image(draft: Draft, docker: Mapping[str, Any], here: Path, runner: Path) -> None:
    for key in ("image", "helper_image"):
        if docker.get(key):
            draft.put((*runner, key), docker[key], (*here, key))
    if "image" in docker and not docker["image"]:
        draft.agreed[(*here, "image")] = f"jobs that name no image get the default, {CLIENT_IMAGE}"


def pull_policy(draft: Draft, value: object, here: Path, runner: Path, target: str) -> None:
    """The same for containers and pods. A board keeps what it has, as its own default is not to pull, either."""
    first = value[0] if isinstance(value, list) and value else value
    if first in ("never", "if-not-present") and target != "raspberry-pi":
        draft.change(
            here,
            "always, or a job could use an image of another project just because it is there: set pull_policy where "
            "images are made on this machine and nowhere else",
        )
    elif value:
        draft.put((*runner, "pull_policy"), value, here)


def _daemon_of_jobs(draft: Draft, docker: Mapping[str, Any], kind: Kind, here: Path) -> None:
    host = docker.get("host")
    if kind is Kind.HOST_DOCKER:
        draft.refuse((*here, "host"), "kind host-docker runs its jobs on the engine that the stack is deployed to")
    elif isinstance(host, str) and not host.startswith("tcp://") and host != f"unix://{SOCKET}":
        draft.change((*here, "host"), "jobs run in the stack's own daemon, and not on the host's")
    for key in ("tls_verify", "tls_cert_path"):
        if kind is Kind.HOST_DOCKER:
            draft.refuse((*here, key), "the host's daemon is reached through its socket, which has no TLS")
        else:
            draft.change((*here, key), f"mutual TLS with the stack's own certificates, in {CLIENT_CERTS_DIR}")


def _volumes(draft: Draft, docker: Mapping[str, Any], kind: Kind, here: Path, runner: Path, in_dind: bool) -> None:
    for index, volume in texts(docker.get("volumes")):
        source = (*here, "volumes", index)
        if volume == "/cache":
            continue
        if kind is Kind.HOST_DOCKER and shares_hosts_socket(volume):
            continue
        if _is_clients(volume):
            _clients_volume(draft, kind, source)
        elif volume.startswith("/") and ":" in volume and kind is not Kind.HOST_DOCKER and not in_dind:
            draft.refuse(
                source,
                "its source is a path of the host, and jobs run inside the stack's own daemon: use a named volume, "
                "an image that has the files, or kind host-docker",
            )
        else:
            draft.append((*runner, "volumes"), volume, source)


def _clients_volume(draft: Draft, kind: Kind, source: Path) -> None:
    if kind is Kind.DIND:
        draft.change(source, "jobs get the certificates of the stack's daemon, read-only, or its socket")
    else:
        draft.refuse(source, f"it leads to a daemon that jobs of kind {kind} do not use")


def _sizes(draft: Draft, docker: Mapping[str, Any], here: Path, runner: Path) -> None:
    cpus, size = docker.get("cpus"), docker_bytes(docker.get("memory"))
    if isinstance(cpus, str) and re.fullmatch(r"[0-9]+(\.[0-9])?0*", cpus) and float(cpus) > 0:
        draft.put((*runner, "cpus"), float(cpus), (*here, "cpus"))
    elif cpus:
        draft.put((*runner, "extra", "docker", "cpus"), cpus, (*here, "cpus"))
    if size and size % 2**20 == 0 and size >= 16 * 2**20:
        draft.put((*runner, "memory_mib"), size // 2**20, (*here, "memory"))
    elif docker.get("memory"):
        draft.put((*runner, "extra", "docker", "memory"), docker["memory"], (*here, "memory"))
    for key in ("cpus", "memory"):
        own, service = docker.get(key), docker.get(f"service_{key}")
        if service and service != own:
            draft.put((*runner, "extra", "docker", f"service_{key}"), service, (*here, f"service_{key}"))


def _network(draft: Draft, docker: Mapping[str, Any], here: Path, runner: Path, is_same: bool) -> None:
    shm, mode = docker.get("shm_size"), docker.get("network_mode")
    if type(shm) is int and shm > 0 and shm % 2**20 == 0:
        draft.put((*runner, "shm_size_mib"), shm // 2**20, (*here, "shm_size"))
    elif shm:
        draft.put((*runner, "extra", "docker", "shm_size"), shm, (*here, "shm_size"))
    if mode and (is_same or mode in ("bridge", "none")):
        draft.put((*runner, "network_mode"), mode, (*here, "network_mode"))
    elif mode:
        draft.refuse((*here, "network_mode"), "that network is the host's, and jobs run inside the stack's own daemon")


def _privileges(draft: Draft, kind: Kind, here: Path) -> None:
    instead = {
        Kind.DIND: "jobs build with the stack's daemon and need no privileges: remove docker:dind from the services "
        "of .gitlab-ci.yml",
        Kind.JOB_DIND: "only the job's daemon is privileged, the job is not",
        Kind.HOST_DOCKER: "a job with the host's socket needs no privileges of its own",
        Kind.PLAIN: "jobs need no privileges",
    }[kind]
    draft.change((*here, "privileged"), f"false: {instead}. Set privileged where jobs cannot do without")
    draft.change((*here, "services_privileged"), f"left out: {instead}")
    draft.change((*here, "allowed_privileged_services"), "only the daemon of kind job-dind may be privileged")


def _docker_services(draft: Draft, docker: Mapping[str, Any], kind: Kind, here: Path, runner: Path) -> None:
    daemons = 0
    for index, service in enumerate(_services(docker)):
        source, image = (*here, "services", index), table(service).get("name")
        if not is_dind(image):
            if isinstance(service, Mapping):
                draft.append((*runner, "extra", "docker", "services"), service, source)
            continue
        if kind is not Kind.JOB_DIND or daemons:
            draft.refuse(source, f"kind {kind} has no use for a daemon beside the job")
            continue
        daemons += 1
        # docker:dind is another daemon with every release.
        name = Reference.parse(str(image))
        if name.digest or re.search(r"\d", name.tag):
            draft.put((*runner, "job_daemon_image"), image, (*source, "name"))
        else:
            draft.change((*source, "name"), f"{DAEMON_IMAGE}, as the one that is there is not pinned")
        draft.change((*source, "alias"), "the job's daemon is called docker, the name in its certificate")
        for key in table(service).keys() - {"name", "alias"}:
            draft.refuse((*source, key), "the daemon of kind job-dind takes no options: use kind dind, and daemon")


def _hosts(draft: Draft, docker: Mapping[str, Any], kind: Kind, here: Path, runner: Path) -> None:
    hosts = [text for _, text in texts(docker.get("extra_hosts"))]
    mine: list[str] = []
    if kind is Kind.DIND and table(draft.settings.get("daemon")).get("transport") != Transport.SOCKET:
        endpoint = table(draft.settings.get("daemon")).get("endpoint") or Transport.TLS.endpoint("docker")
        mine = [f"{urlsplit(endpoint).hostname}:host-gateway"]
    if set(hosts) - set(mine):
        draft.put(
            (*runner, "extra", "docker", "extra_hosts"), list(dict.fromkeys([*mine, *hosts])), (*here, "extra_hosts")
        )
