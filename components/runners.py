"""What the wholes of all platforms share: the runners that are wanted, their registrations and their config.toml.

The SDK's analyzer makes the schema for other Pulumi languages from these classes. It can only read them because
annotations are not postponed here, and because a value that may be left out is `None`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from . import kinds
from .config_toml import render
from .daemon_json import daemon_json
from .defaults import (
    CACHE_BUDGET_GIB,
    CLIENT_IMAGE,
    DAEMON_IMAGE,
    GITLAB_URL,
    JOB_SECONDS,
    RUNNER_IMAGE,
    jobs_at_once,
)
from .inputs import mapped_or_none
from .job_pods import JobPods
from .kinds import Executor, Kind, Scope
from .registration import Lookups, RunnerRegistration, RunnerRegistrationArgs
from .specs import ConfigSpec, DaemonSpec, RunnerSpec
from .transport import Transport


@dataclass(frozen=True, kw_only=True)
class RunnerArgs:
    """One runner: what GitLab shows of it, and how its jobs run."""

    name: str
    """Name of the runner, unique among these."""
    kind: Kind | None = None
    """How jobs build images. Default: `dind`, with the shared daemon."""
    tags: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None
    """Tags by which jobs ask for the runner."""
    run_untagged: pulumi.Input[bool] | None = None
    """Whether jobs without tags are taken. Default: no."""
    locked: pulumi.Input[bool] | None = None
    """Whether a project runner stays with its project. Default: yes."""
    access_level: pulumi.Input[str] | None = None
    """`ref_protected` (default) or `not_protected`."""
    maximum_timeout: pulumi.Input[int] | None = None
    """Seconds that a job may take. Default: 3600."""
    description: pulumi.Input[str] | None = None
    """What GitLab shows. Default: `<stack> <name>`."""
    token: pulumi.Input[str] | None = None
    """Authentication token of an existing runner, which is then not registered."""
    image: pulumi.Input[str] | None = None
    """Image of jobs that name none. Default: the pinned Docker client."""
    helper_image: pulumi.Input[str] | None = None
    """GitLab Runner's helper. Default: what the runner chooses."""
    job_daemon_image: pulumi.Input[str] | None = None
    """Image of the daemon that kind `job-dind` starts for each job."""
    pull_policy: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None
    """Pull policies, tried in turn: `always` (default), `if-not-present`, `never`."""
    limit: pulumi.Input[int] | None = None
    """Jobs at once by this runner. Default: only the limit of all runners counts."""
    cpus: pulumi.Input[float] | None = None
    """Limit of a job's container. Default: none."""
    memory_mib: pulumi.Input[int] | None = None
    """Limit of a job's container. Default: none."""
    environment: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None
    """More variables of the jobs."""
    extra: Mapping[str, Any] | None = None
    """Merged into this `[[runners]]` entry last."""


