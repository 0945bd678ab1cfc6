"""What a board's engine is asked before anything is touched, and what is made of its answers."""

from __future__ import annotations

import json
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from components.defaults import CLIENT_IMAGE, DAEMON_IMAGE, RUNNER_IMAGE
from stacks.docker_host.settings import DockerHostSettings
from stacks.on_docker import questions as on_docker
from stacks.on_docker.questions import ask_engine, check_volume
from stacks.raspberry_pi import questions as asking
from stacks.raspberry_pi.board import Board, Node
from stacks.raspberry_pi.questions import ask_board, check_paths, offered_platforms
from stacks.raspberry_pi.settings import RaspberryPiSettings
from stacks.settings.mistakes import SettingsError
from stacks.settings.versions import ApiRange, Engine
from stacks.targets import parse
from tests.unit.samples import pi_settings, plain, runner

LOCAL = {"docker_host": "unix:///var/run/docker.sock"}
VERSION = {"Client": {"Arch": "amd64"}, "Server": {"Version": "28.5.2", "Os": "linux", "Arch": "arm64"}}
INFO = {
    "ID": "x",
    "Name": "raspberry",
    "NCPU": 4,
    "MemTotal": 3978612736,
    "MemoryLimit": True,
    "Architecture": "aarch64",
    "DockerRootDir": "/var/lib/docker",
    "OSType": "linux",
    "Swarm": {"NodeID": "", "LocalNodeState": "inactive", "ControlAvailable": False},
}
MANAGER = {"NodeID": "own", "LocalNodeState": "active", "ControlAvailable": True}
NODES = [
    {
        "ID": "own",
        "Spec": {"Labels": {"ci": "true"}, "Role": "manager", "Availability": "active"},
        "Description": {"Hostname": "raspberry", "Platform": {"Architecture": "aarch64", "OS": "linux"}},
    },
    {"ID": "other", "Spec": {"Labels": None, "Availability": "drain"}, "Description": {"Hostname": "strawberry"}},
]
DAEMON, RUNNER, JOB = "daemon:1", "runner:1", "job:1"


class Clients:
    """The only `docker` and `ssh` on PATH: each says how it was called, and then what it is told to."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.answers: list[tuple[str, str, str, int]] = []
        self._write()

    def answer(self, part: str, out: object = "", error: str = "", status: int = 0) -> None:
        """The answer to a command line that has this part; the latest that fits is given."""
        self.answers.insert(0, (part, out if isinstance(out, str) else json.dumps(out), error, status))
        self._write()

    def remove(self, name: str) -> None:
        (self.directory / name).unlink()

    def asked(self) -> list[str]:
        """The command lines, in the order in which they came."""
        calls = self.directory / "asked"
        return calls.read_text().splitlines() if calls.exists() else []

    def _write(self) -> None:
        lines = ["#!/bin/sh", f'echo "${{0##*/}} $*" >> {self.directory}/asked', 'case "$*" in']
        for number, (part, out, error, status) in enumerate(self.answers):
            (self.directory / f"{number}.out").write_text(out)
            (self.directory / f"{number}.err").write_text(error)
            pattern = part.replace("'", "'\\''")
            files = [f"cat {self.directory}/{number}.out", f"cat {self.directory}/{number}.err >&2"]
            lines.append(f"*'{pattern}'*) {'; '.join(files)}; exit {status};;")
        lines += ["esac", 'echo "not expected: $*" >&2', "exit 3", ""]
        for name in ("docker", "ssh"):
            script = self.directory / name
            script.write_text("\n".join(lines))
            script.chmod(stat.S_IRWXU)


@pytest.fixture(name="clients")
def _clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clients:
    """A 64-bit board with 4 GB in no swarm."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    clients = Clients(tmp_path)
    clients.answer("docker version --format", VERSION)
    clients.answer("docker info --format", INFO)
    return clients


def refusal(settings: RaspberryPiSettings) -> str:
    with pytest.raises(SettingsError) as caught:
        ask_board(settings)
    return str(caught.value)


