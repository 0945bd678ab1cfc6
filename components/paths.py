"""Paths that several components agree on, and how Docker reads one. Pure."""

import posixpath
import re
from pathlib import PurePosixPath

DOCKER_SOCKET = "/var/run/docker.sock"
"""Where Docker listens by default, and where its clients look, on a host and in a container."""

CONFIG_DIR = "/etc/gitlab-runner"
"""Where the official image's runner looks for config.toml, in its container."""

CA_FILE = f"{CONFIG_DIR}/certs/gitlab-ca.pem"
"""GitLab's CA, where it is none that the system trusts, in the runner's container."""


def as_docker_reads(path: str) -> PurePosixPath:
    """A path in its shortest form. POSIX leaves two leading slashes alone; Linux and Docker do not."""
    return PurePosixPath(posixpath.normpath(re.sub("^/+", "/", path)))
