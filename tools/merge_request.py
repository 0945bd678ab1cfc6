"""The merge request that a pipeline runs for, from GitLab's predefined variables. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stacks.settings.sandbox import PASSPHRASE

TOKEN = "DINDRUNNER_NOTE_TOKEN"
BACKEND = "DINDRUNNER_BACKEND_URL"


@dataclass(frozen=True)
class MergeRequest:
    """project: ID of the one that it is made to. source: ID of the one that it comes from, a fork or the same.

    head_commit: the commit of its branch that the pipeline runs for; empty where that is not known.
    """

    iid: int
    project: str
    source: str
    base_commit: str
    head_commit: str

    @property
    def is_from_fork(self) -> bool:
        """Whether it comes from another project."""
        return bool(self.source) and self.source != self.project


def merge_request(environment: Mapping[str, str]) -> MergeRequest | None:
    """That of a job's environment; None in any other pipeline, and outside of one."""
    iid = environment.get("CI_MERGE_REQUEST_IID", "")
    if not iid.isdecimal():
        return None
    project = environment.get("CI_MERGE_REQUEST_PROJECT_ID") or environment.get("CI_PROJECT_ID", "")
    return MergeRequest(
        iid=int(iid),
        project=project,
        source=environment.get("CI_MERGE_REQUEST_SOURCE_PROJECT_ID") or environment.get("CI_PROJECT_ID", ""),
        base_commit=environment.get("CI_MERGE_REQUEST_DIFF_BASE_SHA", ""),
        # A pipeline for merged results runs for a commit that only GitLab has.
        head_commit=environment.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA") or environment.get("CI_COMMIT_SHA", ""),
    )


def missing_variables(environment: Mapping[str, str], *, needs_passphrase: bool = True) -> list[str]:
    """The variables of the project that a pipeline needs for more than a look at the settings, and has not got.

    needs_passphrase: not where a KMS encrypts the stack's secrets. `.toolchain/env` sets the sandbox's passphrase where
    there is none.
    """
    missing = [name for name in (TOKEN, BACKEND) if not environment.get(name)]
    passphrase = environment.get("PULUMI_CONFIG_PASSPHRASE", "")
    if needs_passphrase and not environment.get("PULUMI_CONFIG_PASSPHRASE_FILE") and passphrase in ("", PASSPHRASE):
        missing.append("PULUMI_CONFIG_PASSPHRASE")
    return missing
