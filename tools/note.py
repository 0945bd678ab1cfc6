"""Writes a preview as texts: the note on a merge request, and the summary in the job's log. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tools.diff import diff_of, drift_of
from tools.markdown import clean, code, fenced, html_code
from tools.secrets import Masker
from tools.steps import Loss, Plan, Step, Weight, name_of, type_of

GITLAB_LIMIT = 1_000_000
"""How many characters a note or a description may have in GitLab."""

TEXT_LIMIT = 50_000
"""How many characters of the engine's own text are shown."""

_HEADINGS = {
    Weight.REFUSED: "Refused",
    Weight.DATA: "Data is lost or moved",
    Weight.TOKEN: "Registrations go",
    Weight.PAUSE: "Interrupted, nothing is lost",
    Weight.HARMLESS: "No job is touched by this",
}

_DRIFTED = {"update": "changed", "delete": "gone"}
"""What the engine means to do about drift, as what has happened."""


@dataclass(frozen=True)
class Report:
    """What a report says about a stack.

    title: what was done, for example `Preview`. plan: None where there is none. problem: why it failed, in lines; the
    first is what happened. output: the engine's own text on it. violations: of policies; mandatory: whether
    one of them fails the preview. remarks: other sentences. settings: lines of the settings that the merge request
    changes. commit: short hash. is_drift: whether the plan says what was found, and not what would be done.
    """

    project: str
    stack: str
    title: str = "Preview"
    plan: Plan | None = None
    problem: Sequence[str] = ()
    output: str = ""
    violations: Sequence[str] = ()
    mandatory: bool = False
    remarks: Sequence[str] = ()
    settings: Sequence[str] = ()
    commit: str = ""
    is_drift: bool = False

    @property
    def losses(self) -> Sequence[Loss]:
        """What the plan costs; drift costs nothing any more."""
        return () if self.plan is None or self.is_drift else self.plan.losses

    @property
    def summary(self) -> str:
        """One line: what would happen, or that it failed."""
        if self.problem:
            return "failed: " + self.problem[0]
        if self.plan is None:
            return "settings checked only"
        if self.is_drift:
            return _found(self.plan)
        broken = f"; {_count(len(self.violations), 'policy violation')}" if self.violations else ""
        return self.plan.summary + broken


