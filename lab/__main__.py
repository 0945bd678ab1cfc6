"""Command line: `python3 -m lab prepare | images | next-daemon | doctor | up | down | take-down | status | ... | demo`.

The first four need nothing but Python itself, the others the project's packages.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lab import images, prepare
from lab.gitlab.places import DEFAULT_INFO, DEFAULT_PORT, DEFAULT_REGISTRY_PORT, DEFAULT_STATE
from toolchain import doctor
from toolchain.shared import Say, ToolchainError, make_say, run_command


def main(arguments: Sequence[str]) -> int:
    """Runs one command and returns the exit code: 0 done, 1 went wrong, 3 (status) not running, 130 interrupted."""
    return run_command(lambda: _dispatch(arguments))


def _dispatch(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["demo"]:
        from lab.demo import main as demo

        return demo(arguments[1:])
    chosen = _parser().parse_args(arguments)
    say = make_say()
    match chosen.command:
        case "prepare":
            prepare.prepare(say, chosen.stack)
        case "images":
            images.ensure(say)
        case "next-daemon":
            print(images.ensure_next(say))
        case "doctor":
            return doctor.tell([*doctor.examine(), prepare.images_row()])
        case _:
            return _sandbox(chosen, say)
    return 0


def _sandbox(chosen: argparse.Namespace, say: Say) -> int:
    from lab import lifecycle

    match chosen.command:
        case "up" if chosen.stack:
            lifecycle.start_sandbox(chosen.stack, lambda: _up(chosen, say))
        case "up":
            _up(chosen, say)
        case "down":
            _down(chosen, say)
        case "take-down":
            if code := lifecycle.destroy(chosen.stack, lambda: _up(chosen, say), say):
                return code
            lifecycle.stop(chosen.stack, lambda: _down(chosen, say), say)
        case "status":
            from lab.gitlab import server

            found = server.status(state=chosen.state)
            print(json.dumps(found, indent=2))
            return 0 if found["running"] else 3
        case "serve":
            from lab.gitlab import server

            host = chosen.host or server.bridge_address()
            server.serve(state=chosen.state, host=host, port=chosen.port, registry_address=chosen.registry)
        case "token":
            print(_token(chosen.state, chosen.scopes, chosen.name))
    return 0


def _up(chosen: argparse.Namespace, say: Say) -> None:
    # It takes a second to import, and many a stack does without.
    from lab.gitlab import server

    ports = {"port": chosen.port, "registry_port": chosen.registry_port}
    server.up(state=chosen.state, host=chosen.host, info=chosen.info, say=say, **ports)


def _down(chosen: argparse.Namespace, say: Say) -> None:
    from lab.gitlab import server

    server.down(state=chosen.state, info=chosen.info, say=say)


def _token(state: Path, scopes: str | None, name: str) -> str:
    """The administrator's token, or with `scopes` a new one that has just those."""
    from lab.gitlab.auth import SCOPES, make_token
    from lab.gitlab.core import Sandbox
    from lab.gitlab.seed import administrator, token_file
    from lab.gitlab.store import Store

    path = token_file(state)
    if not path.exists():
        raise ToolchainError(f"{path} is missing: start the sandbox with `python -m lab up`")
    if scopes is None:
        return path.read_text().strip()
    wanted = [scope.strip() for scope in scopes.split(",")]
    if unknown := sorted(set(wanted) - set(SCOPES)):
        raise ToolchainError(f"--scopes: {', '.join(unknown)} unknown; known are {', '.join(SCOPES)}")
    store = Store(state / "gitlab.db")
    try:
        return make_token(store, administrator(Sandbox(state, "", store)), name, wanted)[1]
    finally:
        store.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description="What a machine without internet needs.")
    commands = parser.add_subparsers(dest="command", required=True)
    everything = commands.add_parser(
        "prepare", help="the toolchain's `up`, with the images and a registry for the sandbox"
    )
    everything.add_argument("--stack", default="", help="only what this one needs, by its settings")
    commands.add_parser("images", help="make the images where no container registry answers")
    commands.add_parser("next-daemon", help="make the image with a daemon of the next series, and print its name")
    commands.add_parser("doctor", help="the toolchain's `doctor`, with the images")

    def command(name: str, what: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=what, description=what)
        added.add_argument("--state", type=Path, default=DEFAULT_STATE, help="its directory (%(default)s)")
        return added

    up = command("up", "start the sandbox GitLab in the background, with its container registry")
    up.add_argument("--stack", help="do so only if this one's GitLab is the sandbox")
    take_down = command("take-down", "destroy a stack, and stop the sandbox and the engine unless another one is up")
    take_down.add_argument("stack")
    serve = command("serve", "serve the state directory in the foreground, as `up` does in the background")
    for one in (up, take_down, serve):
        one.add_argument("--host", help="address to listen on (default: this machine's on Docker's default bridge)")
        one.add_argument("--port", type=int, default=DEFAULT_PORT, help="(%(default)s)")
    for one in (up, take_down):
        one.add_argument("--registry-port", type=int, default=DEFAULT_REGISTRY_PORT, help="0: none (%(default)s)")
    serve.add_argument("--registry", metavar="HOST:PORT", help="the container registry that jobs are told of")
    down = command("down", "stop it and its registry; the state stays")
    default_info = Path(os.environ.get("DINDRUNNER_SANDBOX") or DEFAULT_INFO)
    for one in (up, take_down, down):
        one.add_argument("--info", type=Path, default=default_info, help="file that says where it is (%(default)s)")
    command("status", "say whether it runs (exit code 3: it does not)")
    token = command("token", "print the administrator's token, or a new one")
    token.add_argument("--scopes", help="make a new one with these scopes, comma-separated")
    token.add_argument("--name", default="made on the command line", help="its name (%(default)s)")
    commands.add_parser("demo", help="run the sample project's pipeline twice", add_help=False)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
