"""Serves the wholes of the installed package to programs in other Pulumi languages."""

from importlib.metadata import version

from dindrunner.docker import DockerRunners  # type: ignore[import-not-found]
from dindrunner.kubernetes import KubernetesRunners  # type: ignore[import-not-found]
from dindrunner.swarm import SwarmRunners  # type: ignore[import-not-found]
from pulumi.provider.experimental import component_provider_host

if __name__ == "__main__":
    component_provider_host(
        name="dindrunner",
        components=[DockerRunners, SwarmRunners, KubernetesRunners],
        version=version("dindrunner"),
    )
