"""Rules for one resource, judged by its inputs, before it is touched. Pure.

A rule takes a resource and yields a message for each violation: where it is, the value, what is wrong, the remedy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from components.image_names import moving
from components.labels import COMPONENT, INSTANCE
from policy.config_toml import Entry, content_of, entries_of
from policy.resources import (
    CONTAINER,
    REMOTE_IMAGE,
    SERVICE,
    Container,
    Pod,
    Resource,
    at,
    containers_of,
    number,
    pod_of,
    strings,
    table,
    tables,
)

PLAINTEXT_PORT = 2375
DAEMON_PORTS = (PLAINTEXT_PORT, 2376)
USE_TLS = "set settings.daemon.transport: tls"
PINNED = "an image with a version, for example docker:28.5.2-dind, or with a digest"
NOBODY = "nobody outside the stack's network needs the daemon"


def plaintext_daemon(resource: Resource) -> Iterator[str]:
    """A Docker daemon that listens on TCP without TLS, or a client that is told to talk to one."""
    for container in containers_of(resource):
        yield from _plaintext_container(resource, container)
    for path, content in _daemon_files(resource):
        for host in _plaintext_hosts(content):
            yield (
                f"{resource.name} {path}: hosts {host} of daemon.json takes connections without TLS, and whoever gets "
                f"there is root: {USE_TLS}"
            )
    if resource.on_kubernetes and resource.kind == "Service":
        for index, port in enumerate(tables(at(resource.props, "spec").get("ports"))):
            if port.get("port") == PLAINTEXT_PORT:
                where = f"{resource.name} spec.ports[{index}].port"
                yield f"{where}: {PLAINTEXT_PORT} is Docker's port without TLS: {USE_TLS}"
    for entry in entries_of(resource):
        host = str(entry.docker.get("host", ""))
        if host.startswith("tcp://") and not (entry.docker.get("tls_verify") is True and _port(host) != PLAINTEXT_PORT):
            yield f"{resource.name} {entry.where} docker.host: {host} is used without TLS: {USE_TLS}"
        if host := _plaintext_client(entry.environment):
            yield (
                f"{resource.name} {entry.where} environment: DOCKER_HOST={host} is used without TLS: {USE_TLS}, and "
                f"name no other in {entry.setting}.environment"
            )


def _plaintext_container(resource: Resource, container: Container) -> Iterator[str]:
    hosts = [word.removeprefix("--host=") for word in container.words if word.startswith("--host=")]
    variables = "envs" if resource.type == CONTAINER else "env"
    for host in hosts if container.is_daemon and "--tlsverify" not in container.words else ():
        if host.startswith("tcp:"):
            yield (
                f"{resource.name} {container.where}command: {host} takes connections without TLS, and whoever gets "
                f"there is root: {USE_TLS}"
            )
    # The image's entrypoint, which opens a port where it is told nothing else.
    if container.is_daemon and not hosts and container.environment.get("DOCKER_TLS_CERTDIR") == "":
        yield (
            f"{resource.name} {container.where}{variables}: DOCKER_TLS_CERTDIR is empty, so the daemon takes "
            f"connections on port {PLAINTEXT_PORT} without TLS, and whoever gets there is root: {USE_TLS}"
        )
    if host := _plaintext_client(container.environment):
        yield f"{resource.name} {container.where}{variables}: DOCKER_HOST={host} is used without TLS: {USE_TLS}"


def _daemon_files(resource: Resource) -> Iterator[tuple[str, object]]:
    """What is in a daemon.json, by the path of the property."""
    if resource.type == CONTAINER:
        for index, upload in enumerate(tables(resource.props.get("uploads"))):
            if str(upload.get("file")).endswith("/daemon.json"):
                yield f"uploads[{index}].content", content_of(upload)
    if resource.on_kubernetes and resource.kind == "ConfigMap":
        yield "data", at(resource.props, "data").get("daemon.json")


def _plaintext_hosts(daemon_json: object) -> list[str]:
    try:
        options = table(json.loads(daemon_json)) if isinstance(daemon_json, str) else {}
    except ValueError:
        return []
    hosts = strings(options.get("hosts")) if options.get("tlsverify") is not True else []
    return [host for host in hosts if host.startswith("tcp:")]


def _plaintext_client(environment: Mapping[str, str]) -> str:
    """The DOCKER_HOST of a client that would not use TLS, else ""."""
    host = environment.get("DOCKER_HOST", "")
    secure = bool(environment.get("DOCKER_TLS_VERIFY")) and _port(host) != PLAINTEXT_PORT
    return host if host.startswith("tcp://") and not secure else ""


def _port(host: str) -> int | None:
    text = host.rpartition(":")[2].rstrip("/")
    return int(text) if text.isdecimal() else None


def unpinned_image(resource: Resource) -> Iterator[str]:
    """An image whose content may change under its name, of a container, a pod, or the jobs in config.toml."""
    for container in containers_of(resource):
        if why := moving(container.image):
            yield f"{resource.name} {container.where}image: {container.image} {why}: {pin(_setting_of(container))}"
    if resource.type == REMOTE_IMAGE and (why := moving(resource.props.get("name"))):
        yield f"{resource.name} name: {resource.props['name']} {why}: {pin(None)}"
    for entry in entries_of(resource):
        for path, image in entry.images:
            if why := moving(image):
                setting = f"{entry.setting}.{_job_setting(path)}"
                yield f"{resource.name} {entry.where} {path}: {image} {why}: {pin(setting)}"


def pin(setting: str | None) -> str:
    """The remedy; setting: what to change, None where the program names the image itself."""
    return f"set {setting} to {PINNED}" if setting else f"use {PINNED}"


def _setting_of(container: Container) -> str | None:
    # Its own client is what prunes it.
    if container.is_daemon or container.role == "pruner":
        return "settings.daemon.image"
    return "settings.runner_image" if container.role in ("runner", "config") else None


def _job_setting(path: str) -> str:
    """The setting of a runner that says what an option of its config.toml is."""
    option = path.partition(".")[2]
    # A service of the runner's own is the daemon of kind job-dind; one of GitLab Runner's is named in extra.
    return option if option in ("image", "helper_image") else "job_daemon_image"


def published_port(resource: Resource) -> Iterator[str]:
    """A port by which the daemon can be reached from outside the stack's own network."""
    if resource.type == CONTAINER:
        yield from _published_by_docker(resource)
    if resource.type == SERVICE:
        for index, each in enumerate(tables(at(resource.props, "endpointSpec").get("ports"))):
            if (port := number(each.get("targetPort"))) in DAEMON_PORTS:
                yield (
                    f"{resource.name} endpointSpec.ports[{index}]: publishes Docker's port {port} on every node: "
                    f"remove it, as {NOBODY}"
                )
    if resource.on_kubernetes and resource.kind == "Service":
        yield from _published_by_service(resource)
    if pod := pod_of(resource):
        yield from _published_by_pod(resource, pod)


