"""A board: what does not fit it, and the defaults that are taken from it."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from components.defaults import RUNNER_IMAGE
from stacks.raspberry_pi.board import (
    Node,
    check_board,
    check_images,
    check_names,
    fitted,
    images,
    node_constraint,
    warnings_about_board,
)
from stacks.raspberry_pi.platforms import Platform, helper_image
from stacks.raspberry_pi.settings import PiRunner, RaspberryPiSettings
from stacks.settings.mistakes import SettingsError
from stacks.targets import parse
from tests.unit.samples import WITH_CLIENT, board, pi, pi_settings, runner

HELPER = "registry.gitlab.com/gitlab-org/gitlab-runner/gitlab-runner-helper"
CGROUP = (
    "the kernel of the board was started without its memory cgroup: append cgroup_enable=memory to the line in "
    "/boot/firmware/cmdline.txt and reboot"
)
OWN = Node(id="own", hostname="raspberry")
OTHER = Node(id="other", hostname="strawberry")
MANAGER = {"swarm": "active", "is_manager": True, "node_id": "own", "nodes": (OWN, OTHER)}


def mistakes(settings: RaspberryPiSettings, **facts: Any) -> list[str]:
    """What does not fit a board with these facts, a line each."""
    try:
        check_board(settings, board(**facts))
    except SettingsError as error:
        return str(error).splitlines()
    return []


def labelled(node: Node, *labels: str) -> Node:
    return dataclasses.replace(node, labels=dict(label.split("=") for label in labels))


# platform


@pytest.mark.parametrize(
    ("platform", "architecture"), [("linux/arm64", "arm64"), ("linux/arm/v7", "arm"), ("linux/amd64", "amd64")]
)
def test_a_board_of_the_platform_is_taken(platform: str, architecture: str) -> None:
    settings = pi_settings(platform=platform, runners=[runner(helper_image=f"{HELPER}:arm-v18.5.0")])
    assert mistakes(settings, architecture=architecture) == []


@pytest.mark.parametrize(
    ("platform", "architecture", "message"),
    [
        (
            "linux/arm64",
            "arm",
            "settings.platform: 'linux/arm64' does not run on raspberry, whose system is 32-bit: install the 64-bit "
            "Raspberry Pi OS, or set platform: linux/arm/v7",
        ),
        (
            "linux/arm64",
            "amd64",
            "settings.platform: 'linux/arm64' does not run on raspberry, whose engine was built for amd64: set "
            "platform: linux/amd64, or point docker_host to another machine",
        ),
        (
            "linux/arm/v7",
            "arm64",
            "settings.platform: 'linux/arm/v7' does not run on raspberry, whose engine was built for arm64: set "
            "platform: linux/arm64, or point docker_host to another machine",
        ),
        (
            "linux/amd64",
            "arm",
            "settings.platform: 'linux/amd64' does not run on raspberry, whose system is 32-bit: install the 64-bit "
            "Raspberry Pi OS, or set platform: linux/arm/v7",
        ),
        (
            "linux/arm64",
            "riscv64",
            "settings.platform: 'linux/arm64' does not run on raspberry, whose engine was built for riscv64: use "
            "another machine",
        ),
    ],
)
def test_a_board_of_another_platform_is_refused(platform: str, architecture: str, message: str) -> None:
    settings = pi_settings(platform=platform, runners=[runner(helper_image=f"{HELPER}:arm-v18.5.0")])
    assert mistakes(settings, architecture=architecture) == [message]


def test_a_board_with_armv6_is_refused_as_images_for_32_bit_systems_need_more() -> None:
    settings = pi_settings(platform="linux/arm/v7", runners=[runner(helper_image=f"{HELPER}:arm-v18.5.0")])
    for asked in (settings, pi_settings()):
        assert mistakes(asked, architecture="arm", machine="armv6l") == [
            f"settings.platform: '{asked.platform}' does not run on raspberry, whose processor is ARMv6 (Pi 1, Zero, "
            "Zero W): use a newer board"
        ]
    for machine in ("armv7l", "aarch64"):
        assert mistakes(settings, architecture="arm", machine=machine) == []


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/var/lib/docker", "/var/lib/docker"),
        ("/var/lib/docker/", "/var/lib/docker"),
        ("//var/lib/docker", "/var/lib/docker"),
        ("/var/lib", "/var/lib/docker"),
        ("/var/lib/docker/volumes/x", "/var/lib/docker"),
        ("/var/lib/../lib/docker", "/var/lib/docker"),
        ("/mnt/ssd", "/mnt/ssd/docker"),
    ],
)
def test_a_cache_on_the_engines_own_data_is_refused(path: str, root: str) -> None:
    assert mistakes(pi_settings(daemon={"data_path": path}), docker_root=root) == [
        f"settings.daemon.data_path: '{path}' is the directory of the engine's own data ({root}), or around it, or in "
        "it, and two daemons on one directory destroy it: choose one of its own"
    ]


@pytest.mark.parametrize("path", ["/var/lib/docker-dind", "/var/lib/dind", "/mnt/ssd/docker", "/var/lib/docker/../x"])
def test_a_cache_beside_the_engines_own_data_is_taken(path: str) -> None:
    assert mistakes(pi_settings(daemon={"data_path": path})) == []


def test_a_32_bit_system_needs_the_name_of_the_helper() -> None:
    settings = pi_settings(
        platform="linux/arm/v7", runners=[runner(), runner(name="named", helper_image=f"{HELPER}:arm-v18.5.0")]
    )
    assert mistakes(settings, architecture="arm") == [
        "settings.runners[0].helper_image: has to be named on a 32-bit system, as GitLab Runner would take the "
        f"one for the kernel: for example {helper_image(RUNNER_IMAGE, Platform.ARM_V7)}"
    ]


# swarm


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (
            {},
            "settings.orchestrator: 'swarm' needs a swarm, and raspberry is in none: make it one with "
            "`docker swarm init --advertise-addr <its address>` there, or set orchestrator: docker",
        ),
        (
            {"swarm": "pending"},
            "settings.orchestrator: 'swarm' needs a swarm that works, and that of raspberry is pending: see "
            "`docker info` there",
        ),
        (
            {"swarm": "locked", "is_manager": True},
            "settings.orchestrator: 'swarm' needs a swarm that works, and that of raspberry is locked: see "
            "`docker info` there",
        ),
        (
            {"swarm": "active", "node_id": "own"},
            "settings.orchestrator: 'swarm' needs a manager of the swarm, and raspberry is a worker: run on a manager "
            "`docker node promote raspberry`, or point docker_host to one",
        ),
        *(
            (
                MANAGER | {"nodes": (dataclasses.replace(OWN, availability=availability), OTHER)},
                f"settings.orchestrator: 'swarm' starts nothing on raspberry, whose availability is {availability}: "
                "run `docker node update --availability active raspberry`",
            )
            for availability in ("pause", "drain")
        ),
    ],
    ids=["none", "pending", "locked", "worker", "paused", "drained"],
)
def test_a_board_that_cannot_run_a_service_is_refused(facts: dict[str, Any], message: str) -> None:
    assert mistakes(pi_settings(orchestrator="swarm"), **facts) == [message]
    assert mistakes(pi_settings(), **facts) == []


LABEL = "settings.swarm.node_label: 'ci=true' "
ADD = "run `docker node update --label-add ci=true raspberry`"
ALONE = (
    f"but the daemon and its certificates are on raspberry alone: give only that node the label ({ADD}), or remove the "
    "setting"
)


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ((labelled(OWN, "ci=true"), OTHER), []),
        ((labelled(OWN, "a=b", "ci=true"), labelled(OTHER, "ci=false")), []),
        ((OWN, OTHER), [f"{LABEL}matches no node of the swarm: {ADD}, or remove the setting"]),
        ((labelled(OWN, "ci=false"),), [f"{LABEL}matches no node of the swarm: {ADD}, or remove the setting"]),
        ((OWN, labelled(OTHER, "ci=true")), [f"{LABEL}matches strawberry, {ALONE}"]),
        (
            (labelled(OWN, "ci=true"), labelled(OTHER, "ci=true")),
            [f"{LABEL}matches raspberry, strawberry, {ALONE}"],
        ),
    ],
    ids=["own", "own among others", "no label", "another value", "another node", "two nodes"],
)
def test_a_label_has_to_name_the_daemons_node_and_no_other(nodes: tuple[Node, ...], found: list[str]) -> None:
    settings = pi_settings(orchestrator="swarm", swarm={"node_label": "ci=true"})
    assert mistakes(settings, **MANAGER | {"nodes": nodes}) == found


def test_the_task_is_placed_on_the_daemons_node_by_its_id_or_by_the_label() -> None:
    here = board(**MANAGER)
    assert node_constraint(pi_settings(orchestrator="swarm"), here) == "node.id==own"
    labelled_settings = pi_settings(orchestrator="swarm", swarm={"node_label": "com.example/role=ci"})
    assert node_constraint(labelled_settings, here) == "node.labels.com.example/role==ci"


# limits


@pytest.mark.parametrize(
    ("settings", "path", "value"),
    [
        ({"runner_memory_mib": 256}, "runner_memory_mib", 256),
        ({"daemon": {"memory_mib": 512}}, "daemon.memory_mib", 512),
        ({"runners": [runner(), runner(name="two", memory_mib=64)]}, "runners[1].memory_mib", 64),
    ],
)
def test_a_limit_of_memory_is_refused_where_the_kernel_has_none(
    settings: dict[str, Any], path: str, value: int
) -> None:
    refusal = f"settings.{path}: {value} cannot be had, as {CGROUP}; or remove it"
    assert mistakes(pi_settings(**settings), limits_memory=False) == [refusal]
    assert mistakes(pi_settings(**settings)) == []


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"runner_cpus": 4.1}, "runner_cpus"),
        ({"daemon": {"cpus": 4.1}}, "daemon.cpus"),
        ({"runners": [runner(cpus=4.1)]}, "runners[0].cpus"),
    ],
)
def test_more_cpus_than_the_board_has_are_refused(settings: dict[str, Any], path: str) -> None:
    assert mistakes(pi_settings(**settings)) == [
        f"settings.{path}: 4.1 is more than raspberry has, and its engine would refuse it: use 4 or less"
    ]
    assert mistakes(pi_settings(**settings), cores=8) == []


def test_as_many_cpus_as_the_board_has_are_taken() -> None:
    settings = pi_settings(runner_cpus=4, daemon={"cpus": 4}, runners=[runner(cpus=4)])
    assert mistakes(settings) == []


def test_all_that_does_not_fit_is_said_at_once() -> None:
    settings = pi_settings(
        orchestrator="swarm",
        swarm={"node_label": "ci=true"},
        runner_memory_mib=128,
        daemon={"memory_mib": 512, "cpus": 6},
        runners=[runner(memory_mib=64)],
    )
    drained = dataclasses.replace(OWN, availability="drain")
    found = mistakes(settings, **MANAGER | {"nodes": (drained,), "architecture": "amd64", "limits_memory": False})
    assert found == [
        "settings.platform: 'linux/arm64' does not run on raspberry, whose engine was built for amd64: set platform: "
        "linux/amd64, or point docker_host to another machine",
        "settings.orchestrator: 'swarm' starts nothing on raspberry, whose availability is drain: run "
        "`docker node update --availability active raspberry`",
        f"{LABEL}matches no node of the swarm: {ADD}, or remove the setting",
        "settings.daemon.cpus: 6.0 is more than raspberry has, and its engine would refuse it: use 4 or less",
        f"settings.runner_memory_mib: 128 cannot be had, as {CGROUP}; or remove it",
        f"settings.daemon.memory_mib: 512 cannot be had, as {CGROUP}; or remove it",
        f"settings.runners[0].memory_mib: 64 cannot be had, as {CGROUP}; or remove it",
    ]


def test_a_kernel_that_cannot_limit_memory_is_warned_of() -> None:
    assert list(warnings_about_board(board(limits_memory=False))) == [
        "neither the daemon nor a job has a limit of memory on raspberry, so that one of them can take the board down: "
        f"{CGROUP}"
    ]
    assert list(warnings_about_board(board())) == []


# what is taken from the board


@pytest.mark.parametrize(
    ("memory_mib", "nominal"),
    [
        (427, 512),
        (512, 512),
        (740, 768),
        (920, 1024),
        (1896, 2048),
        (3794, 4096),
        (5890, 6144),
        (7811, 8192),
        (11850, 12288),
        (16218, 16384),
        (32000, 32768),
    ],
)
def test_memory_counts_as_the_board_was_sold(memory_mib: int, nominal: int) -> None:
    assert board(memory_mib=memory_mib).nominal_memory_mib == nominal


def test_the_daemons_limit_of_memory_leaves_something_on_every_machine_and_changes_with_no_kernel() -> None:
    for memory_mib in range(410, 20000, 7):
        limit = fitted(pi_settings(), board(memory_mib=memory_mib)).daemon.memory_mib
        assert limit is not None
        assert limit < memory_mib * 0.95


CORES = [1, 2, 4, 8]
MEMORY = [427, 920, 1896, 3794, 7811, 16218]
DAEMON_CPUS = {1: None, 2: 1.0, 4: 3.0, 8: 7.0}
DAEMON_MIB = {427: 320, 920: 640, 1896: 1280, 3794: 2560, 7811: 5120, 16218: 10240}
CONCURRENT = {1: 1, 2: 1, 4: 2, 8: 4}
JOB_CPUS = {1: None, 2: 1.0, 4: 1.5, 8: 1.7}


@pytest.mark.parametrize(("cores", "memory_mib"), list(itertools.product(CORES, MEMORY)))
def test_what_the_settings_leave_open_is_taken_from_the_board(cores: int, memory_mib: int) -> None:
    settings = fitted(pi_settings(), board(cores=cores, memory_mib=memory_mib))
    (only,) = settings.runners
    assert settings.concurrent == settings.jobs_at_once == CONCURRENT[cores]
    assert (settings.daemon.cpus, settings.daemon.memory_mib) == (DAEMON_CPUS[cores], DAEMON_MIB[memory_mib])
    assert (only.cpus, only.memory_mib) == (JOB_CPUS[cores], DAEMON_MIB[memory_mib] // CONCURRENT[cores])
    assert (settings.runner_cpus, settings.runner_memory_mib) == (None, 256)


@pytest.mark.parametrize(("cores", "memory_mib", "count"), list(itertools.product(CORES, MEMORY, [1, 3, 40])))
def test_what_is_taken_from_a_board_fits_it_and_would_be_accepted_as_settings(
    cores: int, memory_mib: int, count: int
) -> None:
    runners = [runner(name=f"r{n}") for n in range(count)]
    here = board(cores=cores, memory_mib=memory_mib)
    settings = fitted(pi_settings(runners=runners), here)
    assert settings.concurrent == max(CONCURRENT[cores], count)
    check_board(settings, here)
    taken = {"cpus": settings.runners[0].cpus, "memory_mib": settings.runners[0].memory_mib}
    daemon = {"cpus": settings.daemon.cpus, "memory_mib": settings.daemon.memory_mib}
    raw = pi(
        concurrent=settings.concurrent,
        runner_memory_mib=settings.runner_memory_mib,
        daemon=daemon,
        runners=[each | taken for each in runners],
    )
    assert fitted(pi_parsed(raw), here) == settings


def pi_parsed(raw: dict[str, Any]) -> RaspberryPiSettings:
    parsed = parse(raw)
    assert isinstance(parsed, RaspberryPiSettings)
    return parsed


def test_the_settings_go_before_the_board() -> None:
    explicit = pi_settings(
        concurrent=3,
        runner_cpus=0.5,
        runner_memory_mib=128,
        daemon={"cpus": 2, "memory_mib": 1024},
        runners=[runner(cpus=0.3, memory_mib=100, helper_image="helper:1")],
    )
    assert fitted(explicit, board()) == explicit


def test_jobs_share_the_daemon_that_the_settings_describe() -> None:
    settings = fitted(pi_settings(concurrent=3, daemon={"cpus": 2, "memory_mib": 1000}), board())
    assert (settings.runners[0].cpus, settings.runners[0].memory_mib) == (0.6, 333)


def test_each_runner_gets_what_it_leaves_open() -> None:
    runners = [runner(memory_mib=100), runner(name="two", cpus=2), runner(name="three")]
    settings = fitted(pi_settings(runners=runners), board())
    assert settings.concurrent == 3
    assert [(each.cpus, each.memory_mib) for each in settings.runners] == [(1.0, 100), (2.0, 853), (1.0, 853)]


def test_the_smallest_shares_are_what_docker_still_takes() -> None:
    settings = fitted(pi_settings(concurrent=50), board(cores=2, memory_mib=427))
    assert (settings.runners[0].cpus, settings.runners[0].memory_mib) == (0.1, 16)


def test_no_limit_of_memory_is_asked_of_a_kernel_that_has_none() -> None:
    settings = fitted(pi_settings(), board(limits_memory=False))
    assert (settings.daemon.memory_mib, settings.runner_memory_mib, settings.runners[0].memory_mib) == (None,) * 3
    assert (settings.daemon.cpus, settings.runners[0].cpus) == (3.0, 1.5)


@pytest.mark.parametrize("kind", ["dind", "plain"])
def test_jobs_in_the_runners_own_container_have_no_limits_of_their_own(kind: str) -> None:
    settings = fitted(pi_settings(runner_image=WITH_CLIENT, runners=[runner(kind=kind, executor="shell")]), board())
    (only,) = settings.runners
    assert (settings.runner_memory_mib, only.cpus, only.memory_mib, only.helper_image) == (None,) * 4


def test_a_limit_of_the_runner_for_jobs_in_its_shell_is_taken_when_asked_for() -> None:
    shell = [runner(kind="plain", executor="shell")]
    assert fitted(pi_settings(runner_memory_mib=2048, runners=shell), board()).runner_memory_mib == 2048


def test_jobs_of_the_boards_own_engine_have_their_share_too() -> None:
    (only,) = fitted(pi_settings(runners=[runner(kind="host-docker")]), board()).runners
    assert (only.cpus, only.memory_mib) == (1.5, 1280)


@pytest.mark.parametrize(
    ("platform", "runner_image", "helper"),
    [
        ("linux/arm64", "gitlab/gitlab-runner:v18.5.0", f"{HELPER}:arm64-v18.5.0"),
        ("linux/arm/v7", "gitlab/gitlab-runner:v18.5.0", f"{HELPER}:arm-v18.5.0"),
        ("linux/amd64", "gitlab/gitlab-runner:alpine-v17.11.2", f"{HELPER}:x86_64-v17.11.2"),
        ("linux/arm64", "gitlab/gitlab-runner:alpine", None),
        ("linux/arm64", "mine/runner:v18.5.0", None),
    ],
)
def test_the_helper_is_that_of_the_runner_where_its_version_is_known(
    platform: str, runner_image: str, helper: str | None
) -> None:
    (only,) = fitted(pi_settings(platform=platform, runner_image=runner_image), board()).runners
    assert only.helper_image == helper


def test_what_is_taken_from_the_board_changes_nothing_else() -> None:
    before = pi_settings(name="x", runners=[runner(limit=1), runner(name="two", kind="plain")])
    after = fitted(before, board())
    assert isinstance(after.runners[0], PiRunner)
    taken = {"concurrent", "runner_memory_mib", "daemon", "runners"}
    assert after.model_dump(exclude=taken) == before.model_dump(exclude=taken)
    limits = {"cpus", "memory_mib"}
    assert after.daemon.model_dump(exclude=limits) == before.daemon.model_dump(exclude=limits)
    for one, two in zip(after.runners, before.runners, strict=True):
        assert one.model_dump(exclude=limits | {"helper_image"}) == two.model_dump(exclude=limits | {"helper_image"})


# images


def listed(**settings: Any) -> list[tuple[str, str, bool]]:
    return list(images(pi_settings(daemon={"image": "daemon:1"}, runner_image="runner:1", **settings)))


def test_every_image_of_the_stack_is_listed_with_who_runs_it() -> None:
    job = {"image": "job:1", "helper_image": "helper:1", "job_daemon_image": "job-daemon:1"}
    runners = [
        runner(**job),
        runner(name="b", kind="job-dind", **job),
        runner(name="c", kind="host-docker", **job),
        runner(name="d", kind="plain", image="job:2"),
    ]
    assert listed(runners=runners) == [
        ("daemon.image", "daemon:1", True),
        ("runner_image", "runner:1", True),
        ("runners[0].image", "job:1", False),
        ("runners[0].helper_image", "helper:1", False),
        ("runners[1].image", "job:1", False),
        ("runners[1].helper_image", "helper:1", False),
        ("runners[1].job_daemon_image", "job-daemon:1", False),
        ("runners[2].image", "job:1", True),
        ("runners[2].helper_image", "helper:1", True),
        ("runners[3].image", "job:2", False),
    ]


@pytest.mark.parametrize(
    "settings", [runner(kind="host-docker", image="job:1"), runner(kind="plain", executor="shell")]
)
def test_the_daemons_image_is_not_listed_where_there_is_no_daemon(settings: dict[str, Any]) -> None:
    assert "daemon.image" not in [where for where, *_ in listed(runners=[settings])]


def test_the_shell_needs_no_image_of_jobs() -> None:
    assert listed(runners=[runner(kind="plain", executor="shell")]) == [("runner_image", "runner:1", True)]


ARM64 = frozenset({"linux/arm64/v8"})


@pytest.mark.parametrize("offered", [{}, {"runner:1": None}, {"runner:1": ARM64, "daemon:1": ARM64 | {"linux/amd64"}}])
def test_images_that_are_there_or_of_which_nobody_can_tell_are_taken(offered: dict[str, frozenset[str] | None]) -> None:
    check_images(pi_settings(daemon={"image": "daemon:1"}, runner_image="runner:1"), offered)


def test_every_image_that_is_not_there_for_the_platform_is_refused() -> None:
    settings = pi_settings(
        daemon={"image": "daemon:1"},
        runner_image="runner:1",
        runners=[runner(image="job:1"), runner(name="two", image="job:1", helper_image="helper:1")],
    )
    offered = {
        "daemon:1": ARM64,
        "runner:1": frozenset({"linux/s390x", "linux/amd64"}),
        "job:1": frozenset({"linux/arm/v7"}),
        "helper:1": None,
    }
    with pytest.raises(SettingsError) as caught:
        check_images(settings, offered)
    remedy = "choose another image, tag or platform, or remove a wrong copy on the board with `docker image rm`"
    assert str(caught.value).splitlines() == [
        f"settings.runner_image: 'runner:1' is not there for linux/arm64 (only for linux/amd64, linux/s390x): {remedy}",
        f"settings.runners[0].image: 'job:1' is not there for linux/arm64 (only for linux/arm/v7): {remedy}",
        f"settings.runners[1].image: 'job:1' is not there for linux/arm64 (only for linux/arm/v7): {remedy}",
    ]


# names


@pytest.mark.parametrize("prefix", ["gitlab-dind-runners-dev", "a" * 40])
def test_a_prefix_that_swarm_takes_is_let_through(prefix: str) -> None:
    check_names(pi_settings(orchestrator="swarm"), prefix)


@pytest.mark.parametrize(
    "prefix", ["gitlab-dind-runners-of-a-very-long-stack1", "gitlab-dind-runners-eu.west", "Runners-dev"]
)
def test_a_prefix_that_swarm_does_not_take_is_refused(prefix: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_names(pi_settings(orchestrator="swarm"), prefix)
    assert str(caught.value) == (
        f"settings.name: is needed, as '{prefix}', with which the stack's objects would begin, is no name for Swarm: "
        "choose one of up to 40 lower-case letters, digits and dashes"
    )


def test_without_a_swarm_a_prefix_may_be_longer() -> None:
    check_names(pi_settings(), "gitlab-dind-runners-of-a-very-long-stack1")
