"""Components for one Docker engine: a network, a Docker-in-Docker daemon on it, and a runner beside that."""

from .daemon import DindDaemon, DindDaemonArgs
from .network import RunnerNetwork, RunnerNetworkArgs
from .runner import RunnerContainer, RunnerContainerArgs

__all__ = [
    "DindDaemon",
    "DindDaemonArgs",
    "RunnerContainer",
    "RunnerContainerArgs",
    "RunnerNetwork",
    "RunnerNetworkArgs",
]