SSH = "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=10 -o ServerAliveInterval=30"


def test_a_board_is_asked_twice_by_ssh_and_tells_what_it_is(clients: Clients) -> None:
    assert ask_board(pi_settings()) == Board(
        hostname="raspberry",
        architecture="arm64",
        machine="aarch64",
        docker_root="/var/lib/docker",
        cores=4,
        memory_mib=3794,
        limits_memory=True,
    )
    assert clients.asked() == [
        f"{SSH} -l pi -- raspberry docker version --format '{{{{json .}}}}'",
        f"{SSH} -l pi -- raspberry docker info --format '{{{{json .}}}}'",
    ]


def test_this_machine_is_asked_by_its_own_client(clients: Clients) -> None:
    clients.answer("version --format", VERSION)
    clients.answer("info --format", INFO)
    assert ask_board(pi_settings(**LOCAL)).hostname == "raspberry"
    assert clients.asked() == [
        "docker --host unix:///var/run/docker.sock version --format {{json .}}",
        "docker --host unix:///var/run/docker.sock info --format {{json .}}",
    ]


@pytest.mark.parametrize(
    ("version", "info", "facts"),
    [
        # What images are pulled for is what the engine was built for, not what the kernel is.
        ({"Arch": "arm"}, {"Architecture": "aarch64"}, {"architecture": "arm", "machine": "aarch64"}),
        ({"Arch": "amd64"}, {"Architecture": "x86_64"}, {"architecture": "amd64"}),
        ({"Arch": "arm"}, {"Architecture": "armv6l"}, {"architecture": "arm", "machine": "armv6l"}),
        ({}, {"DockerRootDir": "/mnt/ssd/docker"}, {"docker_root": "/mnt/ssd/docker"}),
        ({}, {"MemoryLimit": False}, {"limits_memory": False}),
        ({}, {"MemTotal": 968 * 1024**2 - 1, "NCPU": 1}, {"memory_mib": 967, "cores": 1}),
        ({}, {"Swarm": None}, {"swarm": "inactive"}),
        ({}, {"Swarm": {}}, {"swarm": "inactive"}),
        (
            {},
            {"Swarm": {"NodeID": "own", "LocalNodeState": "active", "ControlAvailable": False}},
            {"swarm": "active", "is_manager": False, "node_id": "own"},
        ),
        ({}, {"Swarm": {"LocalNodeState": "locked"}}, {"swarm": "locked"}),
    ],
    ids=[
        "32-bit engine",
        "PC",
        "ARMv6",
        "another disk",
        "no memory cgroup",
        "rounded down",
        "no swarm",
        "empty swarm",
        "worker",
        "locked",
    ],
)
def test_facts_are_read_from_what_the_engine_says(
    clients: Clients, version: dict[str, Any], info: dict[str, Any], facts: dict[str, Any]
) -> None:
    clients.answer("docker version", VERSION | {"Server": VERSION["Server"] | version})
    clients.answer("docker info", INFO | info)
    found = ask_board(pi_settings(orchestrator="swarm"))
    assert {name: getattr(found, name) for name in facts} == facts
    assert found.nodes == ()
    assert len(clients.asked()) == 2


def test_a_manager_is_asked_for_the_nodes_of_its_swarm(clients: Clients) -> None:
    clients.answer("docker info", INFO | {"Swarm": MANAGER})
    clients.answer("docker node ls --quiet", "own\nother\n")
    clients.answer("docker node inspect own other", NODES)
    found = ask_board(pi_settings(orchestrator="swarm"))
    assert (found.swarm, found.is_manager, found.node_id) == ("active", True, "own")
    assert found.nodes == (
        Node(id="own", hostname="raspberry", labels={"ci": "true"}),
        Node(id="other", hostname="strawberry", availability="drain"),
    )
    assert [line.partition("-- raspberry ")[2] for line in clients.asked()] == [
        "docker version --format '{{json .}}'",
        "docker info --format '{{json .}}'",
        "docker node ls --quiet",
        "docker node inspect own other",
    ]


