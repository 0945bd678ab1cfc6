"""Options that several commands have: the stack, where to write, and the policies that it has to keep."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

PACK = "DINDRUNNER_POLICY_PACK"
LEVELS = "DINDRUNNER_POLICY_CONFIG"


def add_stack(parser: argparse.ArgumentParser) -> None:
    """Which stack."""
    parser.add_argument("--stack", required=True, help="as in Pulumi.<stack>.yaml")


def add_out(parser: argparse.ArgumentParser) -> None:
    """Where the artifacts go."""
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where to write <stack>.md, <stack>.txt and <stack>.diff"
    )


def add_policies(parser: argparse.ArgumentParser) -> None:
    """Which policies, and how strictly."""
    parser.add_argument(
        "--policy-pack",
        metavar="DIR",
        default=os.environ.get(PACK) or None,
        help=f"directory of a policy pack (default: ${PACK})",
    )
    parser.add_argument(
        "--policy-pack-config",
        metavar="FILE",
        default=os.environ.get(LEVELS) or None,
        help=f"levels of its policies, for example policy/strict.json (default: ${LEVELS})",
    )


def policy_options(arguments: argparse.Namespace) -> list[str]:
    """The policies as options of Pulumi."""
    if not arguments.policy_pack:
        return []
    levels = ["--policy-pack-config", arguments.policy_pack_config] if arguments.policy_pack_config else []
    return ["--policy-pack", arguments.policy_pack, *levels]
