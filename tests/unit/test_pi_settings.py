"""Target raspberry-pi: what its settings take, what they default to, and how SSH is told."""

from __future__ import annotations

from typing import Any

import pytest

from components.defaults import RUNNER_IMAGE
from components.docker_client import DockerEngine
from stacks.raspberry_pi.settings import Orchestrator, RaspberryPiSettings
from stacks.settings.mistakes import SettingsError
from stacks.targets import parse
from tests.unit.samples import TOKEN, WITH_CLIENT, pi, pi_settings, plain, runner

LOCAL = "unix:///var/run/docker.sock"
TOP_LEVEL = (
    "check_interval, concurrent, daemon, docker_host, drain_seconds, extra, extra_unchecked, gitlab, host_socket, "
    "log_level, metrics_address, name, network, orchestrator, platform, runner_cpus, runner_image, runner_memory_mib, "
    "runners, ssh, swarm, target"
)
ALWAYS = ("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=10")
ALIVE = ("-o", "ServerAliveInterval=30")


def mistakes(**settings: Any) -> str:
    """The text of the error that these settings give."""
    with pytest.raises(SettingsError) as caught:
        parse(pi(**settings))
    return str(caught.value)


WRONG: list[tuple[dict[str, Any], str]] = [
    # keys
    ({"bogus": 1}, f"settings.bogus: is no setting: use one of {TOP_LEVEL}"),
    ({"platfrom": "x"}, "settings.platfrom: is no setting: did you mean platform?"),
    ({"ssh": {"keyfile": "x"}}, "settings.ssh.keyfile: is no setting: did you mean key_file?"),
    ({"swarm": {"label": "a=b"}}, "settings.swarm.label: is no setting: did you mean node_label?"),
    ({"swarm": {"node": "a"}}, "settings.swarm.node: is no setting: use one of node_label, privileged"),
    ({"runners": [runner(memory=64)]}, "settings.runners[0].memory: is no setting: did you mean memory_mib?"),
    ({"ssh": None}, "settings.ssh: none must be a table"),
    ({"swarm": "ci=true"}, "settings.swarm: 'ci=true' must be a table"),
    # the way to the board
    *(
        ({"docker_host": host}, f"settings.docker_host: {host!r} is no way to a board: write ssh://user@host, or "
         "unix:///var/run/docker.sock on the board itself")
        for host in ["tcp://raspberry:2375", "tcp://raspberry:2376", "npipe:////./pipe/docker", "ssh://pi@h:70000",
                     "ssh://pi@h:0", "ssh://["]
    ),
    *(
        ({"docker_host": host}, "settings.docker_host: (hidden) has more than SSH takes: write ssh://user@host or "
         "ssh://user@host:port")
        for host in ["ssh://pi:s3cret@raspberry", "ssh://pi@", "ssh://:22", "ssh:///run/docker.sock",
                     "ssh://pi@raspberry?key=s3cret", "ssh://pi@raspberry#s3cret"]
    ),
    *(
        ({"docker_host": host}, f"settings.docker_host: {host!r} is no Docker engine: write it as unix:///path, "
         "tcp://host:port or ssh://user@host")
        for host in ["pi@raspberry", "raspberry", "ssh://", "ssh://my pi", "ssh:raspberry"]
    ),
    *(
        ({"docker_host": LOCAL, "ssh": {name: "/home/me/file"}}, f"settings.ssh.{name}: '/home/me/file' is not used by "
         f"docker_host {LOCAL}: remove it")
        for name in ("key_file", "known_hosts_file")
    ),
    *(
        ({"ssh": {name: value}}, f"settings.ssh.{name}: {value!r} is no path that SSH takes: write it without spaces")
        for name in ("key_file", "known_hosts_file")
        for value in ["", "my key", "key\n"]
    ),
    ({"ssh": {"key_file": 5}}, "settings.ssh.key_file: 5 is not accepted: should be a valid string"),
    # platform and orchestrator
    *(
        ({"platform": value}, f"settings.platform: {shown} is not accepted: should be 'linux/arm64', 'linux/arm/v7' or "
         "'linux/amd64'")
        for value, shown in [("arm64", "'arm64'"), ("linux/arm/v6", "'linux/arm/v6'"), ("linux/arm", "'linux/arm'"),
                             (64, "64"), (None, "none")]
    ),
    ({"orchestrator": "kubernetes"}, "settings.orchestrator: 'kubernetes' is not accepted: should be 'docker' or "
     "'swarm'"),
    # swarm
    *(
        ({"orchestrator": orchestrator, "swarm": {"privileged": True}}, "settings.swarm.privileged: true cannot be "
         "had, as Swarm has no privileged services (https://github.com/moby/moby/issues/24862): remove it; the daemon "
         "runs as a container beside the service, jobs inside it")
        for orchestrator in ("docker", "swarm")
    ),
    ({"swarm": {"privileged": "yes"}}, "settings.swarm.privileged: 'yes' is not accepted: should be a valid boolean"),
    ({"swarm": {"node_label": "ci=true"}}, "settings.swarm.node_label: 'ci=true' has no use with orchestrator docker: "
     "remove it"),
    *(
        ({"orchestrator": "swarm", "swarm": {"node_label": value}}, f"settings.swarm.node_label: {value!r} is no label "
         "of a node: write it as key=value, for example ci=true")
        for value in ["", "ci", "=true", "ci=", "ci==true", "ci = true", "ci=größe", ".ci=true", "ci=true\n",
                      "node.labels.ci==true"]
    ),
    # limits of the runner's own container
    ({"runner_cpus": 0}, "settings.runner_cpus: 0 is not accepted: should be greater than or equal to 0.1"),
    ({"runner_cpus": 0.55}, "settings.runner_cpus: 0.55 is too fine: use tenths, for example 0.6"),
    ({"runner_cpus": "1"}, "settings.runner_cpus: '1' is not accepted: should be a valid number"),
    ({"runner_memory_mib": 63}, "settings.runner_memory_mib: 63 is not accepted: should be greater than or equal to "
     "64"),
    ({"runner_memory_mib": "256"}, "settings.runner_memory_mib: '256' is not accepted: should be a valid integer"),
    # what it shares with docker-host
    ({"daemon": {"data_path": "ssd"}}, "settings.daemon.data_path: 'ssd' is no absolute path of a directory: write it "
     "as /mnt/disk/docker, without spaces, : and ,"),
    ({"daemon": {"cpus": 0.25}}, "settings.daemon.cpus: 0.25 is too fine: use tenths, for example 0.2"),
    ({"daemon": {"transport": "tcp", "endpoint": "tcp://docker:2376"}}, "settings.daemon.endpoint: 'tcp://docker:2376' "
     "has port 2376, which does not fit transport tcp: use 2375"),
    ({"runners": [runner(pull_policy="sometimes")]}, "settings.runners[0].pull_policy[0]: 'sometimes' is not accepted: "
     "should be 'always', 'if-not-present' or 'never'"),
    ({"runners": [runner(pull_policy=[])]}, "settings.runners[0].pull_policy: must not be empty"),
    ({"runners": []}, "settings.runners: must not be empty"),
    ({"runners": [runner(executor="shell")]}, f"settings.runner_image: '{RUNNER_IMAGE}' has no Docker client, which "
     "runners[0] needs for its jobs with executor shell: name an image that has one, or use executor docker"),
    ({"runners": [runner(), runner(name="two")], "concurrent": 1}, "settings.concurrent: 1 is below the number of "
     "runners, so jobs would starve: set it to 2 or more"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "message"), WRONG, ids=lambda part: str(part)[:60])
