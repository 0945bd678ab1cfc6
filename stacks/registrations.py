"""What every target does for its runners: registers them in GitLab, renders config.toml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pulumi
import pulumi_gitlab as gitlab

from components.config_toml import render
from components.job_pods import JobPods
from components.registration import Lookups, RunnerRegistration, RunnerRegistrationArgs
from stacks.options import made_by
from stacks.settings.common import Common, Runner
from stacks.stack import Stack


def register(stack: Stack[Common, object]) -> dict[str, RunnerRegistration]:
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
    opts, lookups = made_by(provider), Lookups()
    return {
        runner.name: RunnerRegistration(runner.name, _registration_args(stack, runner), opts, lookups)
        for runner in settings.runners
        if runner.token is None
    }


def config_toml(
    settings: Common,
    registrations: Mapping[str, RunnerRegistration],
    pods: pulumi.Input[JobPods] | None = None,
    daemon_host: str | None = None,
) -> pulumi.Output[str]:
    """The runners' config.toml with their tokens; pods as in `render`, daemon_host as in `Common.spec`."""
    tokens = {
        runner.name: pulumi.Output.secret(runner.token.get_secret_value())
        if runner.token
        else registrations[runner.name].token
        for runner in settings.runners
    }
    both = pulumi.Output.all(pulumi.Output.all(**tokens), pods)
    spec = settings.spec(daemon_host)
    return both.apply(lambda known: render(spec, known[0], known[1]))


def ca_pem(settings: Common) -> str | None:
    """The certificates of GitLab's CA, where the settings name a file with them."""
    return Path(settings.gitlab.ca_file).read_text() if settings.gitlab.ca_file else None


def description(stack: Stack[Common, object], runner: Runner) -> str:
    """What GitLab's pages show of a runner."""
    return runner.description or f"{stack.name} {runner.name}"


def _registration_args(stack: Stack[Common, object], runner: Runner) -> RunnerRegistrationArgs:
    given = {
        "description": description(stack, runner),
        "maintenance_note": f"Managed by Pulumi: {stack.project}/{stack.name}, runner {runner.name}",
    }
    serves, takes = (each.named_as_in(RunnerRegistrationArgs) for each in (stack.settings.gitlab, runner))
    return RunnerRegistrationArgs(**serves | takes | given)
