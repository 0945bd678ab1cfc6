"""Versions: what an image's name says of them, what goes with what, and what is refused or warned of, word for word."""

from __future__ import annotations

import json
from typing import Any

import pytest

from components.defaults import CLIENT_IMAGE, DAEMON_IMAGE, RUNNER_IMAGE
from stacks.settings import versions
from stacks.settings.combinations import check_engine, warnings_about_versions
from stacks.settings.daemon_file import daemon_file
from stacks.settings.mistakes import SettingsError
from stacks.settings.versions import (
    DEFAULTS,
    ApiRange,
    Engine,
    docker_api,
    docker_version,
    docker_written,
    helper_version,
    plain_version,
    runner_api,
    runner_version,
    written,
)
from stacks.targets import parse
from tests.unit.samples import gke, pi, plain, runner

DIGEST = "sha256:" + "0" * 64
HELPER = "registry.gitlab.com/gitlab-org/gitlab-runner/gitlab-runner-helper"
NEWEST = 10**9
TARGETS = {"docker-host": plain, "raspberry-pi": pi, "gke": gke}
PROBE_29 = Engine("tcp://ci:2376", "29.0.4", ApiRange((1, 44), (1, 52)))


def mistakes(target: str = "docker-host", **settings: Any) -> list[str]:
    """What is wrong with a target's smallest settings and these, a line each."""
    try:
        parse(TARGETS[target](**settings))
    except SettingsError as error:
        return str(error).splitlines()
    return []


def warnings(target: str = "docker-host", engine: Engine | None = None, **settings: Any) -> list[str]:
    """What is warned of in a target's smallest settings and these, a line each."""
    return list(warnings_about_versions(parse(TARGETS[target](**settings)), engine=engine))


def on_host(engine: Engine, **settings: Any) -> list[str]:
    """What is wrong with settings on an engine, a line each."""
    try:
        check_engine(parse(plain(**settings)), engine)
    except SettingsError as error:
        return str(error).splitlines()
    return []


# what a name says


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("docker:28.5.2-dind", (28, 5, 2)),
        ("docker:28.5.2", (28, 5, 2)),
        ("docker:28.5.2-dind-alpine3.22", (28, 5, 2)),
        ("docker:28.5.2-dind-rootless", (28, 5, 2)),
        ("docker:28.5-cli", (28, 5, NEWEST)),
        ("docker:29-dind", (29, NEWEST, NEWEST)),
        (f"docker:28.5.2-dind@{DIGEST}", (28, 5, 2)),
        ("mirror.example.com:5000/library/docker:27.5.1-dind", (27, 5, 1)),
        ("mirror.example.com/hub/library/docker:27.5.1-dind", (27, 5, 1)),
        ("dindrunner.local/dind:28.5.2-0a1b2c3d", (28, 5, 2)),
        ("172.17.0.1:9005/dindrunner.local/job:28.5.2-0a1b2c3d", (28, 5, 2)),
        ("dindrunner.local/dind-next:29.8-moby-2.0.0-beta.24-0a1b2c3d", (29, 8, NEWEST)),
        ("dindrunner.local/dind:2.0.0-beta.24-0a1b2c3d", None),
        ("docker:1.13.1-dind", None),
        ("docker:dind", None),
        ("docker:latest", None),
        ("docker", None),
        (f"docker@{DIGEST}", None),
        ("docker:29.0.0-rc.3-dind", None),
        ("docker:$VERSION", None),
        ("docker:28.5.2.1-dind", None),
        ("example/docker:1.0.0", None),
        ("dindrunner.local/runner:19.4.0-0a1b2c3d", None),
        ("alpine:3.22", None),
        ("harbor.example.com/library/docker:20260130", None),
        ("harbor.example.com/library/docker:2026.01-dind", None),
        ("gitlab.example.com:443/group/dependency_proxy/containers/docker:24.0.7-dind", None),
        ("public.ecr.aws/docker/library/docker:24.0.7-dind", (24, 0, 7)),
        ("docker:24.0.7-windowsservercore-ltsc2022", (24, 0, 7)),
    ],
)
def test_the_version_of_a_docker_image_is_what_its_name_says(image: str, version: tuple[int, ...] | None) -> None:
    assert docker_version(image) == version


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("gitlab/gitlab-runner:v19.4.0", (19, 4, 0)),
        ("gitlab/gitlab-runner:alpine-v19.4.0", (19, 4, 0)),
        ("gitlab/gitlab-runner:alpine3.21-v19.4.0", (19, 4, 0)),
        ("gitlab/gitlab-runner:ubi-fips-v19.4.0", (19, 4, 0)),
        (f"gitlab/gitlab-runner:v19.4.0@{DIGEST}", (19, 4, 0)),
        ("registry.gitlab.com/gitlab-org/gitlab-runner:v19.4.0", (19, 4, 0)),
        ("mirror.example.com/gitlab/gitlab-runner:v19.4.0", (19, 4, 0)),
        ("dindrunner.local/runner:12.8.0-dev-0a1b2c3d", (12, 8, 0)),
        ("gitlab/gitlab-runner:v19.4.0-rc1", None),
        ("gitlab/gitlab-runner:alpine", None),
        (f"gitlab/gitlab-runner@{DIGEST}", None),
        ("example/gitlab-runner:v1.0.0", None),
        ("mine/runner:1", None),
    ],
)
def test_the_version_of_a_runner_image_is_what_its_name_says(image: str, version: tuple[int, ...] | None) -> None:
    assert runner_version(image) == version


