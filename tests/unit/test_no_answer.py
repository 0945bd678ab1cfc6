"""What is said where an engine cannot be asked: by the words of ssh, of a shell or of the Docker client."""

from __future__ import annotations

import pytest

from components.docker_client import DockerEngine
from stacks.on_docker.no_answer import NoAnswer, explained
from tests.unit.samples import pi_settings

BOARD = DockerEngine(host="ssh://pi@raspberry")
HERE = DockerEngine(host="unix:///var/run/docker.sock")

UNKNOWN_KEY = """\
No ED25519 host key is known for [127.0.0.1]:2299 and you have requested strict checking.
Host key verification failed."""
CHANGED_KEY = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Someone could be eavesdropping on you right now (man-in-the-middle attack)!
It is also possible that a host key has just been changed.
The fingerprint for the ED25519 key sent by the remote host is
SHA256:ttSdX0sCIKwiOqMHYTwQ0Ze3b9mGk5Kc0u3VEo1Ow5A.
Please contact your system administrator.
Add correct host key in known to get rid of this message.
Offending ED25519 key in known:1
Host key for [127.0.0.1]:2299 has changed and you have requested strict checking.
Host key verification failed."""
WRONG_KEY = "root@127.0.0.1: Permission denied (publickey,keyboard-interactive)."
TOO_MANY_KEYS = """\
Received disconnect from 127.0.0.1 port 22:2: Too many authentication failures
Disconnected from 127.0.0.1 port 22"""
OPEN_KEY = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
Permissions 0644 for 'ck' are too open.
It is required that your private key files are NOT accessible by others.
This private key will be ignored.
Load key "ck": bad permissions
root@127.0.0.1: Permission denied (publickey)."""
REFUSED = "ssh: connect to host 127.0.0.1 port 2298: Connection refused"
NO_NAME = "ssh: Could not resolve hostname nosuch.invalid: Name or service not known"
NO_ROUTE = """\
Connection timed out during banner exchange
Connection to 10.255.255.1 port 2298 timed out"""
CLOSED = """\
kex_exchange_identification: Connection closed by remote host
Connection closed by 127.0.0.1 port 22"""
NO_SOCKET = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
NO_SOCKET_29 = (
    "failed to connect to the docker API at unix:///var/run/docker.sock; check if the path is correct and if the "
    "daemon is running: dial unix /var/run/docker.sock: connect: no such file or directory"
)
DENIED = (
    "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get "
    '"http://%2Fvar%2Frun%2Fdocker.sock/v1.41/version": dial unix /var/run/docker.sock: connect: permission denied'
)
DENIED_29 = "permission denied while trying to connect to the docker API at unix:///var/run/docker.sock"

FINGERPRINT = (
    "compare the fingerprint with the one that the machine itself shows (ssh-keygen -lf "
    "/etc/ssh/ssh_host_ed25519_key.pub), and accept it"
)
NO_KEY = (
    "takes no key that is offered: add the public key there with: ssh-copy-id pi@raspberry, name the private one in "
    "settings.ssh.key_file (without a passphrase) or load it into the agent, and check the user's name"
)
REACH = (
    "check the name or address, that the machine is on, and that SSH is enabled there (raspi-config, Interface Options)"
)
NO_CLIENT = (
    "has no Docker client: install Docker there, https://docs.docker.com/engine/install/debian/, and see that "
    "`ssh pi@raspberry docker version` finds it"
)
NOT_PERMITTED = "does not let pi use Docker: run there: sudo usermod -aG docker pi, and log in again"
NOT_PERMITTED_HERE = (
    "does not let this user use Docker: run here: sudo usermod -aG docker $USER, and log in again; for another machine "
    "write ssh://user@host"
)
NOT_RUNNING = (
    "has no Docker engine that answers: start it there with: sudo systemctl start docker (journalctl -u docker shows "
    "why it ended)"
)
NOT_RUNNING_HERE = (
    "has no Docker engine that answers: start it here with: sudo systemctl start docker (journalctl -u docker shows "
    "why it ended); for another machine write ssh://user@host"
)


