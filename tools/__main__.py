"""Command line: `python -m tools preview | up | destroy | drift | ...`; see docs/use/merge-requests.md."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from collections.abc import Sequence

from stacks.settings.mistakes import SettingsError

COMMANDS = {
    "preview": "show what `up` would change, and say it on the merge request",
    "up": "bring a stack up",
    "destroy": "destroy a stack, but not what it protects",
    "drift": "compare a stack with what is really there, and keep an issue about it",
    "versions": "show the images' versions: default, set, and the newest that is known",
    "target": "say what a stack needs: its target, GitLab and engine",
    "schema": "write settings.schema.json, by which editors know the settings",
    "adopt": "read an existing config.toml and print the settings that reproduce it",
}
"""Each is a module of that name with `add_arguments(parser)` and `run(arguments) -> exit status`."""

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 fine, 1 failed, 2 wrong usage, 3 not posted, 4 drifted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="python -m tools")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        # Only the one that is asked for is imported: some take a second.
        if name in words[:1]:
            importlib.import_module(f"tools.{name}").add_arguments(command)
    chosen = parser.parse_args(words)
    try:
        return int(importlib.import_module(f"tools.{chosen.command}").run(chosen))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    # So GitLab ends a job. It does what Ctrl-C does: Pulumi gives back the lock, and no temporary file is left.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