@pytest.mark.parametrize(
    ("image", "version"),
    [
        (f"{HELPER}:x86_64-v19.4.0", (19, 4, 0)),
        (f"{HELPER}:ubuntu-arm64-v19.4.0", (19, 4, 0)),
        (f"{HELPER}:alpine-latest-arm-v19.4.0", (19, 4, 0)),
        (f"{HELPER}:x86_64-v19.4.0-pwsh", (19, 4, 0)),
        (f"{HELPER}:x86_64-latest", None),
        ("example/helper:v1.0.0", None),
    ],
)
def test_the_version_of_a_helper_image_is_what_its_name_says(image: str, version: tuple[int, ...] | None) -> None:
    assert helper_version(image) == version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("28.5.2+dfsg4", (28, 5, 2)),
        ("v1.34.4-gke.1193000", (1, 34, 4)),
        ("19.4.0-ee", (19, 4, 0)),
        ("29.0", (29, 0, 0)),
        ("dev", None),
        ("", None),
    ],
)
def test_versions_that_programs_say_of_themselves_are_read(text: str, version: tuple[int, ...] | None) -> None:
    assert plain_version(text) == version


def test_parts_that_a_version_leaves_open_are_not_written() -> None:
    assert (written((28, NEWEST, NEWEST)), written((14, 10)), written((19, 4, 0))) == ("28", "14.10", "19.4.0")


def test_dockers_months_are_written_with_two_digits() -> None:
    assert [docker_written(version) for version in versions.DOCKER_API][:4] == ["18.09", "19.03", "20.10", "23.0"]


# what goes with what


@pytest.mark.parametrize(
    ("version", "api"),
    [
        ((18, 6, 0), None),
        ((19, 3, 15), ApiRange((1, 12), (1, 40))),
        ((20, 10, 24), ApiRange((1, 12), (1, 41))),
        ((28, 5, 2), ApiRange((1, 24), (1, 51))),
        ((29, 0, 0), ApiRange((1, 44), (1, 52))),
        ((29, 2, 1), ApiRange((1, 44), (1, 53))),
        ((29, 3, 0), ApiRange((1, 40), (1, 54))),
        ((29, NEWEST, NEWEST), ApiRange((1, 40), (1, 56))),
    ],
)
def test_docker_speaks_what_its_release_notes_say(version: tuple[int, ...], api: ApiRange | None) -> None:
    assert docker_api(version) == api


