"""What goes wrong between a stack and its board: each is refused with the remedy, before anything is made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from pulumi.runtime.config import set_all_config

from stacks.load import load
from tests.engine.board import Board
from tests.engine.emulation import foreign_image
from tests.engine.world import Sandbox, Stack, run, unique
from tests.unit import recording

REACH = (
    "check the name or address, that the machine is on, and that SSH is enabled there (raspi-config, Interface Options)"
)
MEMORY_CGROUP = (
    "the kernel of the board was started without its memory cgroup: append cgroup_enable=memory to the line in "
    "/boot/firmware/cmdline.txt and reboot"
)


@dataclass(frozen=True)
class Fault:
    """What is wrong, and what is said of it.

    message: the whole line, without the leading `settings.`. settings: that differ. board: what is wrong with it
    meanwhile.
    """

    message: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    board: AbstractContextManager[None] = field(default_factory=nullcontext)


@pytest.fixture(scope="module")
def stack(board: Board, new_stack: Callable[..., Stack]) -> Stack:
    """The stack that is refused in all of these tests, and right in the end."""
    return new_stack(board)


def told(stack: Stack, fault: Fault) -> str:
    """What the program itself says to the fault, before it asks the engine for anything."""
    stack.configure(**fault.settings)
    file = stack.directory / f"Pulumi.{stack.name}.yaml"
    config = {key: json.dumps(value) for key, value in yaml.safe_load(file.read_text())["config"].items()}

    def program() -> dict[str, Any]:
        set_all_config(config)
        return {"loaded": load()}

    with fault.board, pytest.raises(pulumi.RunError) as caught:
        recording.run(program, project="gitlab-dind-runners", stack=stack.name)
    return str(caught.value)


def refuse(stack: Stack, sandbox: Sandbox, fault: Fault) -> None:
    """AssertionError where the fault is not refused with exactly its message, or something is made all the same."""
    stack.configure(**fault.settings)
    with fault.board:
        done = stack.pulumi("preview", check=False)
    output = done.stdout + done.stderr
    assert done.returncode != 0, output
    told = [line.strip() for line in output.splitlines() if line.strip().startswith("settings.")]
    assert told == [f"settings.{fault.message}"]
    assert f"the settings of stack {stack.name} are wrong:" in output
    assert "Traceback" not in output
    assert not stack.has_resources
    assert stack.leftovers() == []
    assert sandbox.runners_of(stack.name) == []


def closed_port(board: Board, _: Path) -> Fault:
    reason = f"ssh: connect to host {board.host} port 9: Connection refused"
    url = f"{board.url}:9"
    return Fault(f"docker_host: '{url}' is out of reach ({reason}): {REACH}", {"docker_host": url})


def unknown_name(*_: object) -> Fault:
    url = "ssh://pi@no-such-board.invalid"
    # What ssh says there is the resolver's word, which depends on whether one answers.
    said = run("ssh", "-T", "-o", "BatchMode=yes", "no-such-board.invalid", check=False).stderr.strip()
    return Fault(f"docker_host: '{url}' is out of reach ({said}): {REACH}", {"docker_host": url})


def wrong_key(board: Board, directory: Path) -> Fault:
    key = make_key(directory)
    message = (
        f"docker_host: '{board.url}' takes no key that is offered: add the public key there with: ssh-copy-id "
        f"root@{board.host}, name the private one in settings.ssh.key_file (without a passphrase) or load it into the "
        "agent, and check the user's name"
    )
    return Fault(message, {"ssh": board.ssh_settings() | {"key_file": str(key)}})


def unknown_host_key(board: Board, directory: Path) -> Fault:
    known = directory / "known_hosts"
    known.touch()
    message = (
        f"docker_host: '{board.url}' has a host key that is not known here: connect once with: ssh -o "
        f"UserKnownHostsFile={known} root@{board.host}, compare the fingerprint with the one that the machine itself "
        "shows (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), and accept it"
    )
    return Fault(message, {"ssh": board.ssh_settings() | {"known_hosts_file": str(known)}})


def changed_host_key(board: Board, directory: Path) -> Fault:
    known = directory / "known_hosts"
    public = make_key(directory).with_suffix(".pub").read_text()
    known.write_text(f"{board.host} {public}")
    message = (
        f"docker_host: '{board.url}' has another host key than the one that is known of it: somebody may be in "
        "between. Where the machine was set up anew, remove the old key with: ssh-keygen -R "
        f"{board.host} -f {known}; then connect once with: ssh -o UserKnownHostsFile={known} root@{board.host}, and "
        "compare the fingerprint"
    )
    return Fault(message, {"ssh": board.ssh_settings() | {"known_hosts_file": str(known)}})


def open_key_file(board: Board, directory: Path) -> Fault:
    key = directory / "key"
    shutil.copy(board.key_file, key)
    key.chmod(0o644)
    message = (
        f"docker_host: '{board.url}' is not tried with a private key that others may read: run here: chmod 600 {key}"
    )
    return Fault(message, {"ssh": board.ssh_settings() | {"key_file": str(key)}})


def no_docker(board: Board, _: Path) -> Fault:
    message = (
        f"docker_host: '{board.url}' has no Docker client: install Docker there, "
        f"https://docs.docker.com/engine/install/debian/, and see that `ssh -o "
        f"UserKnownHostsFile={board.known_hosts_file} root@{board.host} docker version` finds it"
    )
    return Fault(message, board=board.pretending(failure="not installed"))


def not_permitted(board: Board, _: Path) -> Fault:
    message = (
        f"docker_host: '{board.url}' does not let root use Docker: run there: sudo usermod -aG docker root, and log in "
        "again"
    )
    return Fault(message, board=board.pretending(failure="not permitted"))


def not_running(board: Board, _: Path) -> Fault:
    message = (
        f"docker_host: '{board.url}' has no Docker engine that answers: start it there with: sudo systemctl start "
        "docker (journalctl -u docker shows why it ended)"
    )
    return Fault(message, board=stopped(board))


@contextmanager
def stopped(board: Board) -> Iterator[None]:
    """The board while its engine does not run."""
    board.stop_engine()
    try:
        yield
    finally:
        board.start_engine()


def another_machine(board: Board, _: Path) -> Fault:
    message = (
        f"platform: 'linux/arm64' does not run on {board.name}, whose engine was built for amd64: set platform: "
        "linux/amd64, or point docker_host to another machine"
    )
    # The default.
    return Fault(message, {"platform": "linux/arm64"})


def local_image_of_another_machine(board: Board, _: Path) -> Fault:
    image = foreign_image(f"dindrunner.local/foreign:{unique()}", docker=("docker", "--host", board.local_url))
    message = (
        f"runner_image: '{image}' is not there for linux/amd64 (only for linux/arm64): choose another image, tag or "
        "platform, or remove a wrong copy on the board with `docker image rm`"
    )
    return Fault(message, {"runner_image": image})


def no_swarm(board: Board, _: Path) -> Fault:
    message = (
        f"orchestrator: 'swarm' needs a swarm, and {board.name} is in none: make it one with `docker swarm init "
        "--advertise-addr <its address>` there, or set orchestrator: docker"
    )
    return Fault(message, {"orchestrator": "swarm"})


def privileged_service(*_: object) -> Fault:
    message = (
        "swarm.privileged: true cannot be had, as Swarm has no privileged services "
        "(https://github.com/moby/moby/issues/24862): remove it; the daemon runs as a container beside the service, "
        "jobs inside it"
    )
    return Fault(message, {"orchestrator": "swarm", "swarm": {"privileged": True}})


def missing_data_path(board: Board, directory: Path) -> Fault:
    path = str(directory / "ssd")
    message = (
        f"daemon.data_path: '{path}' is no directory on the machine of {board.url}: mount the disk, make the "
        "directory, or correct the path"
    )
    return Fault(message, {"daemon": {"data_path": path}})


def make_key(directory: Path) -> Path:
    """A key that nobody knows."""
    key = directory / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    return key


@pytest.mark.parametrize(
    "make",
    [
        closed_port,
        unknown_name,
        wrong_key,
        unknown_host_key,
        changed_host_key,
        open_key_file,
        no_docker,
        not_permitted,
        not_running,
        another_machine,
        local_image_of_another_machine,
        no_swarm,
        privileged_service,
        missing_data_path,
    ],
)
def test_what_does_not_fit_the_board_is_refused_with_the_remedy(
    stack: Stack,
    board: Board,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Board, Path], Fault],
) -> None:
    monkeypatch.setenv("DINDRUNNER_SANDBOX", stack.environment["DINDRUNNER_SANDBOX"])
    fault = make(board, tmp_path)
    assert told(stack, fault) == f"the settings of stack {stack.name} are wrong:\nsettings.{fault.message}"


def test_without_a_memory_cgroup_the_default_limits_are_left_out_with_a_warning(stack: Stack, board: Board) -> None:
    stack.configure()
    with board.pretending(limits_memory=False):
        shown = stack.pulumi("preview", "--json").stdout
    told = [one["message"] for one in json.loads(shown)["diagnostics"]]
    assert (
        f"warning: neither the daemon nor a job has a limit of memory on {board.name}, so that one of them can take "
        f"the board down: {MEMORY_CGROUP}\n"
    ) in told
    made = [step["newState"] for step in json.loads(shown)["steps"]]
    containers = [one for one in made if one["type"] == "docker:index/container:Container"]
    assert len(containers) == 3
    assert not any("memory" in one["inputs"] for one in containers)


@pytest.mark.parametrize("make", [closed_port, wrong_key, not_permitted, no_swarm, missing_data_path])
def test_a_refusal_is_all_that_an_update_ends_with(
    stack: Stack, board: Board, sandbox: Sandbox, tmp_path: Path, make: Callable[[Board, Path], Fault]
) -> None:
    refuse(stack, sandbox, make(board, tmp_path))


def test_after_a_refusal_the_right_settings_go_up(stack: Stack, board: Board, sandbox: Sandbox, tmp_path: Path) -> None:
    refuse(stack, sandbox, another_machine(board, tmp_path))
    stack.configure()
    stack.up()
    stack.pulumi("preview", "--expect-no-changes")
    assert len(sandbox.runners_of(stack.name)) == 1