@dataclass(frozen=True, kw_only=True)
class RunnersArgs:
    """Inputs of the whole of every platform."""

    scope: Scope
    """Who may use the runners."""
    runners: Sequence[RunnerArgs]
    """The runners, at least one."""
    group: pulumi.Input[str] | None = None
    """Full path or numeric ID, for scope `group`."""
    project: pulumi.Input[str] | None = None
    """Full path or numeric ID, for scope `project`."""
    gitlab_url: pulumi.Input[str] | None = None
    """Base URL of the GitLab. Default: gitlab.com."""
    ca_pem: pulumi.Input[str] | None = None
    """Certificates of GitLab's CA, where it is none that the system trusts."""
    prefix: str | None = None
    """Prefix of the names on the platform. Default: `<project>-<stack>-<name of the component>`."""
    concurrent: pulumi.Input[int] | None = None
    """Jobs at once. Default: 4, or the number of runners."""
    check_interval: pulumi.Input[int] | None = None
    """Seconds between two requests for a job. Default: 3."""
    runner_image: pulumi.Input[str] | None = None
    """Image of GitLab Runner. Default: the pinned official one."""
    runner_cpus: pulumi.Input[float] | None = None
    """Limit of the runner itself. Default: none."""
    runner_memory_mib: pulumi.Input[int] | None = None
    """Limit of the runner itself. Default: none."""
    drain_seconds: int | None = None
    """How long a runner that is stopped may finish its jobs. Default: 3600."""
    daemon_image: pulumi.Input[str] | None = None
    """Image of the shared daemon. Default: the pinned official one."""
    daemon_cpus: pulumi.Input[float] | None = None
    """Limit of the daemon, and all that runs in it. Default: none."""
    daemon_memory_mib: pulumi.Input[int] | None = None
    """Limit of the daemon, and all that runs in it. Default: none."""
    daemon_subnet: str | None = None
    """Address range from which the daemon's own networks are taken."""
    cache_budget_gib: int | None = None
    """GiB of build cache that BuildKit's garbage collection leaves. Default: 20, or 60 % of a claim."""
    mtu: int | None = None
    """MTU of the networks, in bytes. Default: Docker's, or 1400 on a cluster."""
    dns: Sequence[str] | None = None
    """Name servers of the containers in the daemon."""
    registry_mirrors: Sequence[str] | None = None
    """For pulls by the daemon."""
    insecure_registries: Sequence[str] | None = None
    """For pulls by the daemon."""
    extra: Mapping[str, Any] | None = None
    """Merged into config.toml last."""


@dataclass(frozen=True, kw_only=True)
class Whole:
    """What a whole is made from: its args with all defaults filled in, and where its jobs run."""

    name: str
    args: RunnersArgs
    executor: Executor
    default_subnet: str
    default_mtu: int | None = None
    metrics_address: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work, before anything is made. Raises ValueError."""
        names = [runner.name for runner in self.args.runners]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"runners: {names or 'none'}: name at least one, and each once")
        for runner in self.args.runners:
            kinds.check(runner.name, kind_of(runner), self.executor)

    @property
    def prefix(self) -> str:
        return self.args.prefix or f"{pulumi.get_project()}-{pulumi.get_stack()}-{self.name}"

    @property
    def kinds(self) -> list[Kind]:
        return [kind_of(runner) for runner in self.args.runners]

    @property
    def needs_daemon(self) -> bool:
        return any(kinds.needs_daemon(kind, self.executor) for kind in self.kinds)

    @property
    def uses_host_socket(self) -> bool:
        return any(kinds.TRAITS[kind].builder is kinds.Builder.HOST for kind in self.kinds)

    @property
    def drain_seconds(self) -> int:
        return JOB_SECONDS if self.args.drain_seconds is None else self.args.drain_seconds

    @property
    def runner_image(self) -> pulumi.Input[str]:
        return RUNNER_IMAGE if self.args.runner_image is None else self.args.runner_image

    @property
    def daemon_image(self) -> pulumi.Input[str]:
        return DAEMON_IMAGE if self.args.daemon_image is None else self.args.daemon_image

    def daemon_json(self, networks_mtu: int | None, cache_budget_gib: int = CACHE_BUDGET_GIB) -> str:
        args = self.args
        return daemon_json(
            subnet=args.daemon_subnet or self.default_subnet,
            cache_budget_gib=args.cache_budget_gib or cache_budget_gib,
            mtu=args.mtu or self.default_mtu,
            networks_mtu=networks_mtu,
            dns=args.dns or (),
            registry_mirrors=args.registry_mirrors or (),
            insecure_registries=args.insecure_registries or (),
        )

    def register(self, opts: pulumi.ResourceOptions) -> dict[str, RunnerRegistration]:
        """A registration for each runner that brings no token of its own, by the runner's name."""
        lookups = Lookups()
        return {
            runner.name: RunnerRegistration(
                f"{self.name}-{runner.name}", _registration_args(self.args, runner), opts, lookups
            )
            for runner in self.args.runners
            if runner.token is None
        }

    def config_toml(
        self,
        registrations: Mapping[str, RunnerRegistration],
        daemon: DaemonSpec,
        host_socket: str | None = None,
        pods: pulumi.Input[JobPods] | None = None,
    ) -> pulumi.Output[str]:
        """The runners' config.toml, with their tokens."""
        args = self.args
        tokens = {runner.name: _token(runner, registrations) for runner in args.runners}
        given: dict[str, Any] = {
            "gitlab_url": GITLAB_URL if args.gitlab_url is None else args.gitlab_url,
            "concurrent": jobs_at_once(len(args.runners)) if args.concurrent is None else args.concurrent,
            "check_interval": args.check_interval,
            "host_socket": host_socket,
            "metrics_address": self.metrics_address,
            "extra": args.extra,
        }
        runners = [_runner_values(runner, self.executor) for runner in args.runners]

        def rendered(known: list[Any]) -> str:
            runner_specs = [RunnerSpec(**_whole_numbers(values)) for values in known[2]]
            values = _whole_numbers({name: value for name, value in known[1].items() if value is not None})
            spec = ConfigSpec(runners=runner_specs, daemon=daemon, has_ca_file=args.ca_pem is not None, **values)
            return render(spec, known[0], known[3])

        return pulumi.Output.secret(
            pulumi.Output.all(pulumi.Output.all(**tokens), given, runners, pods).apply(rendered)
        )


