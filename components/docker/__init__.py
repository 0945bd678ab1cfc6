"""Components for one Docker engine: a network, a Docker-in-Docker daemon on it, and a runner beside that."""

from components.docker.daemon import DindDaemon, DindDaemonArgs
from components.docker.network import RunnerNetwork, RunnerNetworkArgs
from components.docker.runner import RunnerContainer, RunnerContainerArgs

__all__ = [
    "DindDaemon",
    "DindDaemonArgs",
    "RunnerContainer",
    "RunnerContainerArgs",
    "RunnerNetwork",
    "RunnerNetworkArgs",
]
