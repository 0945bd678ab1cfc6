"""Shows why a container did not become ready."""

from __future__ import annotations

import asyncio
import subprocess

import pulumi

from ..docker_client import DockerEngine

LINES = 20
READ_LINES = 300
"""More than is shown: a daemon that restarts again and again hides its last error among routine lines."""

LIMIT_SECONDS = 20


def log_tail_on_failure(
    component: pulumi.Resource, name: str, container: str, engine: DockerEngine | None = None
) -> pulumi.ErrorHook:
    """A hook that logs the last lines of a container's output when creating the container failed.

    component: the one that the lines are shown for. name: prefix of the hook's name. container: its name on the engine.
    engine: where the container is; None: the engine that the Docker client chooses.
    """

    async def show(args: pulumi.ErrorHookArgs) -> bool:
        # Another container may have the name; its log says nothing about this one.
        taken = any("already in use" in error for error in args.errors)
        if args.failed_operation == "create" and not taken:
            pulumi.log.error(await asyncio.to_thread(_tail, container, engine), component)
        return False

    return pulumi.ErrorHook(f"{name}-log-tail", show)


def _tail(container: str, engine: DockerEngine | None) -> str:
    """By the client, because the provider's own lookup of logs ends the provider at lines of certain lengths."""
    arguments = ["logs", "--tail", str(READ_LINES), container]
    command = engine.docker(*arguments) if engine else ["docker", *arguments]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the log of container {container} could not be read: {error}"
    lines = [line.rstrip() for line in done.stdout.decode(errors="replace").splitlines() if line.strip()]
    if done.returncode:
        return f"the log of container {container} could not be read: {' '.join(lines)}"
    telling = [line for line in lines if "level=info" not in line] or lines
    return f"last lines of the log of container {container}:\n" + "\n".join(f"  {line}" for line in telling[-LINES:])