@pytest.mark.parametrize(
    ("version", "api"),
    [
        ((11, 8, 0), None),
        ((12, 8, 0), ApiRange((1, 25), (1, 25))),
        ((14, 9, 2), ApiRange((1, 25), (1, 25))),
        ((14, 10, 0), ApiRange((1, 24), (1, 41))),
        ((17, 4, 1), ApiRange((1, 24), (1, 43))),
        ((17, 5, 0), ApiRange((1, 24), (1, 44))),
        ((19, 4, 0), ApiRange((1, 40), (1, 55))),
    ],
)
def test_gitlab_runner_speaks_what_the_client_in_its_go_mod_does(
    version: tuple[int, ...], api: ApiRange | None
) -> None:
    assert runner_api(version) == api


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("daemon", [DAEMON_IMAGE, "docker:29.0.0-dind", "docker:29-dind"])
def test_the_defaults_go_with_each_other_and_with_newer_daemons(target: str, daemon: str) -> None:
    settings = parse(TARGETS[target](daemon={"image": daemon}))
    assert list(warnings_about_versions(settings, gitlab_version=versions.TESTED["GitLab Runner"][0])) == []


def test_every_default_is_what_the_tests_ran_on() -> None:
    ran = {"daemon.image": "Docker", "runners[].image": "Docker", "runners[].job_daemon_image": "Docker"}
    for path, image in DEFAULTS.items():
        version = written(docker_version(image) or runner_version(image) or ())
        assert version in versions.TESTED[ran.get(path, "GitLab Runner")], f"run the tests with {image} first"


def test_every_default_says_its_version() -> None:
    assert {path: bool(docker_version(image) or runner_version(image)) for path, image in DEFAULTS.items()} == (
        dict.fromkeys(DEFAULTS, True)
    )


# clients and daemons


NEXT = {"image": "docker:29.9.1-dind"}
FIRST_29 = {"image": "docker:29.0.0-dind"}
CLI_24 = "docker:24.0.7-cli"


@pytest.mark.parametrize("target", ["docker-host", "raspberry-pi"])
@pytest.mark.parametrize("kind", ["dind", "plain", "job-dind"])
def test_a_runner_before_it_could_negotiate_is_refused_with_a_daemon_of_29(target: str, kind: str) -> None:
    old = "gitlab/gitlab-runner:v14.9.0"
    assert mistakes(target, runner_image=old, daemon=NEXT, runners=[runner(kind=kind)]) == [
        "settings.runner_image: 'gitlab/gitlab-runner:v14.9.0' speaks Docker's API up to 1.25, and daemon.image "
        "'docker:29.9.1-dind' takes none below 1.40, so every job would fail: use GitLab Runner 14.10 or newer, or a "
        "daemon of the 28 series"
    ]


def test_the_stand_ins_are_judged_as_well() -> None:
    assert mistakes(
        runner_image="dindrunner.local/runner:12.8.0-dev-0a1b2c3d", daemon={"image": "dindrunner.local/dind:29.9.1-0a1"}
    ) == [
        "settings.runner_image: 'dindrunner.local/runner:12.8.0-dev-0a1b2c3d' speaks Docker's API up to 1.25, and "
        "daemon.image 'dindrunner.local/dind:29.9.1-0a1' takes none below 1.40, so every job would fail: use GitLab "
        "Runner 14.10 or newer, or a daemon of the 28 series"
    ]


def test_a_runner_with_a_client_of_24_is_refused_with_the_first_29_alone() -> None:
    old = "gitlab/gitlab-runner:v17.4.0"
    assert mistakes(runner_image=old, daemon=FIRST_29) == [
        "settings.runner_image: 'gitlab/gitlab-runner:v17.4.0' speaks Docker's API up to 1.43, and daemon.image "
        "'docker:29.0.0-dind' takes none below 1.44, so every job would fail: use GitLab Runner 17.5 or newer, or a "
        "daemon of the 28 series"
    ]
    assert mistakes(runner_image=old, daemon=NEXT) == []