SPEAKS = {"MinAPIVersion": "1.24", "ApiVersion": "1.51"}
ENGINE = ApiRange((1, 24), (1, 51))


def test_a_board_says_the_version_of_its_engine(clients: Clients) -> None:
    clients.answer("docker version", VERSION | {"Server": VERSION["Server"] | SPEAKS})
    assert ask_board(pi_settings()).engine == Engine("raspberry", "28.5.2", ENGINE)


def docker_host(**more: Any) -> DockerHostSettings:
    settings = parse(plain(**more))
    assert isinstance(settings, DockerHostSettings)
    return settings


def test_a_docker_host_says_the_version_of_its_engine(clients: Clients) -> None:
    clients.answer("version --format", {"Client": {}, "Server": {"Version": "28.5.2"} | SPEAKS})
    assert ask_engine(docker_host()) == Engine("unix:///var/run/docker.sock", "28.5.2", ENGINE)
    assert clients.asked() == ["docker --host unix:///var/run/docker.sock version --format {{json .}}"]


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "[]",
        {"Server": None},
        {"Server": {"Version": "28.5.2"}},
        {"Server": {"Version": "28.5.2", "ApiVersion": "1.51"}},
        {"Server": {"Version": "28.5.2", "ApiVersion": "new", "MinAPIVersion": "1.24"}},
    ],
    ids=["nothing", "a list", "no server", "no API", "no oldest API", "no version of an API"],
)
def test_a_docker_host_that_says_no_version_is_not_judged(clients: Clients, answer: object) -> None:
    clients.answer("version --format", answer)
    assert ask_engine(docker_host()) is None


def test_a_docker_host_that_does_not_answer_is_left_to_pulumis_provider(clients: Clients) -> None:
    clients.answer("version --format", error="Cannot connect to the Docker daemon", status=1)
    assert ask_engine(docker_host()) is None
    clients.remove("docker")
    assert ask_engine(docker_host()) is None


def test_nodes_are_nobodys_business_with_orchestrator_docker(clients: Clients) -> None:
    clients.answer("docker info", INFO | {"Swarm": MANAGER})
    found = ask_board(pi_settings())
    assert (found.is_manager, found.nodes) == (True, ())
    assert len(clients.asked()) == 2


def test_a_swarm_that_does_not_tell_its_nodes_is_explained(clients: Clients) -> None:
    clients.answer("docker info", INFO | {"Swarm": MANAGER})
    clients.answer("docker node ls", error="Error response from daemon: The swarm does not have a leader.", status=1)
    assert refusal(pi_settings(orchestrator="swarm")) == (
        "settings.docker_host: 'ssh://pi@raspberry' cannot be asked (Error response from daemon: The swarm does not "
        "have a leader.): check the address, and that `docker info` works there"
    )


GARBAGE = [
    "",
    "not JSON",
    "[]",
    "3",
    "null",
    '"text"',
    "{}",
    '{"Server": null}',
    '{"Server": []}',
    *(
        json.dumps({key: value for key, value in INFO.items() if key != left_out})
        for left_out in ("Name", "Architecture", "DockerRootDir")
    ),
    json.dumps(INFO | {"MemTotal": None}),
    json.dumps(INFO | {"Swarm": "inactive"}),
]


@pytest.mark.parametrize("asked", ["docker version", "docker info"])
@pytest.mark.parametrize("text", GARBAGE)
def test_an_answer_that_no_docker_engine_gives_is_refused(clients: Clients, asked: str, text: str) -> None:
    clients.answer(asked, text)
    assert refusal(pi_settings()) == (
        "settings.docker_host: 'ssh://pi@raspberry' does not answer as a Docker engine: check the address, and that "
        "`docker` there is no other program, such as Podman's"
    )


