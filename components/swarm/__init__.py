"""Components for a Docker Swarm: an overlay network, and a runner as a service.

The daemon is `components.docker.DindDaemon` here too: Swarm has no privileged services
(https://github.com/moby/moby/issues/24862), so it is a plain container on the network.
"""

from .network import RunnerNetwork
from .runner import RunnerContainer, RunnerContainerArgs
from .runners import SwarmRunners, SwarmRunnersArgs

__all__ = ["RunnerContainer", "RunnerContainerArgs", "RunnerNetwork", "SwarmRunners", "SwarmRunnersArgs"]
