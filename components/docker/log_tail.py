"""Shows why a container did not become ready."""

from __future__ import annotations

import pulumi
import pulumi_docker as docker

LINES = 20
READ_LINES = 300
"""More than is shown, because a daemon that is started again and again buries its last words in routine ones."""


def log_tail_on_failure(component: pulumi.Resource, name: str, container: str) -> pulumi.ErrorHook:
    """A hook that logs the last lines of a container's output when creating the container failed.

    component: whose provider reaches the engine. name: prefix of the hook's name. container: its name on the engine.
    """

    async def show(args: pulumi.ErrorHookArgs) -> bool:
        if args.failed_operation == "create":
            pulumi.log.error(await _tail(component, container), component)
        return False

    return pulumi.ErrorHook(f"{name}-log-tail", show)


async def _tail(component: pulumi.Resource, container: str) -> str:
    try:
        logs = await docker.get_logs(
            name=container,
            tail=str(READ_LINES),
            show_stdout=True,
            show_stderr=True,
            discard_headers=True,
            logs_list_string_enabled=True,
            opts=pulumi.InvokeOptions(parent=component),
        )
    except Exception as error:  # the engine's own message stands; this is only what could be added to it
        return f"the log of container {container} could not be read: {error}"
    lines = [line.rstrip() for line in logs.logs_list_strings if line.strip()]
    telling = [line for line in lines if "level=info" not in line] or lines
    return f"last lines of the log of container {container}:\n" + "\n".join(f"  {line}" for line in telling[-LINES:])