def _token(runner: RunnerArgs, registrations: Mapping[str, RunnerRegistration]) -> pulumi.Output[str]:
    if runner.token is None:
        return registrations[runner.name].token
    return pulumi.Output.secret(runner.token)


def kind_of(runner: RunnerArgs) -> Kind:
    """The kind of a runner, with its default."""
    return Kind.DIND if runner.kind is None else Kind(runner.kind)


def runner_ids(registrations: Mapping[str, RunnerRegistration]) -> pulumi.Output[Mapping[str, str]]:
    """GitLab's IDs of the runners, by their names."""
    ids: dict[str, pulumi.Input[str]] = {name: each.runner_id for name, each in registrations.items()}
    return pulumi.Output.all(**ids).apply(dict)


def declared(whole: pulumi.ComponentResource) -> dict[str, Any]:
    """The outputs that a whole registers: each attribute that its class declares, so that both agree."""
    return {name: getattr(whole, name) for name in type(whole).__annotations__}


def transport_of(transport: Transport | None) -> Transport:
    """The transport, with its default."""
    return Transport.TLS if transport is None else Transport(transport)


def _registration_args(args: RunnersArgs, runner: RunnerArgs) -> RunnerRegistrationArgs:
    given: dict[str, Any] = {
        "tags": runner.tags,
        "run_untagged": runner.run_untagged,
        "locked": runner.locked,
        "access_level": runner.access_level,
        "maximum_timeout": runner.maximum_timeout,
        "description": f"{pulumi.get_stack()} {runner.name}" if runner.description is None else runner.description,
        "group": mapped_or_none(args.group, _path_or_id),
        "project": mapped_or_none(args.project, _path_or_id),
    }
    return RunnerRegistrationArgs(scope=args.scope, **_given(given))


def _path_or_id(text: Any) -> int | str:
    return int(text) if isinstance(text, float) or str(text).isdigit() else str(text)


def _runner_values(runner: RunnerArgs, executor: Executor) -> dict[str, Any]:
    given: dict[str, Any] = {
        "name": runner.name,
        "image": CLIENT_IMAGE if runner.image is None else runner.image,
        "helper_image": runner.helper_image,
        "job_daemon_image": runner.job_daemon_image,
        "pull_policy": runner.pull_policy,
        "limit": runner.limit,
        "cpus": runner.cpus,
        "memory_mib": runner.memory_mib,
        "environment": runner.environment,
        "extra": runner.extra,
    }
    return _given(given) | {"kind": kind_of(runner), "executor": executor}


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _whole_numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Other Pulumi languages send whole numbers as floats, and those in an output are not known before this point."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() and name != "cpus" else value
        for name, value in values.items()
    }
