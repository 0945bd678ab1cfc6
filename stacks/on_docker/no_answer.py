"""Explains from the words of SSH or the Docker client why an engine cannot be asked, and what helps. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from components.docker_client import DockerEngine
from stacks.settings.mistakes import SettingsError, shown


class NoAnswer(Exception):
    """A command did not do its work. status: its exit status; None where it could not be run or did not end."""

    def __init__(self, status: int | None, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class _Reason:
    """A kind of failure. pattern: of what was said. remedy: what is wrong and helps; the names in it are filled in.

    status: the exit status that goes with it; None is any other than ssh's own.
    """

    pattern: str
    remedy: str
    status: int | None = None


SSH_FAILED = 255
"""The exit status by which ssh says that it was not the command that failed."""

NO_COMMAND = 127
"""The exit status by which a shell says that there is no such command."""

_REASONS = (
    _Reason(
        r"host identification has changed",
        "has another host key than the one that is known of it: somebody may be in between. Where the machine was set "
        "up anew, remove the old key with: ssh-keygen -R {known_as}{known_hosts}; then connect once with: {ssh}, and "
        "compare the fingerprint",
        SSH_FAILED,
    ),
    _Reason(
        r"host key verification failed",
        "has a host key that is not known here: connect once with: {ssh}, compare the fingerprint with the one that "
        "the machine itself shows (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), and accept it",
        SSH_FAILED,
    ),
    _Reason(
        r"are too open|bad permissions",
        "is not tried with a private key that others may read: run here: chmod 600 {key_file}",
        SSH_FAILED,
    ),
    _Reason(
        r"permission denied|too many authentication failures",
        "takes no key that is offered: add the public key there with: ssh-copy-id {target}, name the private one in "
        "settings.ssh.key_file (without a passphrase) or load it into the agent, and check the user's name",
        SSH_FAILED,
    ),
    _Reason(
        r"",
        "is out of reach ({last}): check the name or address, that the machine is on, and that SSH is enabled there "
        "(raspi-config, Interface Options)",
        SSH_FAILED,
    ),
    _Reason(r"^ssh is not installed here", "is asked by ssh, which is not installed here: install openssh-client"),
    _Reason(
        r"^docker is not installed here",
        "is asked by the Docker client, which is not installed here: install it, "
        "https://docs.docker.com/engine/install/{elsewhere}",
    ),
    _Reason(
        r"",
        "has no Docker client: install Docker there, https://docs.docker.com/engine/install/debian/, and see that "
        "`{ssh} docker version` finds it",
        NO_COMMAND,
    ),
    _Reason(
        r"permission denied",
        "does not let {user} use Docker: run {there}: sudo usermod -aG docker {group_member}, and log in again"
        "{elsewhere}",
    ),
    _Reason(
        # The second is what clients from version 29 on say.
        r"cannot connect to the docker daemon|failed to connect to the docker api",
        "has no Docker engine that answers: start it {there} with: sudo systemctl start docker (journalctl -u docker "
        "shows why it ended){elsewhere}",
    ),
    _Reason(r"^no answer within", "gives {last}: it may be overloaded; try `docker info` {there}, then try again"),
    _Reason(r"", "cannot be asked ({last}): check the address, and that `docker info` works {there}"),
)


def explained(engine: DockerEngine, error: NoAnswer) -> SettingsError:
    """The mistake in `docker_host` that an engine without an answer comes down to."""
    status = error.status if engine.by_ssh and error.status in (SSH_FAILED, NO_COMMAND) else None
    remedy = next(
        reason.remedy
        for reason in _REASONS
        if reason.status == status and re.search(reason.pattern, str(error), re.IGNORECASE)
    )
    return SettingsError(f"settings.docker_host: {shown(engine.host)} {remedy.format(**_names(engine, error))}")


def _names(engine: DockerEngine, error: NoAnswer) -> dict[str, str]:
    parts = urlsplit(engine.host)
    host, user = engine.ssh_host, parts.username
    target = (f"-p {parts.port} " if parts.port else "") + (f"{user}@{host}" if user else host)
    known_hosts, key_file = _option(engine, "UserKnownHostsFile"), _option(engine, "IdentityFile")
    options = f"-o UserKnownHostsFile={known_hosts} " if known_hosts else ""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return {
        "last": lines[-1] if lines else f"exit status {error.status}",
        "user": user or "this user",
        "group_member": user or "$USER",
        "target": target,
        "ssh": f"ssh {options}{target}",
        "known_as": f"'[{host}]:{parts.port}'" if parts.port and parts.port != 22 else host,
        "known_hosts": f" -f {known_hosts}" if known_hosts else "",
        "key_file": key_file or "<key file>",
        "there": "there" if engine.by_ssh else "here",
        "elsewhere": "" if engine.by_ssh else "; for another machine write ssh://user@host",
    }


def _option(engine: DockerEngine, name: str) -> str | None:
    """The value of one of the options for ssh."""
    return next((option.partition("=")[2] for option in engine.ssh_options if option.startswith(f"{name}=")), None)