def masked(report: Report, masker: Masker) -> Report:
    """The report without secrets: each of its texts by itself, so that none takes along what comes after it."""

    def each(texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(map(masker.log, texts))

    return replace(
        report,
        plan=report.plan and report.plan.masked(masker),
        problem=each(report.problem),
        output=masker.log(report.output),
        violations=each(report.violations),
        remarks=each(report.remarks),
        settings=each(report.settings),
    )


def marker(project: str, stack: str, what: str = "preview") -> str:
    """The hidden line by which the note, or the issue, is found again."""
    return f"<!-- gitlab-dind-runners {what}: {project}/{stack} -->"


def log_lines(report: Report) -> list[str]:
    """The summary for the job's log, in plain text."""
    lines = [f"{report.title} of stack {report.stack}: {report.summary}"]
    lines += [f"{_HEADINGS[loss.weight]}: {loss.text}" for loss in report.losses]
    lines += [f"Policy violation: {text}" for text in report.violations]
    lines += list(report.problem[1:])
    lines += [f"Setting: {line}" for line in report.settings]
    if report.plan:
        lines += [f"Warning: {text}" for text in report.plan.warnings]
        lines += [f"  {_op(step, report):<8} {_label(step)}" for step in report.plan.steps if not _is_component(step)]
    lines += list(report.remarks)
    if report.output:
        lines += ["The engine said:", *(f"  {line}" for line in report.output.splitlines())]
    return [clean(line) for text in lines for line in text.splitlines()]


def diff_lines(report: Report) -> list[str]:
    """The whole diff, in plain text."""
    lines: list[str] = []
    for step in report.plan.steps if report.plan else ():
        if not _is_component(step):
            lines += [f"{_op(step, report)} {_label(step)}", *_diff(step, report), ""]
    return [clean(line) for line in lines]


def note_text(report: Report, *, what: str = "preview", limit: int = GITLAB_LIMIT, artifacts: str = "") -> str:
    """The note in GitLab's Markdown, with its marker first.

    Where it would be longer than `limit` characters it ends after a whole resource, with a link to `artifacts`.
    """
    head = [marker(report.project, report.stack, what), _headline(report)]
    blocks, count = [*_callouts(report), *_blocks(report)], 0
    foot = _foot(report)
    kept = [*head]
    # What is said of the cut has room, however long the numbers are.
    room = limit - sum(len(part) + 2 for part in head) - sum(len(part) + 2 for part in foot) - 400 - len(artifacts)
    for block in blocks:
        if len(block) + 2 > room:
            break
        room -= len(block) + 2
        kept.append(block)
        count += 1
    if count < len(blocks):
        where = f"[the job's artifacts]({artifacts})" if artifacts else "the job's artifacts"
        kept.append(
            f"**Cut here**: {len(blocks) - count} of {len(blocks)} parts are left out, because a note may have "
            f"{limit:,} characters. All of it is in {where}: {code(f'{report.stack}.md')}."
        )
    return "\n\n".join([*kept, *foot])


def _headline(report: Report) -> str:
    summary = f"failed: {code(report.problem[0])}" if report.problem else report.summary
    return f"{_sign(report)} **{report.title} of stack** {code(report.stack)}: {summary}"


def _sign(report: Report) -> str:
    if report.problem or report.mandatory:
        return ":x:"
    worst = {Weight.DATA, Weight.TOKEN, Weight.REFUSED}
    is_costly = any(loss.weight in worst for loss in report.losses)
    has_drifted = report.is_drift and report.plan is not None and report.plan.has_changes
    return ":warning:" if is_costly or has_drifted or report.violations else ":information_source:"


def _callouts(report: Report) -> list[str]:
    parts = []
    if report.problem[1:]:
        parts.append(fenced(_shortened("\n".join(report.problem[1:])).splitlines()))
    for weight, heading in _HEADINGS.items():
        texts = [loss.text for loss in report.losses if loss.weight is weight]
        if texts:
            parts.append(f"**{heading}**\n\n" + _bullets(texts))
    if report.violations:
        parts.append("**Policy violations**\n\n" + _bullets(map(code, report.violations)))
    if report.settings:
        parts.append("**Changed settings**\n\n" + fenced(report.settings, "diff"))
    if report.plan and report.plan.warnings:
        parts.append("**Warnings**\n\n" + _bullets(map(code, report.plan.warnings)))
    if report.remarks:
        parts.append(_bullets(report.remarks))
    return parts


def _blocks(report: Report) -> list[str]:
    """A folded block for each component, split into one for each of its resources where it would be long."""
    blocks = []
    if report.output:
        blocks.append(_folded("What the engine said", fenced(_shortened(report.output).splitlines())))
    if report.plan is None:
        return blocks
    for parent, steps in _grouped(report.plan.steps).items():
        texts = [_resource(step, report) for step in steps]
        title = f"{_component(parent)}: {', '.join(_op_counts(steps, report))}"
        if sum(len(text) for text in texts) <= TEXT_LIMIT:
            blocks.append(_folded(title, "\n\n".join(texts)))
        else:
            blocks += [
                _folded(f"{_component(parent)}: {_op(step, report)} {step.name}", text)
                for step, text in zip(steps, texts, strict=True)
            ]
    return blocks


def _resource(step: Step, report: Report) -> str:
    return f"{_op(step, report)} {code(step.name)} ({code(step.type)})\n\n{fenced(_diff(step, report), 'diff')}"


def _diff(step: Step, report: Report) -> list[str]:
    if report.is_drift:
        return drift_of(step)
    steps = report.plan.steps if report.plan else ()
    return diff_of(step, frozenset(other.urn for other in steps if other.op == "replace"))


def _op(step: Step, report: Report) -> str:
    return _DRIFTED.get(step.op, step.op) if report.is_drift else step.op


def _found(plan: Plan) -> str:
    """What a look at the real things found, in one line."""
    if not plan.has_changes:
        return f"no drift, {plan.counts.get('same', 0)} unchanged"
    changed = [f"{count} {_DRIFTED.get(op, op)}" for op, count in plan.counts.items() if op != "same" and count]
    return ", ".join([*changed, f"{plan.counts.get('same', 0)} unchanged"])


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{html_code(title)}</summary>\n\n{content}\n\n</details>"


def _foot(report: Report) -> list[str]:
    return (
        [f"<sub>Commit {report.commit}; secrets are never shown, see docs/use/merge-requests.md.</sub>"]
        if report.commit
        else []
    )


def _grouped(steps: Iterable[Step]) -> dict[str, list[Step]]:
    groups: dict[str, list[Step]] = {}
    for step in steps:
        if not _is_component(step):
            groups.setdefault(step.parent, []).append(step)
    return groups


def _component(urn: str) -> str:
    """For example `runner (RunnerContainer)`; the stack itself for what belongs to none."""
    kind = type_of(urn).rsplit(":", 1)[-1]
    return "stack" if not urn or kind == "Stack" else f"{name_of(urn)} ({kind})"


def _op_counts(steps: Sequence[Step], report: Report) -> list[str]:
    ops, to = [_op(step, report) for step in steps], "" if report.is_drift else "to "
    return [f"{ops.count(op)} {to}{op}" for op in dict.fromkeys(ops)]


def _is_component(step: Step) -> bool:
    """Components and the stack have nothing of their own to show."""
    return step.type.startswith("dindrunner:") or step.type == "pulumi:pulumi:Stack"


def _label(step: Step) -> str:
    return f"{step.name} ({step.type})"


def _bullets(texts: Iterable[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


def _shortened(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT] + "\n(cut)"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
