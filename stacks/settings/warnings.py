"""Warns in the preview of safety that settings give up. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from components.kinds import TRAITS
from components.runner_keys import VERSION
from components.transport import Transport
from stacks.settings.common import Common, Runner


def warnings_about(settings: Common) -> Iterator[str]:
    """A line for each setting that is allowed, but that somebody should have thought about."""
    if settings.needs_daemon and settings.daemon.transport is Transport.TCP:
        yield (
            "settings.daemon.transport: tcp is plaintext and asks for no certificate: every container on the stack's "
            "network, and every job, is root in the daemon. Use tls unless you must not"
        )
    yield from _about_unchecked("settings", settings.extra_unchecked)
    for index, runner in enumerate(settings.runners):
        yield from _about_unchecked(f"settings.runners[{index}]", runner.extra_unchecked)
        yield from _about_runner(f"settings.runners[{index}]", runner, settings.drain_seconds)


def _about_unchecked(where: str, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        yield (
            f"{where}.extra_unchecked: {name} is no key of GitLab Runner {VERSION}, so neither settings nor policies "
            "check what it does. Remove it unless your runner has that key"
        )


def _about_runner(where: str, runner: Runner, drain_seconds: int) -> Iterator[str]:
    if runner.privileged:
        yield (
            f"{where}.privileged: every job of runner {runner.name} owns the machine it runs on. Use false unless its "
            "jobs cannot do without"
        )
    if runner.network_mode == "host":
        yield (
            f"{where}.network_mode: host puts the jobs of runner {runner.name} into the network of the daemon itself. "
            "Leave it out unless a job cannot do without"
        )
    if runner.token is None and runner.maximum_timeout > drain_seconds:
        yield (
            f"settings.drain_seconds: {drain_seconds} is less than {where}.maximum_timeout {runner.maximum_timeout}: "
            "an upgrade would end jobs that may still run. Use the longer of the two"
        )
    if warning := TRAITS[runner.kind].warning:
        yield f"{where}.kind: {warning.format(runner=runner.name)}"
