"""Components for a Kubernetes cluster: network, Docker-in-Docker daemon, its certificates and pruner, and a runner."""

from .certificates import DaemonCertificates, DaemonCertificatesArgs
from .daemon import ClaimArgs, DindDaemon, DindDaemonArgs
from .network import RunnerNetwork, RunnerNetworkArgs
from .pruner import DaemonPruner, DaemonPrunerArgs
from .runner import RunnerContainer, RunnerContainerArgs
from .runners import KubernetesRunners, KubernetesRunnersArgs

__all__ = [
    "ClaimArgs",
    "DaemonCertificates",
    "DaemonCertificatesArgs",
    "DaemonPruner",
    "DaemonPrunerArgs",
    "DindDaemon",
    "DindDaemonArgs",
    "KubernetesRunners",
    "KubernetesRunnersArgs",
    "RunnerContainer",
    "RunnerContainerArgs",
    "RunnerNetwork",
    "RunnerNetworkArgs",
]
