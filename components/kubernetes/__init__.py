"""Components for a Kubernetes cluster: network, Docker-in-Docker daemon, its certificates and pruner, and a runner."""

from components.kubernetes.certificates import DaemonCertificates, DaemonCertificatesArgs
from components.kubernetes.daemon import ClaimArgs, DindDaemon, DindDaemonArgs
from components.kubernetes.network import RunnerNetwork, RunnerNetworkArgs
from components.kubernetes.pruner import DaemonPruner, DaemonPrunerArgs
from components.kubernetes.runner import RunnerContainer, RunnerContainerArgs

__all__ = [
    "ClaimArgs",
    "DaemonCertificates",
    "DaemonCertificatesArgs",
    "DaemonPruner",
    "DaemonPrunerArgs",
    "DindDaemon",
    "DindDaemonArgs",
    "RunnerContainer",
    "RunnerContainerArgs",
    "RunnerNetwork",
    "RunnerNetworkArgs",
]
