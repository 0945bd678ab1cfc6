"""Versions that do not work together: clients and daemons, GitLab Runner and GitLab. Pure.

What cannot work is refused, because every job would fail although the stack came up. What may work gets a warning, such
as an image that jobs need not use. An image whose name has no version, only a digest for example, is not judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from components.kinds import TRAITS, Builder, Executor
from components.transport import Transport
from stacks.settings import versions
from stacks.settings.common import Common, Runner
from stacks.settings.daemon_file import keeps_docker_mtu
from stacks.settings.mistakes import Mistake, refuse, shown
from stacks.settings.versions import ApiRange, Engine


@dataclass(frozen=True)
class _Server:
    """A daemon that clients talk to. title: how messages call it. is_image: whether the settings choose its version."""

    title: str
    api: ApiRange
    is_image: bool


@dataclass(frozen=True)
class _Client:
    """What talks to a daemon. path, image: of the setting. kind: how a remedy calls it."""

    path: str
    image: str
    api: ApiRange
    kind: str


def check_versions(settings: Common) -> None:
    """Raise SettingsError, with a line for each mistake, where versions in the settings cannot work together."""
    refuse([*_daemon_mistakes(settings), *_pairs_of_images(settings)])


def check_engine(settings: Common, engine: Engine) -> None:
    """Raise SettingsError where the engine that the stack is deployed to cannot do what the settings ask."""
    if engine.api.newest < versions.OLDEST_HOST_API:
        refuse(
            [
                Mistake(
                    "docker_host",
                    getattr(settings, "docker_host", None),
                    f"is {_is(engine)}, which is too old for what the stack makes there: upgrade it to Docker "
                    f"{versions.written(versions.OLDEST_ENGINE)} or newer",
                )
            ]
        )
    refuse(_on_host(settings, _host(engine)))


def _is(engine: Engine) -> str:
    return f"Docker {engine.version}, API {_api(engine.api.newest)}"


def _daemon_mistakes(settings: Common) -> Iterator[Mistake]:
    """A daemon that is too old for how jobs find it."""
    image = settings.daemon.image
    version = versions.docker_version(image) if settings.needs_daemon else None
    if version is None:
        return
    if version < versions.OLDEST_ENGINE and any(_names_its_gateway(settings, runner) for runner in settings.runners):
        yield Mistake(
            "daemon.image",
            image,
            "knows no host-gateway, by which jobs of kind dind find the daemon, so all of them would fail: use Docker "
            f"{versions.written(versions.OLDEST_ENGINE)} or newer",
        )


def _names_its_gateway(settings: Common, runner: Runner) -> bool:
    is_inside = TRAITS[runner.kind].builder is Builder.SHARED and runner.executor is Executor.DOCKER
    return is_inside and settings.daemon.transport is not Transport.SOCKET


def _pairs_of_images(settings: Common) -> Iterator[Mistake]:
    daemon, runner = _daemon(settings), _runner(settings)
    starts_jobs_there = any(
        each.executor is Executor.DOCKER and TRAITS[each.kind].builder is not Builder.HOST for each in settings.runners
    )
    if daemon and runner and starts_jobs_there:
        yield from _mistakes(runner, daemon, "every job would fail")


def _on_host(settings: Common, host: _Server) -> Iterator[Mistake]:
    """A runner that talks to the engine of the host itself."""
    runner = _runner(settings)
    for index, each in enumerate(settings.runners):
        if runner and TRAITS[each.kind].builder is Builder.HOST:
            yield from _mistakes(runner, host, f"every job of runners[{index}] would fail")


def _unusable_clients(settings: Common, host: _Server | None) -> Iterator[Mistake]:
    """Docker clients in the images of jobs that name none: those that do may have one that fits."""
    daemon = _daemon(settings)
    for index, each in enumerate(settings.runners):
        where = f"runners[{index}]"
        own = _image_server(f"{where}.job_daemon_image", each.job_daemon_image)
        server = {Builder.SHARED: daemon, Builder.OWN: own, Builder.HOST: host}.get(TRAITS[each.kind].builder)
        client = _client(where, each)
        if client and server:
            yield from _mistakes(client, server, "jobs that name no image of their own cannot use Docker")


def _clients_without_plugins(settings: Common) -> Iterator[str]:
    for index, each in enumerate(settings.runners):
        version = versions.docker_version(each.image)
        has_client = TRAITS[each.kind].builder is not Builder.NONE and each.executor is not Executor.SHELL
        if has_client and version is not None and version < versions.CLIENT_PLUGINS:
            yield (
                f"settings.runners[{index}].image: {shown(each.image)} has neither buildx nor compose, so in jobs that "
                "name no image of their own `docker compose` fails, and `docker build` may use the legacy builder: use "
                f"Docker's client {versions.written(versions.CLIENT_PLUGINS)} or newer"
            )


def _daemon(settings: Common) -> _Server | None:
    return _image_server("daemon.image", settings.daemon.image) if settings.needs_daemon else None


def _host(engine: Engine) -> _Server:
    return _Server(f"the engine of {engine.name} ({_is(engine)})", engine.api, is_image=False)


def _runner(settings: Common) -> _Client | None:
    version = versions.runner_version(settings.runner_image)
    api = versions.runner_api(version) if version else None
    return _Client("runner_image", settings.runner_image, api, "GitLab Runner") if api else None


def _client(where: str, runner: Runner) -> _Client | None:
    """The Docker client in the image of jobs that name none."""
    api = _docker_api(runner.image) if runner.executor is not Executor.SHELL else None
    return _Client(f"{where}.image", runner.image, api, "Docker's client") if api else None


def _image_server(path: str, image: str) -> _Server | None:
    api = _docker_api(image)
    return _Server(f"{path} {shown(image)}", api, is_image=True) if api else None


def _docker_api(image: str) -> ApiRange | None:
    version = versions.docker_version(image)
    return versions.docker_api(version) if version else None


def _mistakes(client: _Client, server: _Server, then: str) -> Iterator[Mistake]:
    if client.api.newest < server.api.oldest:
        yield Mistake(client.path, client.image, _too_old(client, server, then))
    elif client.api.oldest > server.api.newest:
        yield Mistake(client.path, client.image, _too_new(client, server, then))


def _too_old(client: _Client, server: _Server, then: str) -> str:
    newest, oldest = _api(client.api.newest), _api(server.api.oldest)
    is_runner = client.path == "runner_image"
    needed = versions.first_with(versions.RUNNER_API if is_runner else versions.DOCKER_API, server.api.oldest)
    write = versions.written if is_runner else versions.docker_written
    ways = [f"{client.kind} {write(needed)} or newer"] if needed else []
    if server.is_image:
        ways.append("a daemon of the 28 series")
    remedy = f"use {', or '.join(ways)}" if ways else "use a newer one"
    return f"speaks Docker's API up to {newest}, and {server.title} takes none below {oldest}, so {then}: {remedy}"


def _too_new(client: _Client, server: _Server, then: str) -> str:
    oldest, newest = _api(client.api.oldest), _api(server.api.newest)
    needed = versions.first_with(versions.DOCKER_API, client.api.oldest)
    assert needed is not None, "every API that a client speaks is in the table"
    docker = versions.written(max(needed, versions.OLDEST_ENGINE))
    remedy = "use a daemon of" if server.is_image else "upgrade it to"
    return (
        f"speaks Docker's API from {oldest} on, and {server.title} none above {newest}, so {then}: {remedy} Docker "
        f"{docker} or newer, or an older image here"
    )


def _api(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def warnings_about_versions(
    settings: Common, *, gitlab_version: str | None = None, engine: Engine | None = None
) -> Iterator[str]:
    """A line for each pair of versions that nobody has tried, or that is known to lack something.

    gitlab_version: as GitLab's API says it; None where it does not. engine: where it was asked.
    """
    runner = versions.runner_version(settings.runner_image)
    if runner is not None and gitlab_version is not None:
        yield from _about_gitlab(settings, runner, gitlab_version)
    for index, each in enumerate(settings.runners):
        if runner is not None and each.helper_image is not None:
            yield from _about_helper(f"settings.runners[{index}].helper_image", each.helper_image, runner)
    yield from (each.line() for each in _unusable_clients(settings, _host(engine) if engine else None))
    yield from _clients_without_plugins(settings)
    if settings.needs_daemon and keeps_docker_mtu(settings):
        yield (
            f"settings.network.mtu: {settings.network.mtu} is not that of the networks which jobs make inside "
            f"daemon.image {shown(settings.daemon.image)}, as it knows no option for them: use Docker "
            f"{versions.written(versions.NETWORKS_MTU)} or newer"
        )
    if engine is not None and engine.api.newest < versions.DOCKER_API[versions.OLDEST_ENGINE]:
        yield (
            f"settings.docker_host: {engine.name} has {_is(engine)}, which no stack was ever tried on: upgrade it to "
            f"Docker {versions.written(versions.OLDEST_ENGINE)} or newer"
        )


def _about_gitlab(settings: Common, runner: tuple[int, ...], gitlab_version: str) -> Iterator[str]:
    gitlab = versions.plain_version(gitlab_version)
    if gitlab is not None and runner[:2] > gitlab[:2]:
        newest = versions.written(gitlab[:2])
        yield (
            f"settings.runner_image: {shown(settings.runner_image)} is newer than the GitLab at {settings.gitlab.url} "
            f"({gitlab_version}), and may ask it for what it does not know: use GitLab Runner {newest}, or upgrade "
            "GitLab first"
        )


def _about_helper(where: str, image: str, runner: tuple[int, ...]) -> Iterator[str]:
    helper = versions.helper_version(image)
    if helper is not None and helper != runner:
        yield (
            f"{where}: {shown(image)} is of GitLab Runner {versions.written(helper)}, and runner_image of "
            f"{versions.written(runner)}, which are made for each other: use the helper of "
            f"{versions.written(runner)}"
        )
