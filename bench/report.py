"""The table, the page and the file of a measure. Pure but for `publish`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.measure import Result

BEGIN = "<!-- From here on it is written by `make bench ARGS=--publish`. -->\n"


def number(value: float) -> str:
    """Three digits that say something, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(results: Sequence[Result]) -> str:
    """A row for each result: what was measured, both sides' medians, the figure with its spread, and the verdict."""
    lines = [
        "| # | Measured | A | B | Figure (middle half) | Pairs | Goal | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        raw = result.as_json()
        cells = ["", "", "", "0"]
        if result.median is not None:
            low, high = raw["spread"]
            unit = "" if result.figure == "ratio" else f" {result.unit}"
            sides = [
                f"{name} {number(raw[key])} {result.unit}" if name else ""
                for name, key in ((result.a, "median_a"), (result.b, "median_b"))
            ]
            figure = f"{number(result.median)}{unit} ({number(low)} to {number(high)})"
            cells = [*sides, figure, str(len(result.pairs))]
        verdict = f"**{result.verdict}**" if result.met is False or result.broken else result.verdict
        lines.append(f"| {' | '.join([result.id, result.what, *cells, result.goal, verdict])} |")
    return "\n".join(lines) + "\n"


def reasons(results: Sequence[Result]) -> str:
    """Why rows have no figures, a line for each reason."""
    by_reason: dict[str, list[str]] = {}
    for result in results:
        if result.why:
            by_reason.setdefault(result.why.splitlines()[0], []).append(result.id)
    return "".join(f"- {', '.join(ids)}: {why}.\n" for why, ids in by_reason.items())


def generated(measure: Mapping[str, Any], pictures: Sequence[tuple[str, str]]) -> str:
    """The generated part of the page. pictures: title and file of each."""
    results = [Result.from_json(raw) for raw in measure["rows"]]
    machine, versions = measure["machine"], measure["versions"]
    run = [result for result in results if result.pairs]
    loads = [load for result in run for load in result.load]
    counts = sorted({len(result.pairs) for result in run})
    text = [
        BEGIN,
        f"Measured on a machine with {machine['cores']} cores, {machine['memory_gib']} GiB and kernel "
        f"{machine['kernel']} ({machine['architecture']}), between {min(r.began for r in run)} and "
        f"{max(r.began for r in run)}, at commits {', '.join(sorted({r.commit for r in run}))}.\n"
        if run
        else "Nothing was measured.\n",
    ]
    if run:
        text.append(
            f"Pairs: {', '.join(map(str, counts))} a row. The load of the machine (average of a minute) was "
            f"{min(loads):.1f} to {max(loads):.1f} before and after rows: beyond the number of cores, others worked "
            "there too, which makes times longer and ratios of short ones less sure.\n"
        )
    text += [
        "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".\n",
        *(f"![{title}]({file})\n" for title, file in pictures),
        table(results),
    ]
    if why := reasons(results):
        text.append(f"Without figures:\n\n{why}")
    return "\n".join(text)


def page(text: str, part: str) -> str:
    """The page with its generated part made anew; what stands before it is written by people."""
    head, _, _ = text.partition(BEGIN)
    return head + part


def publish(file: Path, part: str) -> None:
    """Write the page."""
    file.write_text(page(file.read_text(), part))
