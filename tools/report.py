"""Where a report goes: the job's log, artifacts, GitLab."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tools.note import Report, diff_lines, log_lines, masked, note_text
from tools.pulumi_cli import say
from tools.secrets import Masker

FAILED, NOT_POSTED, DRIFTED = 1, 3, 4
"""Exit statuses."""


def publish(report: Report, masker: Masker, out: Path | None, *, what: str = "preview") -> Callable[[int], str]:
    """Write the report to the log and to `out`; what it returns makes the text for GitLab, at most so long."""
    report = masked(report, masker)
    summary = "\n".join(log_lines(report))
    say(summary)
    artifacts = f"{os.environ['CI_JOB_URL']}/artifacts/browse" if os.environ.get("CI_JOB_URL") else ""

    def text(limit: int) -> str:
        return note_text(report, what=what, limit=limit, artifacts=artifacts)

    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        files = {"md": text(10**12), "txt": summary, "diff": "\n".join(diff_lines(report))}
        for ending, content in files.items():
            (out / f"{report.stack}.{ending}").write_text(content + "\n")
    return text
