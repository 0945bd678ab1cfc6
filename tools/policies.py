"""The policies that a preview and an update have to keep: which, and how strictly."""

from __future__ import annotations

import argparse
import os

PACK = "DINDRUNNER_POLICY_PACK"
LEVELS = "DINDRUNNER_POLICY_CONFIG"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every command that has policies."""
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


def options(arguments: argparse.Namespace) -> list[str]:
    """The same for Pulumi."""
    if not arguments.policy_pack:
        return []
    levels = ["--policy-pack-config", arguments.policy_pack_config] if arguments.policy_pack_config else []
    return ["--policy-pack", arguments.policy_pack, *levels]