@pytest.mark.parametrize(
    ("target", "settings"),
    [
        # GitLab Runner itself talks to no daemon there.
        ("gke", {}),
        ("docker-host", {"runners": [runner(kind="plain", executor="shell")]}),
        # Its version is nobody's to know.
        ("docker-host", {"runner_image": "mine/runner:1"}),
        ("docker-host", {"runner_image": f"gitlab/gitlab-runner@{DIGEST}"}),
        ("docker-host", {"daemon": {"image": f"docker@{DIGEST}"}}),
        ("docker-host", {"daemon": {"image": "docker:dind"}}),
    ],
    ids=["gke", "shell", "another image", "runner by digest", "daemon by digest", "a tag that moves"],
)
def test_what_talks_to_no_daemon_or_says_no_version_is_not_judged(target: str, settings: dict[str, Any]) -> None:
    usual = {"runner_image": "gitlab/gitlab-runner:v12.8.0", "daemon": NEXT}
    assert mistakes(target, **usual | settings) == []


def test_a_daemon_that_is_too_old_for_a_new_runner_is_refused() -> None:
    assert mistakes(daemon={"image": "docker:18.09.9-dind"}, runners=[runner(kind="plain")]) == [
        f"settings.runner_image: '{RUNNER_IMAGE}' speaks Docker's API from 1.40 on, and daemon.image "
        "'docker:18.09.9-dind' none above 1.39, so every job would fail: use a daemon of Docker 20.10 or newer, or an "
        "older image here"
    ]


@pytest.mark.parametrize("target", TARGETS)
def test_a_client_that_is_too_old_for_the_daemon_is_warned_of_as_jobs_may_name_another(target: str) -> None:
    assert warnings(target, daemon=FIRST_29, runners=[runner(image=CLI_24)]) == [
        "settings.runners[0].image: 'docker:24.0.7-cli' speaks Docker's API up to 1.43, and daemon.image "
        "'docker:29.0.0-dind' takes none below 1.44, so jobs that name no image of their own cannot use Docker: use "
        "Docker's client 25.0 or newer, or a daemon of the 28 series"
    ]


def test_a_client_of_18_09_is_to_be_one_of_19_03() -> None:
    assert warnings(daemon=NEXT, runners=[runner(image="docker:18.09.9")]) == [
        "settings.runners[0].image: 'docker:18.09.9' speaks Docker's API up to 1.39, and daemon.image "
        "'docker:29.9.1-dind' takes none below 1.40, so jobs that name no image of their own cannot use Docker: use "
        "Docker's client 19.03 or newer, or a daemon of the 28 series",
        "settings.runners[0].image: 'docker:18.09.9' has neither buildx nor compose, so in jobs that name no image of "
        "their own `docker compose` fails, and `docker build` may use the legacy builder: use Docker's client 20.10.15 "
        "or newer",
    ]


def test_a_client_that_is_too_new_for_the_daemon_is_warned_of() -> None:
    daemon = {"image": "docker:24.0.7-dind"}
    assert warnings("gke", daemon=daemon, runners=[runner(image="docker:29.1.0-cli")]) == [
        "settings.runners[0].image: 'docker:29.1.0-cli' speaks Docker's API from 1.44 on, and daemon.image "
        "'docker:24.0.7-dind' none above 1.43, so jobs that name no image of their own cannot use Docker: use a daemon "
        "of Docker 25.0 or newer, or an older image here"
    ]


def test_the_daemon_of_a_job_is_judged_with_that_jobs_client() -> None:
    own = runner(kind="job-dind", image=CLI_24, job_daemon_image="docker:29.0.0-dind")
    assert warnings(runners=[own]) == [
        "settings.runners[0].image: 'docker:24.0.7-cli' speaks Docker's API up to 1.43, and "
        "runners[0].job_daemon_image 'docker:29.0.0-dind' takes none below 1.44, so jobs that name no image of their "
        "own cannot use Docker: use Docker's client 25.0 or newer, or a daemon of the 28 series"
    ]


