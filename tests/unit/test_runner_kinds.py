"""What each kind of runner gives its jobs, and that nothing is guessed for one that is not known."""

from __future__ import annotations

from typing import Any, cast

import pytest

from components import kinds
from components.config_toml import render
from components.kinds import TRAITS, Builder, Executor, Gifts, Kind, Place, gifts
from components.specs import ConfigSpec, DaemonSpec, RunnerSpec
from components.transport import Transport

UNKNOWN: Any = "buildah"


def spec(**settings: Any) -> ConfigSpec:
    """A file with one runner with these settings."""
    return ConfigSpec(runners=[RunnerSpec(name="docker", **settings)], concurrent=1)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("transport", Transport)
def test_every_kind_has_its_line_and_its_gifts_with_every_transport(kind: Kind, transport: Transport) -> None:
    found = gifts(kind, Place(transport=transport, job_daemon_image="docker:1"))
    assert TRAITS[kind].script
    assert bool(found.environment) == (TRAITS[kind].builder is not Builder.NONE)


def test_nothing_is_given_to_a_kind_that_is_not_known() -> None:
    with pytest.raises(AssertionError, match="Expected code to be unreachable, but got: 'buildah'"):
        gifts(UNKNOWN, Place())


@pytest.mark.parametrize("ask", [lambda place: gifts(Kind.PLAIN, place), lambda place: gifts(Kind.DIND, place)])
def test_a_transport_that_is_not_known_never_means_plaintext(ask: Any) -> None:
    place = Place(transport=cast(Any, _Smoke("smoke")))
    with pytest.raises(AssertionError, match="Expected code to be unreachable"):
        ask(place)


class _Smoke(str):
    def endpoint(self, host: str) -> str:
        return f"smoke://{host}"


def test_a_client_by_a_transport_that_is_not_known_has_no_environment() -> None:
    with pytest.raises(AssertionError, match="Expected code to be unreachable"):
        kinds.client_environment(UNKNOWN, "tcp://docker:1")


def test_an_executor_that_is_not_known_is_not_rendered() -> None:
    with pytest.raises(AttributeError):
        render(spec(executor=UNKNOWN), {"docker": "glrt-1"})


@pytest.mark.parametrize(
    ("kind", "executor", "text"),
    [
        (Kind.HOST_DOCKER, Executor.SHELL, "does not go with executor shell: use executor docker"),
        (Kind.JOB_DIND, Executor.SHELL, "does not go with executor shell: use executor docker"),
        (
            Kind.HOST_DOCKER,
            Executor.KUBERNETES,
            "does not go with target gke, whose nodes run no Docker: use dind",
        ),
        (
            Kind.JOB_DIND,
            Executor.KUBERNETES,
            "would start a privileged daemon for every job, with an empty cache: use dind",
        ),
    ],
)
def test_a_combination_that_does_not_work_is_not_rendered(kind: Kind, executor: Executor, text: str) -> None:
    with pytest.raises(ValueError, match=r"^kind ") as caught:
        render(spec(kind=kind, executor=executor), {"docker": "glrt-1"})
    assert str(caught.value) == f"kind {kind} of runner docker {text}"


def test_jobs_that_are_pods_are_not_rendered_without_what_their_pods_are_like() -> None:
    with pytest.raises(ValueError, match=r"^the jobs of runner docker are pods: say how these are made$"):
        render(spec(executor=Executor.KUBERNETES), {"docker": "glrt-1"})


def test_a_plain_job_is_given_no_way_to_a_daemon() -> None:
    found = gifts(Kind.PLAIN, Place())
    assert found == Gifts(engine=found.engine)


@pytest.mark.parametrize(
    ("kind", "executor", "needed"),
    [
        (Kind.PLAIN, Executor.DOCKER, True),
        (Kind.PLAIN, Executor.SHELL, False),
        (Kind.PLAIN, Executor.KUBERNETES, False),
        (Kind.DIND, Executor.DOCKER, True),
        (Kind.DIND, Executor.SHELL, True),
        (Kind.DIND, Executor.KUBERNETES, True),
        (Kind.HOST_DOCKER, Executor.DOCKER, False),
        (Kind.JOB_DIND, Executor.DOCKER, True),
    ],
)
def test_the_daemon_is_needed_by_who_builds_with_it_and_by_jobs_that_run_in_it(
    kind: Kind, executor: Executor, needed: bool
) -> None:
    assert kinds.needs_daemon(kind, executor) is needed


def test_the_daemon_is_found_by_the_name_that_it_has() -> None:
    named = ConfigSpec(runners=[RunnerSpec(name="docker")], concurrent=1, daemon=DaemonSpec(host="builder"))
    assert 'host = "tcp://builder:2376"' in render(named, {"docker": "glrt-1"})