def message(engine: DockerEngine, status: int | None, text: str) -> str:
    """What is said of the engine, without its address, with which it begins."""
    beginning = f"settings.docker_host: {engine.host!r} "
    said = str(explained(engine, NoAnswer(status, text)))
    assert said.startswith(beginning)
    return said.removeprefix(beginning)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (UNKNOWN_KEY, f"has a host key that is not known here: connect once with: ssh pi@raspberry, {FINGERPRINT}"),
        (
            CHANGED_KEY,
            "has another host key than the one that is known of it: somebody may be in between. Where the machine was "
            "set up anew, remove the old key with: ssh-keygen -R raspberry; then connect once with: ssh pi@raspberry, "
            "and compare the fingerprint",
        ),
        (WRONG_KEY, NO_KEY),
        (TOO_MANY_KEYS, NO_KEY),
        (OPEN_KEY, "is not tried with a private key that others may read: run here: chmod 600 <key file>"),
        (REFUSED, f"is out of reach ({REFUSED}): {REACH}"),
        (NO_NAME, f"is out of reach ({NO_NAME}): {REACH}"),
        (NO_ROUTE, f"is out of reach (Connection to 10.255.255.1 port 2298 timed out): {REACH}"),
        (CLOSED, f"is out of reach (Connection closed by 127.0.0.1 port 22): {REACH}"),
        ("", f"is out of reach (exit status 255): {REACH}"),
    ],
    ids=["unknown key", "changed key", "wrong key", "too many keys", "open key file", "refused", "no such name",
         "no route", "closed", "silent"],
)  # fmt: skip
def test_what_ssh_says_is_explained_with_a_remedy(text: str, expected: str) -> None:
    assert message(BOARD, 255, text) == expected


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (127, "bash: docker: command not found", NO_CLIENT),
        (127, "bash: line 1: docker: command not found", NO_CLIENT),
        (127, "sh: 1: docker: not found", NO_CLIENT),
        (127, "zsh:1: command not found: docker", NO_CLIENT),
        (127, "fish: Unknown command: docker", NO_CLIENT),
        (1, DENIED, NOT_PERMITTED),
        (1, f"Got {DENIED}", NOT_PERMITTED),
        (1, DENIED_29, NOT_PERMITTED),
        (1, NO_SOCKET, NOT_RUNNING),
        (1, NO_SOCKET_29, NOT_RUNNING),
        (
            None,
            "no answer within 30 s",
            "gives no answer within 30 s: it may be overloaded; try `docker info` there, then try again",
        ),
        (
            None,
            "ssh is not installed here",
            "is asked by ssh, which is not installed here: install openssh-client",
        ),
        (
            1,
            "Error response from daemon: rpc error: code = Unknown desc = The swarm does not have a leader.",
            "cannot be asked (Error response from daemon: rpc error: code = Unknown desc = The swarm does not have a "
            "leader.): check the address, and that `docker info` works there",
        ),
        (2, "", "cannot be asked (exit status 2): check the address, and that `docker info` works there"),
        (
            1,
            "a warning\n  the error  \n\n",
            "cannot be asked (the error): check the address, and that `docker info` works there",
        ),
    ],
)
def test_what_the_board_says_is_explained_with_a_remedy(status: int | None, text: str, expected: str) -> None:
    assert message(BOARD, status, text) == expected


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (
            None,
            "docker is not installed here",
            "is asked by the Docker client, which is not installed here: install it, "
            "https://docs.docker.com/engine/install/; for another machine write ssh://user@host",
        ),
        (1, DENIED, NOT_PERMITTED_HERE),
        (1, f"Got {DENIED}", NOT_PERMITTED_HERE),
        (1, NO_SOCKET, NOT_RUNNING_HERE),
        (1, NO_SOCKET_29, NOT_RUNNING_HERE),
        (
            None,
            "no answer within 30 s",
            "gives no answer within 30 s: it may be overloaded; try `docker info` here, then try again",
        ),
        # Statuses that mean something to ssh and to a shell only.
        *(
            (status, "boom", "cannot be asked (boom): check the address, and that `docker info` works here")
            for status in (1, 127, 255)
        ),
    ],
)
def test_what_this_machine_says_is_explained_without_a_word_of_ssh(
    status: int | None, text: str, expected: str
) -> None:
    assert message(HERE, status, text) == expected


def test_remedies_name_port_user_and_files_of_the_settings() -> None:
    ssh = {"key_file": "~/.ssh/pi", "known_hosts_file": "~/known"}
    engine = pi_settings(docker_host="ssh://pi@raspberry:2222", ssh=ssh).engine
    connect = "ssh -o UserKnownHostsFile=~/known -p 2222 pi@raspberry"
    assert message(engine, 255, UNKNOWN_KEY) == (
        f"has a host key that is not known here: connect once with: {connect}, {FINGERPRINT}"
    )
    assert message(engine, 255, CHANGED_KEY) == (
        "has another host key than the one that is known of it: somebody may be in between. Where the machine was set "
        f"up anew, remove the old key with: ssh-keygen -R '[raspberry]:2222' -f ~/known; then connect once with: "
        f"{connect}, and compare the fingerprint"
    )
    assert message(engine, 255, WRONG_KEY) == NO_KEY.replace("pi@raspberry", "-p 2222 pi@raspberry")
    assert message(engine, 255, OPEN_KEY) == (
        "is not tried with a private key that others may read: run here: chmod 600 ~/.ssh/pi"
    )


@pytest.mark.parametrize(
    ("host", "target", "known_as"),
    [
        ("ssh://raspberry", "raspberry", "raspberry"),
        ("ssh://pi@raspberry:22", "-p 22 pi@raspberry", "raspberry"),
        ("ssh://pi@[fd00::2]", "pi@fd00::2", "fd00::2"),
        ("ssh://raspberry:2222", "-p 2222 raspberry", "'[raspberry]:2222'"),
    ],
)
def test_remedies_spell_the_address_as_ssh_takes_it(host: str, target: str, known_as: str) -> None:
    said = message(DockerEngine(host=host), 255, CHANGED_KEY)
    assert f"ssh-keygen -R {known_as}; then connect once with: ssh {target}, and" in said


def test_a_user_whom_only_ssh_knows_is_named_as_the_shell_there_does() -> None:
    assert message(DockerEngine(host="ssh://raspberry"), 1, DENIED) == (
        "does not let this user use Docker: run there: sudo usermod -aG docker $USER, and log in again"
    )


def test_braces_in_what_was_said_do_no_harm() -> None:
    assert message(BOARD, 1, 'template: :1: "{{json .}}" {last}') == (
        'cannot be asked (template: :1: "{{json .}}" {last}): check the address, and that `docker info` works there'
    )