@pytest.mark.parametrize("target", TARGETS)
def test_a_client_without_plugins_is_warned_of(target: str) -> None:
    assert warnings(target, runners=[runner(image="docker:20.10.14-cli")]) == [
        "settings.runners[0].image: 'docker:20.10.14-cli' has neither buildx nor compose, so in jobs that name no "
        "image of their own `docker compose` fails, and `docker build` may use the legacy builder: use Docker's client "
        "20.10.15 or newer"
    ]


@pytest.mark.parametrize(
    "given",
    [{"image": "docker:20.10.15-cli"}, {"image": "docker:20.10"}, {"kind": "plain", "image": "docker:20.10.14"}],
)
def test_clients_that_have_plugins_or_need_none_are_not_warned_of(given: dict[str, Any]) -> None:
    assert warnings(runners=[runner(**given)]) == []


def test_jobs_that_use_no_docker_may_have_any_client() -> None:
    assert warnings(daemon=FIRST_29, runners=[runner(kind="plain", image=CLI_24)]) == []


# a daemon and what it is told


def test_a_daemon_that_knows_no_host_gateway_is_refused_where_jobs_need_it() -> None:
    old = {"image": "docker:19.03.15-dind"}
    assert mistakes(daemon=old) == [
        "settings.daemon.image: 'docker:19.03.15-dind' knows no host-gateway, by which jobs of kind dind find the "
        "daemon, so all of them would fail: use Docker 20.10 or newer"
    ]
    assert mistakes(daemon={**old, "transport": "socket"}) == []
    assert mistakes(daemon=old, runners=[runner(kind="plain")]) == []
    assert mistakes("gke", daemon=old) == []