@pytest.mark.parametrize("nodes", ["", "3", "[{}]", "[null]", '[{"ID": "own", "Spec": null}]'])
def test_nodes_that_no_docker_engine_has_are_refused(clients: Clients, nodes: str) -> None:
    clients.answer("docker info", INFO | {"Swarm": MANAGER})
    clients.answer("docker node ls", "own\n")
    clients.answer("docker node inspect", nodes)
    assert "does not answer as a Docker engine" in refusal(pi_settings(orchestrator="swarm"))


def test_a_failure_is_explained_from_what_was_said_and_nothing_more_is_asked(clients: Clients) -> None:
    clients.answer("docker version", error="Host key verification failed.\n", status=255)
    assert refusal(pi_settings()).startswith(
        "settings.docker_host: 'ssh://pi@raspberry' has a host key that is not known here: "
    )
    assert len(clients.asked()) == 1


def test_a_client_that_complains_on_its_output_is_understood(clients: Clients) -> None:
    clients.answer("docker version", "Cannot connect to the Docker daemon at unix:///x.\n", status=1)
    assert "has no Docker engine that answers: start it there with" in refusal(pi_settings())


def test_warnings_beside_an_answer_do_no_harm(clients: Clients) -> None:
    clients.answer("docker info", INFO, error="WARNING: No swap limit support\n")
    assert ask_board(pi_settings()).cores == 4


@pytest.mark.parametrize(
    ("settings", "missing", "said"),
    [
        ({}, "ssh", "'ssh://pi@raspberry' is asked by ssh, which is not installed here"),
        (LOCAL, "docker", "'unix:///var/run/docker.sock' is asked by the Docker client, which is not installed here"),
    ],
)
def test_a_client_that_is_not_installed_here_is_named(
    clients: Clients, settings: dict[str, Any], missing: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients.remove(missing)
    monkeypatch.setenv("PATH", str(clients.directory))
    assert said in refusal(pi_settings(**settings))


def test_an_engine_that_does_not_answer_is_given_up(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_docker, "ANSWER_SECONDS", 0.3)
    (clients.directory / "ssh").write_text("#!/bin/sh\nexec sleep 60\n")
    assert refusal(pi_settings()) == (
        "settings.docker_host: 'ssh://pi@raspberry' gives no answer within 0.3 s: it may be overloaded; try "
        "`docker info` there, then try again"
    )


@pytest.mark.usefixtures("clients")
def test_no_question_is_answered_from_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "ssh").write_text('#!/bin/sh\nread -r answer && echo "answered $answer" >&2\nexit 255\n')
    assert "(exit status 255)" in refusal(pi_settings())


# files of the settings


@pytest.mark.parametrize("name", ["key_file", "known_hosts_file"])
def test_a_file_for_ssh_that_is_not_there_is_refused_before_anything_is_asked(
    clients: Clients, name: str, tmp_path: Path
) -> None:
    for path in (tmp_path / "missing", tmp_path):
        assert refusal(pi_settings(ssh={name: str(path)})) == (
            f"settings.ssh.{name}: '{path}' is no file here: correct the path"
        )
    assert clients.asked() == []


def test_files_for_ssh_may_lie_in_the_home_directory(
    clients: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "key").touch()
    assert ask_board(pi_settings(ssh={"key_file": "~/key"})).cores == 4
    assert "-o IdentitiesOnly=yes -o IdentityFile=~/key -l pi -- raspberry" in clients.asked()[0]


# directory of the layer cache, socket of the engine


def test_no_path_is_asked_for_where_no_runner_and_no_cache_needs_one(clients: Clients) -> None:
    check_paths(pi_settings())
    assert clients.asked() == []


def test_a_directory_is_looked_for_on_the_board(clients: Clients) -> None:
    settings = pi_settings(daemon={"data_path": "/mnt/ssd/dind"})
    clients.answer("test -d /mnt/ssd/dind")
    check_paths(settings)
    assert clients.asked() == [f"{SSH} -l pi -- raspberry test -d /mnt/ssd/dind"]
    clients.answer("test -d /mnt/ssd/dind", status=1)
    with pytest.raises(SettingsError) as caught:
        check_paths(settings)
    assert str(caught.value) == (
        "settings.daemon.data_path: '/mnt/ssd/dind' is no directory on the machine of ssh://pi@raspberry: mount the "
        "disk, make the directory, or correct the path"
    )


