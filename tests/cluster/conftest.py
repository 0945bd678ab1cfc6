"""The clusters of the tests' own, each started once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.engine.world import Sandbox

if TYPE_CHECKING:
    from tests.cluster.control_plane import ControlPlane
    from tests.cluster.node import Node
    from tests.cluster.stacks import GkeStack


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with nothing behind it that would run a pod."""
    from tests.cluster.control_plane import running_control_plane

    with running_control_plane(tmp_path_factory.mktemp("control-plane")) as running:
        yield running


@pytest.fixture(scope="session")
def node(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A cluster of one node, which may ask the sandbox's registry."""
    from tests.cluster.node import running_node

    with running_node(tmp_path_factory.mktemp("node"), registry=sandbox.described["registry"]) as running:
        yield running


@pytest.fixture(scope="session")
def cluster_environment(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The toolchain's environment, with a Pulumi home that has the plugins for clusters."""
    from tests.plugins.install import install_into

    home = tmp_path_factory.mktemp("pulumi-home")
    install_into(home)
    return {**environment, "PULUMI_HOME": str(home)}


@pytest.fixture(scope="module")
def new_gke_stack(
    cluster_environment: dict[str, str], sandbox: Sandbox, node: Node, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., GkeStack]]:
    """Makes stacks on the node, and destroys what the tests left of them."""
    from tests.cluster.stacks import new_stacks

    with new_stacks(tmp_path_factory.mktemp("stacks"), cluster_environment, sandbox, node) as make:
        yield make