@pytest.mark.parametrize("image", ["docker:20.10.24-dind", "docker:23-dind"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_daemon_that_knows_no_mtu_of_its_networks_is_not_told_one_and_warned_of(target: str, image: str) -> None:
    old: dict[str, Any] = {"daemon": {"image": image}, "network": {"mtu": 1400}}
    told = json.loads(daemon_file(parse(TARGETS[target](**old))))
    assert (told["mtu"], told.get("default-network-opts")) == (1400, None)
    assert warnings(target, **old) == [
        f"settings.network.mtu: 1400 is not that of the networks which jobs make inside daemon.image '{image}', as it "
        "knows no option for them: use Docker 24.0 or newer"
    ]


@pytest.mark.parametrize("target", ["docker-host", "raspberry-pi"])
@pytest.mark.parametrize("image", ["docker:24.0.0-dind", DAEMON_IMAGE, f"docker@{DIGEST}"])
def test_other_daemons_are_told_the_mtu_of_their_networks(target: str, image: str) -> None:
    new: dict[str, Any] = {"daemon": {"image": image}, "network": {"mtu": 1400}}
    told = json.loads(daemon_file(parse(TARGETS[target](**new))))
    assert told["default-network-opts"] == {"bridge": {"com.docker.network.driver.mtu": "1400"}}
    assert warnings(target, **new) == []


def test_without_an_mtu_nothing_is_said_of_one() -> None:
    assert warnings(daemon={"image": "docker:23.0.6-dind"}) == []
    assert warnings("gke", daemon={"image": "docker:23.0.6-dind"}, network={"mtu": None}) == []


# the host's own engine


HOST = [runner(kind="host-docker")]


def test_an_engine_that_a_runner_is_too_old_for_is_refused_with_kind_host_docker_alone() -> None:
    old = "gitlab/gitlab-runner:v17.4.0"
    assert on_host(PROBE_29, runner_image=old, runners=HOST) == [
        "settings.runner_image: 'gitlab/gitlab-runner:v17.4.0' speaks Docker's API up to 1.43, and the engine of "
        "tcp://ci:2376 (Docker 29.0.4, API 1.52) takes none below 1.44, so every job of runners[0] would fail: use "
        "GitLab Runner 17.5 or newer"
    ]
    assert on_host(PROBE_29, runner_image=old) == []


def test_an_engine_that_a_client_is_too_new_for_is_to_be_upgraded() -> None:
    engine = Engine("raspberry", "20.10.24", ApiRange((1, 12), (1, 41)))
    new = [runner(kind="host-docker", image="docker:29.1.0-cli")]
    assert on_host(engine, runners=new) == []
    assert warnings(engine=engine, runners=new) == [
        "settings.runners[0].image: 'docker:29.1.0-cli' speaks Docker's API from 1.44 on, and the engine of raspberry "
        "(Docker 20.10.24, API 1.41) none above 1.41, so jobs that name no image of their own cannot use Docker: "
        "upgrade it to Docker 25.0 or newer, or an older image here"
    ]


@pytest.mark.parametrize(
    ("said", "api"),
    [
        ("20.10.24+dfsg1", ApiRange((1, 12), (1, 41))),
        ("24.0.2-1535", ApiRange((1, 12), (1, 43))),
        ("28.5.2", ApiRange((1, 24), (1, 51))),
        ("library-import", ApiRange((1, 40), (1, 56))),
        ("5.4.2", ApiRange((1, 24), (1, 41))),
    ],
    ids=["Debian", "Synology", "Docker Desktop", "built from modules", "Podman"],
)
def test_engines_of_others_are_taken_by_their_api(said: str, api: ApiRange) -> None:
    assert on_host(Engine("ci", said, api), runners=[runner(), runner(name="host", kind="host-docker")]) == []


def test_an_engine_that_allows_old_clients_is_believed() -> None:
    lenient = Engine("ci", "29.0.4", ApiRange((1, 24), (1, 52)))
    assert on_host(lenient, runner_image="gitlab/gitlab-runner:v12.8.0", runners=HOST) == []


def test_an_engine_older_than_every_test_is_warned_of() -> None:
    engine = Engine("raspberry", "19.03.15", ApiRange((1, 12), (1, 40)))
    assert on_host(engine) == []
    assert list(warnings_about_versions(parse(plain()), engine=engine)) == [
        "settings.docker_host: raspberry has Docker 19.03.15, API 1.40, which no stack was ever tried on: upgrade it "
        "to Docker 20.10 or newer"
    ]
    assert list(warnings_about_versions(parse(plain()), engine=PROBE_29)) == []


# GitLab and the helper


@pytest.mark.parametrize("gitlab", ["19.4.0", "19.4.3-ee", "19.5.0-pre", "20.0.0", None, "unknown"])
def test_a_gitlab_as_new_as_the_runner_is_taken(gitlab: str | None) -> None:
    settings = parse(plain(runner_image="gitlab/gitlab-runner:v19.4.0"))
    assert list(warnings_about_versions(settings, gitlab_version=gitlab)) == []


@pytest.mark.parametrize("target", TARGETS)
def test_a_runner_newer_than_its_gitlab_is_warned_of(target: str) -> None:
    settings = parse(TARGETS[target](runner_image="gitlab/gitlab-runner:v19.4.0"))
    assert list(warnings_about_versions(settings, gitlab_version="18.11.2-ee")) == [
        "settings.runner_image: 'gitlab/gitlab-runner:v19.4.0' is newer than the GitLab at https://gitlab.example.com "
        "(18.11.2-ee), and may ask it for what it does not know: use GitLab Runner 18.11, or upgrade GitLab first"
    ]


def test_a_helper_of_another_version_is_warned_of() -> None:
    image = f"{HELPER}:arm-v18.5.0"
    settings = parse(plain(runner_image="gitlab/gitlab-runner:v19.4.0", runners=[runner(helper_image=image)]))
    assert list(warnings_about_versions(settings)) == [
        f"settings.runners[0].helper_image: '{image}' is of GitLab Runner 18.5.0, and runner_image of 19.4.0, which "
        "are made for each other: use the helper of 19.4.0"
    ]
    fitting = runner(helper_image=f"{HELPER}:arm-v19.4.0")
    same = parse(plain(runner_image="gitlab/gitlab-runner:v19.4.0", runners=[fitting]))
    assert list(warnings_about_versions(same)) == []


def test_the_client_image_is_the_daemons_own_version() -> None:
    assert docker_version(CLIENT_IMAGE) == docker_version(DAEMON_IMAGE)
