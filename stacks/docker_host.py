"""Target `docker-host`: network, daemon, runner and registrations on one Docker engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pulumi
import pulumi_docker as docker
import pulumi_gitlab as gitlab

from components.config_toml import render
from components.docker import (
    DindDaemon,
    DindDaemonArgs,
    RunnerContainer,
    RunnerContainerArgs,
    RunnerNetwork,
    RunnerNetworkArgs,
)
from components.docker.daemon import daemon_json
from components.registration import RunnerRegistration, RunnerRegistrationArgs
from stacks.ci_snippet import ci_snippet
from stacks.load import Stack
from stacks.settings import Daemon, DockerHostSettings, Kind, Runner
from stacks.warnings import warnings_about


def build(stack: Stack) -> dict[str, Any]:
    """Make the stack's resources; outputs: target, network, daemon, runners, ci_snippet."""
    settings = stack.settings
    for warning in warnings_about(settings):
        pulumi.log.warn(warning)
    on_engine = pulumi.ResourceOptions(provider=_engine(settings))
    network = RunnerNetwork(
        "network",
        RunnerNetworkArgs(
            network_name=stack.prefix,
            stack=stack.name,
            subnet=str(settings.network.subnet) if settings.network.subnet else None,
            mtu=settings.network.mtu,
        ),
        on_engine,
    )
    daemon = _daemon(stack, settings, network, on_engine) if settings.needs_daemon else None
    registrations = _registrations(stack)
    RunnerContainer(
        "runner",
        RunnerContainerArgs(
            prefix=stack.prefix,
            stack=stack.name,
            network_name=network.name,
            image=settings.runner_image,
            config_toml=_config_toml(settings, registrations),
            drain_seconds=settings.drain_seconds,
            daemon_id=daemon.container.id if daemon else None,
            daemon_volumes=daemon.client_volumes if daemon else (),
            host_socket=settings.host_socket if _uses_host_docker(settings) else None,
            ca_pem=Path(settings.gitlab.ca_file).read_text() if settings.gitlab.ca_file else None,
        ),
        on_engine,
    )
    return {
        "target": settings.target,
        "network": network.name,
        "daemon": _daemon_output(settings.daemon, daemon),
        "runners": {r.name: _runner_output(stack, r, registrations.get(r.name)) for r in settings.runners},
        "ci_snippet": ci_snippet(settings.runners),
    }


def _engine(settings: DockerHostSettings) -> docker.Provider:
    return docker.Provider(
        "engine",
        host=settings.docker_host,
        # Another engine has none of the stack's objects: they go from the old one, and are made on the new one.
        opts=pulumi.ResourceOptions(replace_on_changes=["host"], delete_before_replace=True),
    )


def _daemon(
    stack: Stack, settings: DockerHostSettings, network: RunnerNetwork, opts: pulumi.ResourceOptions
) -> DindDaemon:
    wanted = settings.daemon
    args = DindDaemonArgs(
        prefix=stack.prefix,
        stack=stack.name,
        network_name=network.name,
        image=wanted.image,
        transport=wanted.transport,
        alias=wanted.alias,
        certificate_names=wanted.names,
        daemon_json=daemon_json(
            subnet=str(wanted.subnet),
            cache_budget_gib=wanted.cache_budget_gib,
            mtu=settings.network.mtu,
            storage_driver=wanted.storage_driver,
            dns=[str(server) for server in wanted.dns],
            registry_mirrors=wanted.registry_mirrors,
            insecure_registries=wanted.insecure_registries,
        ),
        ready_timeout_seconds=wanted.ready_timeout_seconds,
        cpus=wanted.cpus,
        memory_mib=wanted.memory_mib,
        keep_cache=wanted.keep_cache,
        engine=settings.docker_host,
    )
    return DindDaemon("dind", args, opts)


def _registrations(stack: Stack) -> dict[str, RunnerRegistration]:
    """A registration for each runner that does not bring its own token, by the runner's name."""
    settings = stack.settings
    if stack.gitlab_token is None:
        return {}
    provider = gitlab.Provider(
        "gitlab",
        base_url=f"{settings.gitlab.url.rstrip('/')}/api/v4/",
        token=stack.gitlab_token,
        cacert_file=settings.gitlab.ca_file,
        # Another GitLab knows none of the runners: they are removed from the old one, and registered with the new one.
        opts=pulumi.ResourceOptions(replace_on_changes=["baseUrl"], delete_before_replace=True),
    )
    opts = pulumi.ResourceOptions(provider=provider)
    return {
        runner.name: RunnerRegistration(
            runner.name,
            RunnerRegistrationArgs(
                scope=settings.gitlab.scope,
                group=settings.gitlab.group,
                project=settings.gitlab.project,
                description=_description(stack, runner),
                tags=runner.tags,
                run_untagged=runner.run_untagged,
                locked=runner.locked,
                access_level=runner.access_level,
                maximum_timeout=runner.maximum_timeout,
                paused=runner.paused,
                maintenance_note=f"Managed by Pulumi: {stack.project}/{stack.name}, runner {runner.name}",
            ),
            opts,
        )
        for runner in settings.runners
        if runner.token is None
    }


def _config_toml(settings: DockerHostSettings, registrations: dict[str, RunnerRegistration]) -> pulumi.Output[str]:
    tokens = {
        runner.name: pulumi.Output.secret(runner.token.get_secret_value())
        if runner.token
        else registrations[runner.name].token
        for runner in settings.runners
    }
    return pulumi.Output.all(**tokens).apply(lambda known: render(settings, known, settings.host_socket))


def _uses_host_docker(settings: DockerHostSettings) -> bool:
    return any(runner.kind is Kind.HOST_DOCKER for runner in settings.runners)


def _description(stack: Stack, runner: Runner) -> str:
    return runner.description or f"{stack.name} {runner.name}"


def _daemon_output(settings: Daemon, daemon: DindDaemon | None) -> dict[str, Any] | None:
    if daemon is None:
        return None
    return {
        "endpoint": daemon.endpoint,
        "transport": settings.transport.value,
        "container": daemon.container.name,
        "volume": daemon.data.name,
    }


def _runner_output(stack: Stack, runner: Runner, registration: RunnerRegistration | None) -> dict[str, Any]:
    return {
        "id": registration.runner_id if registration else None,
        "kind": runner.kind.value,
        "tags": list(runner.tags),
        "description": _description(stack, runner),
    }
