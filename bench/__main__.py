"""`python -m bench` measures the rows on real parts, and writes figures, table and plots."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import machine, plot, report
from bench.measure import Result, measured
from bench.rows import ROWS, chosen
from bench.world import World
from toolchain.shared import ROOT, TOOLCHAIN_DIR, make_say, run_command

PAIRS, QUICK_PAIRS = 10, 1
PUBLISHED = ROOT / "bench" / "results.json"
PAGE = ROOT / "docs" / "use" / "performance.md"
PICTURES = {"performance-goals.svg": plot.goals, "performance-sides.svg": plot.sides}
TITLES = {
    "performance-goals.svg": "How far each figure is from its goal",
    "performance-sides.svg": "Both sides of each row, on a scale of its own",
}


def main(argv: Sequence[str]) -> int:
    """Measure; 1 where a row could not be measured though it should have been. A goal that is missed is no failure."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.quick and options.publish:
        parser.error("--publish: not with --quick, whose rows have fewer jobs and runners than they say")
    try:
        rows = chosen(options.rows)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    say, began = make_say(), time.monotonic()
    pairs = options.pairs or (QUICK_PAIRS if options.quick else PAIRS)
    old = {raw["id"]: raw for raw in _read(options.out)["rows"]} if options.keep else {}
    load = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        world = World(Path(name), takes_long=options.long, quick=options.quick)
        os.environ["PATH"] = world.environment["PATH"]
        facts = {"machine": machine.machine(), "versions": machine.versions(world)}
        with world.closing:
            for row in rows:
                old[row.id] = measured(row, world, pairs=pairs, commit=machine.commit(), say=say).as_json()
                results = [Result.from_json(old[row.id]) for row in ROWS if row.id in old]
                # After each row: what has been measured stays where somebody ends it.
                measure = {**facts, "load": {"before": load, "after": os.getloadavg()}}
                _write(options.out, {**measure, "rows": [result.as_json() for result in results]})
    say(f"done in {time.monotonic() - began:.0f} s; figures, table and plots are in {options.out}")
    print(report.table(results) + "\n" + report.reasons(results))
    if options.publish:
        publish(options.out)
    return 1 if any(Result.from_json(old[row.id]).broken for row in rows) else 0


def publish(out: Path) -> None:
    """Take the figures over into the repository: the file, the plots and the page's part."""
    measure = _read(out)
    PUBLISHED.write_text(_json(measure))
    results = [Result.from_json(raw) for raw in measure["rows"]]
    for name, draw in PICTURES.items():
        (PAGE.parent / name).write_text(draw(results))
    report.publish(PAGE, report.generated(measure, [(TITLES[name], name) for name in PICTURES]))


def _write(out: Path, measure: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    results = [Result.from_json(raw) for raw in measure["rows"]]
    (out / "results.json").write_text(_json(measure))
    (out / "table.md").write_text(report.table(results) + "\n" + report.reasons(results))
    for name, draw in PICTURES.items():
        (out / name).write_text(draw(results))


def _read(out: Path) -> dict[str, Any]:
    file = out / "results.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"rows": []}
    return found


def _json(measure: dict[str, Any]) -> str:
    """JSON with a line for each row, so that a change of figures can be read."""
    told = {name: json.dumps(value, ensure_ascii=False) for name, value in measure.items() if name != "rows"}
    rows = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in measure["rows"])
    lines = [f' "{name}": {value}' for name, value in told.items()] + [f' "rows": [\n{rows}\n ]']
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PAIRS} pair a row, with fewer jobs and runners")
    parser.add_argument("--pairs", type=int, default=0, help="so many pairs a row")
    parser.add_argument("--rows", default="", help="such as P1,P4 or 'P4 up' (default: all)")
    parser.add_argument(
        "--out", type=Path, default=TOOLCHAIN_DIR / "bench", help="folder of what is written (%(default)s)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the other rows' figures that the folder has")
    parser.add_argument("--long", action="store_true", help="also the rows that take hours")
    parser.add_argument("--publish", action="store_true", help="take the folder's figures over into the documents")
    return parser


if __name__ == "__main__":
    # Whoever ends it by a signal finds nothing left behind either.
    sys.exit(run_command(lambda: main(sys.argv[1:])))