def test_a_wrong_setting_is_refused_with_path_value_and_remedy(settings: dict[str, Any], message: str) -> None:
    assert mistakes(**settings) == message


def test_mistakes_of_the_board_and_of_the_rest_are_reported_at_once() -> None:
    wrong = {"platform": "arm64", "ssh": {"key_file": "my key"}, "swarm": {"privileged": True}, "runner_cpus": 0}
    assert [line.split()[0] for line in mistakes(**wrong).splitlines()] == [
        "settings.runner_cpus:",
        "settings.platform:",
        "settings.ssh.key_file:",
        "settings.swarm.privileged:",
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"platform": "linux/arm64"},
        {"orchestrator": "docker"},
        {"ssh": {}},
        {"swarm": {}},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_what_only_a_board_has_is_no_setting_of_a_docker_host(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(SettingsError, match=f"^settings.{name}: is no setting: "):
        parse(plain(**settings))


def test_defaults_are_for_a_64_bit_board_without_a_swarm_that_is_this_machine() -> None:
    raw = pi()
    del raw["docker_host"]
    settings = parse(raw)
    assert isinstance(settings, RaspberryPiSettings)
    assert (settings.docker_host, settings.host_socket) == (LOCAL, "/var/run/docker.sock")
    assert (settings.platform, settings.orchestrator) == ("linux/arm64", Orchestrator.DOCKER)
    assert (settings.ssh.key_file, settings.ssh.known_hosts_file) == (None, None)
    assert (settings.swarm.node_label, settings.swarm.privileged) == (None, False)
    assert (settings.runner_cpus, settings.runner_memory_mib, settings.concurrent) == (None, None, None)


def test_a_board_pulls_less_often_and_keeps_less_than_a_docker_host() -> None:
    board, host = pi_settings(), parse(plain())
    assert (board.runners[0].pull_policy, host.runners[0].pull_policy) == (("if-not-present",), ("always",))
    assert (board.daemon.cache_budget_gib, host.daemon.cache_budget_gib) == (8, 20)


def test_all_other_defaults_are_those_of_a_docker_host() -> None:
    board, host = pi_settings(), parse(plain())
    assert board.daemon.model_dump(exclude={"cache_budget_gib"}) == host.daemon.model_dump(exclude={"cache_budget_gib"})
    assert board.runners[0].model_dump(exclude={"pull_policy"}) == host.runners[0].model_dump(exclude={"pull_policy"})
    others = set(type(host).model_fields) - {"target", "docker_host", "daemon", "runners"}
    assert board.model_dump(include=others) == host.model_dump(include=others)


def test_what_the_settings_say_goes_before_the_boards_own_defaults() -> None:
    settings = pi_settings(daemon={"cache_budget_gib": 20}, runners=[runner(pull_policy="always")])
    assert settings.daemon.cache_budget_gib == 20
    assert settings.runners[0].pull_policy == ("always",)


@pytest.mark.parametrize(
    "settings",
    [
        {"docker_host": LOCAL},
        {"docker_host": "unix:///run/user/1000/docker.sock"},
        {"docker_host": "ssh://raspberry"},
        {"docker_host": "ssh://pi@10.0.0.2:2222"},
        {"docker_host": "ssh://pi@[fd00::2]:2222"},
        {"docker_host": "ssh://pi@raspberry/run/user/1000/docker.sock"},
        {"platform": "linux/arm/v7"},
        {"platform": "linux/amd64"},
        {"orchestrator": "swarm"},
        {"orchestrator": "swarm", "swarm": {"node_label": "com.example/role=ci-1.0"}},
        {"orchestrator": "docker", "swarm": {"privileged": False}},
        {"ssh": {"key_file": "~/.ssh/größe", "known_hosts_file": "known"}},
        {"runner_cpus": 0.5, "runner_memory_mib": 64},
        {"runners": [runner(cpus=1.5, memory_mib=512)]},
        {"runner_image": WITH_CLIENT, "runners": [runner(executor="shell")]},
        {"runners": [{"name": "mine", "token": TOKEN}]},
    ],
    ids=str,
)
def test_settings_that_are_right_are_taken(settings: dict[str, Any]) -> None:
    assert pi_settings(**settings).target == "raspberry-pi"


@pytest.mark.parametrize(
    ("ssh", "more"),
    [
        ({}, ()),
        ({"known_hosts_file": "/etc/known"}, ("-o", "UserKnownHostsFile=/etc/known")),
        ({"key_file": "~/.ssh/pi"}, ("-o", "IdentitiesOnly=yes", "-o", "IdentityFile=~/.ssh/pi")),
        (
            {"key_file": "key", "known_hosts_file": "known"},
            ("-o", "UserKnownHostsFile=known", "-o", "IdentitiesOnly=yes", "-o", "IdentityFile=key"),
        ),
    ],
)
def test_ssh_asks_nobody_and_always_checks_the_host_key(ssh: dict[str, str], more: tuple[str, ...]) -> None:
    assert pi_settings(ssh=ssh).engine == DockerEngine(host="ssh://pi@raspberry", ssh_options=(*ALWAYS, *ALIVE, *more))


def test_a_local_socket_needs_nothing_of_ssh() -> None:
    assert pi_settings(docker_host=LOCAL).engine == DockerEngine(host=LOCAL, ssh_options=())
