"""Why a Docker engine cannot be asked, from what SSH or the Docker client said, and what helps. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from components.engine import DockerEngine
from stacks.mistakes import SettingsError, shown


class NoAnswer(Exception):
    """A command did not do its work. status: its exit status; None where it could not be run or did not end."""

    def __init__(self, status: int | None, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class _Reason:
    """A kind of failure. pattern: of what was said. remedy: what is wrong and helps; the names in it are filled in."""

    pattern: str
    remedy: str
    by_ssh_itself: bool = False


SSH_FAILED = 255
"""The exit status by which ssh says that it was not the command that failed."""

_REASONS = (
    _Reason(
        r"host identification has changed",
        "has another host key than the one that is known of it: somebody may be in between. Where the machine was set "
        "up anew, remove the old key with: ssh-keygen -R {known_as}{known_hosts}; then connect once with: {ssh}, and "
        "compare the fingerprint",
        by_ssh_itself=True,
    ),
    _Reason(
        r"host key verification failed",
        "has a host key that is not known here: connect once with: {ssh}, compare the fingerprint with the one that "
        "the machine itself shows (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), and accept it",
        by_ssh_itself=True,
    ),
    _Reason(
        r"are too open|bad permissions",
        "is not tried with a private key that others may read: chmod 600 the key file",
        by_ssh_itself=True,
    ),
    _Reason(
        r"permission denied|too many authentication failures",
        "takes no key that is offered: add the public key there with: ssh-copy-id {target}, name the private one in "
        "settings.ssh.key_file (without a passphrase) or load it into the agent, and check the user's name",
        by_ssh_itself=True,
    ),
    _Reason(
        r"",
        "is out of reach ({last}): check the name or address, that the machine is on, and that SSH is enabled there "
        "(raspi-config, Interface Options)",
        by_ssh_itself=True,
    ),
    _Reason(
        r"docker.*not found|not found.*docker",
        "has no Docker client: install Docker there, https://docs.docker.com/engine/install/debian/",
    ),
    _Reason(
        r"permission denied",
        "does not let {user} use Docker: run there: sudo usermod -aG docker {user}, and log in again",
    ),
    _Reason(
        r"cannot connect to the docker daemon",
        "has no Docker engine that answers: start it there with: sudo systemctl start docker (journalctl -u docker "
        "shows why it ended)",
    ),
)


def explained(engine: DockerEngine, error: NoAnswer) -> SettingsError:
    """The mistake in `docker_host` that an engine without an answer comes down to."""
    text = str(error)
    by_ssh_itself = engine.by_ssh and error.status == SSH_FAILED
    reason = next(
        (
            reason.remedy
            for reason in _REASONS
            if reason.by_ssh_itself is by_ssh_itself and re.search(reason.pattern, text, re.IGNORECASE)
        ),
        "cannot be asked ({last}): check the address, and that `docker info` works there",
    )
    return SettingsError(f"settings.docker_host: {shown(engine.host)} {reason.format(**_names(engine, error))}")


def _names(engine: DockerEngine, error: NoAnswer) -> dict[str, str]:
    parts = urlsplit(engine.host)
    host, user = parts.hostname or "", parts.username
    target = (f"-p {parts.port} " if parts.port else "") + (f"{user}@{host}" if user else host)
    known_hosts = [
        option.partition("=")[2] for option in engine.ssh_options if option.startswith("UserKnownHostsFile=")
    ]
    options = f"-o UserKnownHostsFile={known_hosts[0]} " if known_hosts else ""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return {
        "last": lines[-1] if lines else f"exit status {error.status}",
        "user": user or "this user",
        "target": target,
        "ssh": f"ssh {options}{target}",
        "known_as": f"'[{host}]:{parts.port}'" if parts.port and parts.port != 22 else host,
        "known_hosts": f" -f {known_hosts[0]}" if known_hosts else "",
    }
