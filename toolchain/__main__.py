"""Command line: `python3 -m toolchain install | engine up/down/status | doctor | up | clean | recover STACK | ...`."""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Sequence

from toolchain import ci_local, docker, doctor, engine, pulumi
from toolchain.clean import clean
from toolchain.debian import ensure_program
from toolchain.envfile import ensure_env_file
from toolchain.parts import Part, do_parts
from toolchain.program import ask
from toolchain.recover import recover
from toolchain.shared import Say, ToolchainError, elapsed, make_say, run_command
from toolchain.state import kept, remove
from toolchain.venv import ensure_project_venv

ENGINE = "Docker engine"
"""The part of `up` that others may need."""
_PACKAGES = "Python packages"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code: 0 done, 1 something could not be had, 130 interrupted."""
    chosen = _parser().parse_args(arguments)
    return run_command(lambda: _run(chosen, make_say()))


def install(say: Say, stack: str = "") -> None:
    """Has everything but the Docker engine: git, packages, CLI, plugins, `.toolchain/env`. stack: and what it adds."""
    _have([], say)
    if not stack:
        return
    try:
        on_cluster = ask(stack).is_on_cluster
    except ToolchainError as error:
        # A pipeline's preview, which comes next, says it where people look.
        say(f"stack {stack} gets no plugins of its own, because its target is not known: {error}")
        return
    if on_cluster:
        install_cluster_plugins(say)


def up(say: Say, more: Sequence[Part] = (), stack: str = "") -> None:
    """Has all that a stack on this machine needs. stack: what this one needs, wherever it is.

    more: parts to be done beside these, which they may need. Raises ToolchainError where its settings are wrong.
    """

    def start() -> None:
        if not stack or ask(stack).needs_engine_here:
            engine.up(say)

    # Only the program can read settings, and it needs its packages; what every stack needs goes on beside them.
    question = [Part(f"settings of stack {stack}", lambda: ask(stack), needs=(_PACKAGES,))] if stack else []
    _have([*question, Part(ENGINE, start, needs=tuple(part.name for part in question)), *more], say)
    if stack and ask(stack).is_on_cluster:
        install_cluster_plugins(say)


def _have(more: Sequence[Part], say: Say) -> None:
    began = time.monotonic()
    do_parts([*_tools(say), *more], say=say)
    _finish(began, say)


def _tools(say: Say) -> list[Part]:
    cli, *plugins = pulumi.tools()
    return [
        # It keeps the sandbox's repositories, and takes the sample project there.
        Part("git", lambda: ensure_program("git", say)),
        Part(_PACKAGES, lambda: ensure_project_venv(say=say)),
        Part("Go modules", lambda: pulumi.fetch_modules(say)),
        Part(cli.name, lambda: pulumi.ensure(cli, say=say)),
        # The CLI downloads plugins; and where both are built, they would compile the same at the same time.
        *(
            Part(plugin.name, functools.partial(pulumi.ensure, plugin, say=say), needs=(cli.name,))
            for plugin in plugins
        ),
    ]


def _finish(began: float, say: Say) -> None:
    ensure_env_file()
    for tool in pulumi.tools():
        if (origin := pulumi.installed(tool)) and origin.source == pulumi.STAND_IN:
            say("note: the GitLab plugin is a stand-in: it serves a few resources, and only against the sandbox GitLab")
    say(f"toolchain: ready in {elapsed(time.monotonic() - began)}; `. .toolchain/env` to use it")


def install_cluster_plugins(say: Say) -> None:
    """Has what stacks on a cluster need besides."""
    for tool in pulumi.cluster_plugins():
        pulumi.ensure(tool, say=say)


def _run(chosen: argparse.Namespace, say: Say) -> int:
    match chosen.command:
        case "doctor":
            return doctor.tell(doctor.examine())
        case "engine":
            return _engine(chosen.action, say)
        case "gitlab-ci-local":
            ci_local.ensure(say)
        case "pins":
            docker.update_pins(say)
        case "clean":
            clean(say)
        case "install":
            install(say, chosen.stack)
            if chosen.cluster:
                install_cluster_plugins(say)
        case "kept":
            for line in kept(chosen.stack):
                print(line)
        case "recover":
            recover(chosen.stack, say)
        case "remove":
            remove(chosen.stack, say)
        case "up":
            up(say)
    return 0


def _engine(action: str, say: Say) -> int:
    match action:
        case "up":
            engine.up(say)
        case "down":
            engine.down(say)
        case "status":
            found = engine.status()
            print(f"{found.host}: {f'Docker {found.version}' if found.version else 'nothing answers'}")
            return 0 if found.version else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m toolchain", description="Gets what the project needs.")
    commands = parser.add_subparsers(dest="command", required=True)
    install_command = commands.add_parser("install", help="Python packages, Pulumi CLI, plugins and .toolchain/env")
    install_command.add_argument("--stack", default="", help="and the plugins that this one needs, by its settings")
    install_command.add_argument("--cluster", action="store_true", help="and the plugins for stacks on a cluster")
    commands.add_parser("gitlab-ci-local", help="put gitlab-ci-local, from npm, on the PATH of .toolchain/env")
    commands.add_parser("pins", help="pin the Docker packages that Debian's suites have now")
    commands.add_parser("doctor", help="show what is there, where it came from, and what is missing")
    commands.add_parser("up", help="install and engine up in one")
    commands.add_parser("clean", help="remove .toolchain and .venv once all stacks are down; the shared cache stays")
    recover_command = commands.add_parser("recover", help="remove what a killed update of a stack left")
    recover_command.add_argument("stack")
    kept_command = commands.add_parser("kept", help="list the volumes and claims that will outlive a stack")
    kept_command.add_argument("stack")
    remove_command = commands.add_parser("remove", help="forget a destroyed stack, unless something of it is protected")
    remove_command.add_argument("stack")
    engine_command = commands.add_parser("engine", help="the Docker engine")
    engine_command.add_argument("action", choices=("up", "down", "status"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
