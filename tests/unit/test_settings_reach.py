"""Every setting gets to what is made from it, as most are handed on by their names alone."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

import components.docker
import components.kubernetes
from components.daemon_json import daemon_json
from components.registration import RunnerRegistrationArgs
from components.specs import ConfigSpec, RunnerSpec
from stacks.gke.settings import Claim, GkeDaemon, GkeRunner, GkeSettings, Prune
from stacks.on_docker.settings import OnDockerSettings
from stacks.raspberry_pi.settings import PiDaemon, PiRunner
from stacks.settings.common import Daemon, GitLab, Runner
from stacks.settings.mistakes import Model

IN_DAEMON_JSON = set(inspect.signature(daemon_json).parameters)
TABLES = {"gitlab", "network", "daemon", "runners", "claim", "cluster", "prune", "ssh", "swarm"}
"""They have settings of their own."""
ONLY_JUDGED = {"extra_unchecked"}
"""It says what the checks let through, and nothing is made from it."""
REFUSED_ON_A_CLUSTER = {"data_path", "existing_volume", "keep_cache"}


def names(args: type) -> set[str]:
    return {field.name for field in fields(args)}


@pytest.mark.parametrize("model", [Runner, PiRunner, GkeRunner])
def test_a_runners_settings_are_in_its_entry_or_in_its_registration(model: type[Model]) -> None:
    left = set(model.model_fields) - names(RunnerSpec) - names(RunnerRegistrationArgs) - ONLY_JUDGED
    assert left == {"token"}


@pytest.mark.parametrize("model", [Daemon, PiDaemon])
def test_a_daemons_settings_are_its_args_or_in_its_file(model: type[Model]) -> None:
    left = set(model.model_fields) - names(components.docker.DindDaemonArgs) - IN_DAEMON_JSON
    # The host of the endpoint is the alias.
    assert left == {"endpoint"}


def test_a_daemons_settings_on_a_cluster_are_its_args_or_in_its_file() -> None:
    args = names(components.kubernetes.DindDaemonArgs)
    left = set(GkeDaemon.model_fields) - args - IN_DAEMON_JSON - TABLES - REFUSED_ON_A_CLUSTER
    assert left == {"endpoint", "transport", "certificate_names", "existing_claim", "dedicated_node"}


def test_what_a_claim_and_a_pruner_are_told_are_their_args() -> None:
    assert set(Claim.model_fields) == names(components.kubernetes.ClaimArgs)
    assert set(Prune.model_fields) <= names(components.kubernetes.DaemonPrunerArgs)


def test_whom_the_runners_serve_is_in_their_registrations() -> None:
    assert set(GitLab.model_fields) - names(RunnerRegistrationArgs) == {"url", "ca_file"}


@pytest.mark.parametrize("model", [OnDockerSettings, GkeSettings])
def test_what_is_left_of_a_stacks_settings_is_in_config_toml_or_used_by_name(model: type[Model]) -> None:
    left = set(model.model_fields) - names(ConfigSpec) - TABLES - ONLY_JUDGED
    own = {"namespace", "create_namespace"} if model is GkeSettings else {"docker_host"}
    assert left == {"target", "name", "runner_image", "runner_cpus", "runner_memory_mib", "drain_seconds"} | own