def _published_by_docker(resource: Resource) -> Iterator[str]:
    props = resource.props
    is_daemon = any(container.is_daemon for container in containers_of(resource))
    for index, each in enumerate(tables(props.get("ports"))):
        port = number(each.get("internal"))
        if is_daemon or port in DAEMON_PORTS:
            shown = port or "(unknown)"
            yield f"{resource.name} ports[{index}]: publishes port {shown} of the daemon: remove it, as {NOBODY}"
    if is_daemon and props.get("publishAllPorts") is True:
        yield f"{resource.name} publishAllPorts: true publishes the daemon's ports: remove it, as {NOBODY}"
    if is_daemon and props.get("networkMode") == "host":
        yield (
            f"{resource.name} networkMode: host opens the daemon's port on its host: use the stack's network "
            "(networksAdvanced)"
        )


def _published_by_pod(resource: Resource, pod: Pod) -> Iterator[str]:
    if pod.is_daemon and pod.spec.get("hostNetwork") is True:
        yield f"{resource.name} {pod.where}hostNetwork: true opens the daemon's port on its node: remove it"
    for position, container in enumerate(tables(pod.spec.get("containers"))):
        for index, each in enumerate(tables(container.get("ports"))):
            port = number(each.get("hostPort"))
            if port and (pod.is_daemon or each.get("containerPort") in DAEMON_PORTS):
                yield (
                    f"{resource.name} {pod.where}containers[{position}].ports[{index}].hostPort: {port} opens the "
                    f"daemon's port on its node: remove it, as {NOBODY}"
                )


def _published_by_service(resource: Resource) -> Iterator[str]:
    spec = at(resource.props, "spec")
    ports = [value for each in tables(spec.get("ports")) for value in (each.get("port"), each.get("targetPort"))]
    selector = at(spec, "selector")
    # One that selects whatever is of the stack selects its daemon, too.
    leads_there = selector.get(COMPONENT, "daemon" if INSTANCE in selector else "") == "daemon"
    if not leads_there and not any(port in DAEMON_PORTS for port in ports):
        return
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        yield (
            f"{resource.name} spec.type: {spec['type']} opens the daemon's port outside the cluster: use ClusterIP, "
            f"as {NOBODY}"
        )
    if strings(spec.get("externalIPs")):
        yield f"{resource.name} spec.externalIPs: opens the daemon's port outside the cluster: remove it, as {NOBODY}"


def missing_limit(resource: Resource) -> Iterator[str]:
    """A daemon, or jobs, that may take all the memory of their machine."""
    remedy = "set settings.daemon.memory_mib"
    if resource.type == CONTAINER and not resource.props.get("memory"):
        if any(container.is_daemon for container in containers_of(resource)):
            yield f"{resource.name} memory: no limit, so builds may take all of the host's: {remedy}"
    elif (pod := pod_of(resource)) and pod.is_daemon:
        for index, container in enumerate(tables(pod.spec.get("containers"))):
            if not at(container, "resources", "limits").get("memory"):
                yield (
                    f"{resource.name} {pod.where}containers[{index}].resources.limits.memory: no limit, so builds may "
                    f"take all of the node's: {remedy}"
                )
    for entry in entries_of(resource):
        yield from _missing_job_limit(resource, entry)


def _missing_job_limit(resource: Resource, entry: Entry) -> Iterator[str]:
    for name, options, key in (
        ("docker", entry.docker, "memory"),
        ("kubernetes", entry.kubernetes, "memory_limit"),
    ):
        if options and not options.get(key):
            yield (
                f"{resource.name} {entry.where} {name}.{key}: no limit, so one job may take the memory of all others: "
                f"set {entry.setting}.memory_mib"
            )