def test_a_board_that_cannot_be_asked_for_a_directory_is_explained(clients: Clients) -> None:
    clients.answer("test -d", error="Connection to raspberry timed out", status=255)
    with pytest.raises(SettingsError, match=r"^settings.docker_host: .* is out of reach \(Connection to raspberry"):
        check_paths(pi_settings(daemon={"data_path": "/mnt/ssd"}))


def test_a_directory_is_looked_for_here_where_the_board_is_this_machine(clients: Clients, tmp_path: Path) -> None:
    check_paths(pi_settings(**LOCAL, daemon={"data_path": str(tmp_path)}))
    with pytest.raises(SettingsError) as caught:
        check_paths(pi_settings(**LOCAL, daemon={"data_path": f"{tmp_path}/docker"}))
    assert str(caught.value) == (
        f"settings.daemon.data_path: '{tmp_path}/docker' is no directory on the machine of "
        "unix:///var/run/docker.sock: mount the disk, make the directory, or correct the path"
    )
    assert clients.asked() == []


def test_a_file_is_no_directory_for_a_cache(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"is no directory on the machine of unix:"):
        check_paths(pi_settings(**LOCAL, daemon={"data_path": f"{tmp_path}/file"}))


# a volume of another daemon

VOLUME = {"daemon": {"existing_volume": "old-dind"}}
USERS = "docker ps --all --filter volume=old-dind"


