"""Components for one Docker engine: a network, a Docker-in-Docker daemon on it, a runner beside that, and the whole."""

from .daemon import DindDaemon, DindDaemonArgs
from .network import RunnerNetwork, RunnerNetworkArgs
from .runner import RunnerContainer, RunnerContainerArgs
from .runners import DockerRunners, DockerRunnersArgs

__all__ = [
    "DindDaemon",
    "DindDaemonArgs",
    "DockerRunners",
    "DockerRunnersArgs",
    "RunnerContainer",
    "RunnerContainerArgs",
    "RunnerNetwork",
    "RunnerNetworkArgs",
]
