"""`python -m tools adopt CONFIG_TOML`: prints the settings that reproduce an existing config.toml.

The output is a whole `Pulumi.<stack>.yaml`. Comments at its end say what happened to each value of the file (taken
over, changed for safety, not supported), and what is left to do. Secrets are never printed.
"""

from __future__ import annotations

import argparse
import copy
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from stacks.gke.settings import GkeRunner
from stacks.settings.common import PLACEHOLDER, TOKEN_PLACEHOLDER
from stacks.settings.places import Path, written
from stacks.targets import TARGETS, model, parse
from tools.adopt_check import Finding, findings
from tools.adopt_draft import Draft, Verdict, command
from tools.adopt_file import AdoptError, MisusedError, read
from tools.adopt_rules import Wanted, draft_of
from tools.adopt_yaml import comment, lines
from tools.stack_files import SETTINGS_KEY

ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
FINE, FAILED, MISUSED = 0, 1, 2


_RUNNER = tuple(GkeRunner.model_fields)
"""Every target's settings of a runner."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("config_toml", metavar="CONFIG_TOML", help="the runner's file, or - for standard input")
    parser.add_argument("--target", choices=list(TARGETS), help="default: by the executors in the file")
    whom = parser.add_mutually_exclusive_group()
    whom.add_argument("--project", metavar="GROUP/PROJECT", help="whom the runners serve")
    whom.add_argument("--group", metavar="GROUP", help="whom the runners serve, where it is a group")
    parser.add_argument("--url", help="the GitLab's base URL, where another one than the file's is meant")
    parser.add_argument(
        "--only", metavar="NAME", action="append", default=[], help="this runner of the file; can be given again"
    )


def run(args: argparse.Namespace) -> int:
    """Print the settings; exit status 0, 1 where the file cannot be adopted, 2 where the command was misused."""
    wanted = Wanted(target=args.target, project=args.project, group=args.group, url=args.url, only=args.only)
    try:
        print(adopted(read(args.config_toml), wanted), flush=True)
    except AdoptError as error:
        print("adopt: " + "".join(each if each.isprintable() else "?" for each in str(error)), file=sys.stderr)
        return MISUSED if isinstance(error, MisusedError) else FAILED
    except BrokenPipeError:
        # The reader has had enough: what is still to be written must not be tried again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FINE


def adopted(tables: Mapping[str, Any], wanted: Wanted) -> str:
    """The text of the stack file. Raises AdoptError where one stack cannot hold what the tables say."""
    draft = draft_of(tables, wanted)
    settings = draft.settle()
    found = findings(tables, draft, settings)
    public = _without_secrets(draft)
    # What is printed has to be accepted as it stands, placeholders and all.
    parse(public)
    whole = {"config": {SETTINGS_KEY: _in_order(public)}}
    comments = {("config", SETTINGS_KEY, *setting): texts for setting, texts in draft.comments.items()}
    return "\n".join([*_head(), *lines(whole, comments), *_report(found), *_to_do(draft)])


def _without_secrets(draft: Draft) -> dict[str, Any]:
    public = copy.deepcopy(draft.settings)
    for setting in draft.secrets():
        assigned = isinstance(setting[-1], int) and ASSIGNMENT.match(_get(public, setting))
        _set(public, setting, f"{assigned[0]}{PLACEHOLDER}" if assigned else PLACEHOLDER)
        what = f"{written(setting)}, {assigned[0]}... as a whole" if assigned else written(setting)
        draft.to_do.append(f"Set {what}, which may be a secret and is not shown:\n  {command(setting)}")
    for runner in public["runners"]:
        if "token" in runner:
            runner["token"] = TOKEN_PLACEHOLDER
    return public


def _get(place: Any, setting: Path) -> Any:
    for part in setting:
        place = place[part]
    return place


def _set(place: Any, setting: Path, value: object) -> None:
    _get(place, setting[:-1])[setting[-1]] = value


def _in_order(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What and where first; the rest, and the runners', in the order of the documentation."""
    first = ("target", "gitlab", "cluster", "namespace", "create_namespace", "host_socket")
    ordered = {name: settings[name] for name in (*first, *model(settings["target"]).model_fields) if name in settings}
    return ordered | {
        "runners": [{name: runner[name] for name in _RUNNER if name in runner} for runner in settings["runners"]]
    }


def _head() -> Iterator[str]:
    yield from comment("From a runner's config.toml. What became of its values, and what is left to do, is at the end.")


def _report(found: Mapping[Path, Finding]) -> Iterator[str]:
    for verdict in Verdict:
        chosen = [finding for finding in found.values() if finding.verdict is verdict]
        yield ""
        yield from comment(f"{verdict} ({len(chosen)} of {len(found)} values of config.toml)")
        told: dict[tuple[Path, str], int] = {}
        for finding in chosen:
            told[finding.about, finding.text] = told.get((finding.about, finding.text), 0) + 1
        for (about, text), count in told.items():
            number = f" ({count} values)" if count > 1 else ""
            yield from comment(f"  {written(about)}{number}: {text}")


def _to_do(draft: Draft) -> Iterator[str]:
    yield ""
    yield from comment("Left to do before `pulumi up`")
    steps = [*draft.to_do, "Read the settings for what else nobody else should read, then run: pulumi preview"]
    for number, step in enumerate(steps, 1):
        yield from comment("\n".join(f"  {line}" for line in f"{number}. {step}".split("\n")))