def volume_refusal(**settings: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        check_volume(pi_settings(**settings), "ci")
    return str(caught.value)


def test_no_volume_is_asked_for_where_the_stack_has_its_own(clients: Clients) -> None:
    check_volume(pi_settings(), "ci")
    assert clients.asked() == []


def test_a_volume_that_nobody_or_this_stacks_daemon_uses_is_accepted(clients: Clients) -> None:
    clients.answer("docker volume ls --quiet", "other\nold-dind\n")
    clients.answer(USERS, "")
    check_volume(pi_settings(**VOLUME), "ci")
    clients.answer(USERS, "ci-dind\n")
    check_volume(pi_settings(**VOLUME), "ci")
    assert clients.asked()[0] == f"{SSH} -l pi -- raspberry docker volume ls --quiet"


def test_a_volume_that_is_not_there_is_refused(clients: Clients) -> None:
    clients.answer("docker volume ls --quiet", "old-dind-2\n")
    assert volume_refusal(**VOLUME) == (
        "settings.daemon.existing_volume: 'old-dind' is no volume of the engine at ssh://pi@raspberry: correct the "
        "name (docker volume ls)"
    )


def test_a_volume_that_another_container_has_is_refused(clients: Clients) -> None:
    clients.answer("docker volume ls --quiet", "old-dind\n")
    clients.answer(USERS, "ci-dind\ndind\n")
    assert volume_refusal(**VOLUME) == (
        "settings.daemon.existing_volume: 'old-dind' is used by container dind, and two daemons on one volume destroy "
        "it: stop that one, and remove it without its volumes (docker rm dind)"
    )


def test_the_stacks_own_volume_is_no_other_daemons(clients: Clients) -> None:
    assert volume_refusal(daemon={"existing_volume": "ci-dind-data"}) == (
        "settings.daemon.existing_volume: 'ci-dind-data' is this stack's own: remove existing_volume, which is for "
        "that of another daemon"
    )
    assert clients.asked() == []


def test_an_engine_that_cannot_be_asked_for_a_volume_is_explained(clients: Clients) -> None:
    clients.answer("volume ls", error="Cannot connect to the Docker daemon at unix:///x.sock", status=1)
    assert volume_refusal(**LOCAL, **VOLUME).startswith(
        "settings.docker_host: 'unix:///var/run/docker.sock' has no Docker engine that answers: start it here with: "
    )


HOST_DOCKER = {"runners": [runner(kind="host-docker")], "host_socket": "/run/user/1000/docker.sock"}


def test_the_socket_is_looked_for_on_the_board_where_a_runner_is_given_it(clients: Clients) -> None:
    clients.answer("test -S /run/user/1000/docker.sock")
    check_paths(pi_settings(**HOST_DOCKER))
    assert clients.asked() == [f"{SSH} -l pi -- raspberry test -S /run/user/1000/docker.sock"]
    clients.answer("test -S /run/user/1000/docker.sock", status=1)
    with pytest.raises(SettingsError) as caught:
        check_paths(pi_settings(**HOST_DOCKER))
    assert str(caught.value) == (
        "settings.host_socket: '/run/user/1000/docker.sock' is no socket on the machine of ssh://pi@raspberry: give "
        "the path at which its engine listens (`docker context inspect` there shows it)"
    )


def test_the_socket_is_looked_for_here_where_the_board_is_this_machine(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        check_paths(pi_settings(**LOCAL, **HOST_DOCKER | {"host_socket": str(tmp_path / "s")}))
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"is no socket on the machine of unix:"):
        check_paths(pi_settings(**LOCAL, **HOST_DOCKER | {"host_socket": str(tmp_path / "file")}))


def test_a_board_that_cannot_be_asked_for_a_socket_is_explained(clients: Clients) -> None:
    clients.answer("test -S", error="Connection to raspberry timed out", status=255)
    with pytest.raises(SettingsError, match=r"^settings.docker_host: .* is out of reach \(Connection to raspberry"):
        check_paths(pi_settings(**HOST_DOCKER))


# platforms of images


def manifest(*platforms: str) -> list[dict[str, Any]]:
    """What `docker manifest inspect --verbose` prints."""
    parts = [platform.split("/") for platform in platforms]
    keys = ("os", "architecture", "variant")
    return [{"Descriptor": {"platform": dict(zip(keys, each, strict=False))}} for each in parts]


def offered(**settings: Any) -> dict[str, frozenset[str] | None]:
    return offered_platforms(pi_settings(**settings))


def images_asked(clients: Clients) -> list[str]:
    """`image inspect NAME` and `manifest inspect NAME`, sorted, as several are asked for at once."""
    words = [line.partition(" docker ")[2].split() for line in clients.asked()]
    return sorted(f"{each[0]} inspect {each[-1]}" for each in words)


def test_an_image_that_the_engine_has_counts_as_it_is_and_no_registry_is_asked(clients: Clients) -> None:
    clients.answer("docker image inspect", "linux/arm64/v8\n")
    clients.answer("docker manifest inspect", manifest("linux/arm64"))
    found = offered(daemon={"image": DAEMON}, runner_image=RUNNER, runners=[runner(image=JOB)])
    assert found == {
        DAEMON: frozenset({"linux/arm64/v8"}),
        RUNNER: frozenset({"linux/arm64/v8"}),
        # Jobs are run by the daemon inside, which does not have what the engine has.
        JOB: frozenset({"linux/arm64"}),
    }
    assert images_asked(clients) == [f"image inspect {DAEMON}", f"image inspect {RUNNER}", f"manifest inspect {JOB}"]


def test_the_local_image_of_another_platform_is_seen_as_that(clients: Clients) -> None:
    clients.answer("docker image inspect", "linux/amd64\n")
    assert offered(runners=[runner(kind="host-docker", image=JOB)], runner_image=RUNNER) == {
        RUNNER: frozenset({"linux/amd64"}),
        JOB: frozenset({"linux/amd64"}),
    }


def test_the_registry_is_asked_by_the_engines_own_client(clients: Clients) -> None:
    clients.answer("docker image inspect", error="Error: No such image", status=1)
    clients.answer("docker manifest inspect", manifest("linux/amd64", "linux/arm64/v8", "unknown/unknown"))
    assert offered(runner_image="docker:28.5.2-cli", runners=[runner(kind="host-docker")]) == {
        "docker:28.5.2-cli": frozenset({"linux/amd64", "linux/arm64"})
    }
    columns = "'{{.Os}}/{{.Architecture}}{{if .Variant}}/{{.Variant}}{{end}}'"
    assert [line.partition("-- raspberry ")[2] for line in clients.asked()] == [
        f"docker image inspect --format {columns} docker:28.5.2-cli",
        "docker manifest inspect --verbose docker:28.5.2-cli",
    ]


def test_an_official_image_that_is_known_not_to_be_there_is_not_asked_for(clients: Clients) -> None:
    clients.answer("docker image inspect", error="Error: No such image", status=1)
    clients.answer("docker manifest inspect", manifest("linux/arm/v7"))
    found = offered(platform="linux/arm/v7", runners=[runner(kind="host-docker", image=JOB)])
    assert found[RUNNER_IMAGE] == frozenset({"linux/amd64", "linux/arm64"})
    assert images_asked(clients) == [
        f"image inspect {RUNNER_IMAGE}",
        f"image inspect {JOB}",
        f"manifest inspect {JOB}",
    ]


def test_the_registry_is_not_asked_for_official_images_of_jobs(clients: Clients) -> None:
    clients.answer("docker image inspect", "linux/arm64\n")
    assert offered()[CLIENT_IMAGE] == frozenset({"linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64"})
    # Those that the engine itself runs.
    assert images_asked(clients) == [
        f"image inspect {DAEMON_IMAGE}",
        f"image inspect {RUNNER_IMAGE}",
    ]


@pytest.mark.parametrize(
    "answer",
    [
        {"error": "no such manifest: docker.io/library/daemon:1", "status": 1},
        {"out": "not a manifest"},
        {"out": []},
        {"out": {"Descriptor": {"platform": {"os": "unknown", "architecture": "unknown"}}}},
    ],
    ids=["refused", "garbage", "empty", "no platform"],
)
def test_where_no_registry_says_the_table_of_official_images_does(clients: Clients, answer: dict[str, Any]) -> None:
    clients.answer("docker image inspect", error="Error: No such image", status=1)
    clients.answer("docker manifest inspect", **answer)
    found = offered(runner_image=RUNNER, runners=[runner(kind="host-docker", image="docker:28.5.2-cli")])
    assert found == {
        RUNNER: None,
        "docker:28.5.2-cli": frozenset({"linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64"}),
    }


def test_a_registry_that_does_not_answer_is_given_up(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "REGISTRY_SECONDS", 0.3)
    script = clients.directory / "ssh"
    clients.answer("docker image inspect", error="Error: No such image", status=1)
    script.write_text(
        script.read_text().replace("#!/bin/sh\n", '#!/bin/sh\ncase "$*" in *manifest*) exec sleep 60;; esac\n')
    )
    assert offered(runner_image=RUNNER, runners=[runner(kind="host-docker", image=JOB)]) == {RUNNER: None, JOB: None}


def test_each_image_is_asked_for_once_and_one_with_variables_in_its_name_not_at_all(clients: Clients) -> None:
    clients.answer("docker manifest inspect", manifest("linux/arm64"))
    clients.answer("docker image inspect", error="Error: No such image", status=1)
    runners = [
        runner(image=JOB, helper_image="helper:arm64-${CI_RUNNER_REVISION}"),
        runner(name="two", image=JOB, helper_image="$HELPER:1"),
    ]
    assert set(offered(daemon={"image": DAEMON}, runner_image=RUNNER, runners=runners)) == {DAEMON, RUNNER, JOB}
    assert images_asked(clients).count(f"manifest inspect {JOB}") == 1
    assert not [line for line in clients.asked() if "helper" in line or "HELPER" in line]


def test_an_image_that_the_engine_runs_too_is_looked_for_on_the_engine(clients: Clients) -> None:
    clients.answer("docker image inspect", "linux/amd64\n")
    found = offered(
        daemon={"image": DAEMON}, runner_image=RUNNER, runners=[runner(kind="job-dind", job_daemon_image=DAEMON)]
    )
    assert found[DAEMON] == frozenset({"linux/amd64"})
