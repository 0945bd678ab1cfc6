"""The measure of speed measures: each row once, whatever comes out of it."""

from __future__ import annotations

import json
from pathlib import Path

from bench.rows import ROWS
from tests.engine.world import ROOT, run


def test_every_row_is_measured_on_real_parts_and_written_as_figures_table_and_plots(
    environment: dict[str, str], tmp_path: Path
) -> None:
    command = ("python", "-m", "bench", "--quick", "--out", str(tmp_path))
    run(*command, cwd=ROOT, env=environment, seconds=1200)
    measure = json.loads((tmp_path / "results.json").read_text())
    rows = {row["id"]: row for row in measure["rows"]}
    assert list(rows) == [row.id for row in ROWS]
    # What begins with an empty cache is not for each day, nor is building what only the measure needs.
    absent = {id for id, row in rows.items() if row["verdict"] == "not run"}
    assert {row.id for row in ROWS if row.takes_long} <= absent
    assert absent <= {row.id for row in ROWS if row.takes_long or row.id.startswith("P3 ")}
    assert {id: len(row["pairs"]) for id, row in rows.items() if id not in absent} == dict.fromkeys(
        rows.keys() - absent, 1
    )
    assert {"cores", "memory_gib", "kernel"} <= set(measure["machine"])
    assert {"docker", "gitlab-runner", "pulumi", "plugin docker", "plugin gitlab", "python"} <= set(measure["versions"])
    assert set(measure["load"]) == {"before", "after"}
    assert "| P10 time |" in (tmp_path / "table.md").read_text()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".md", ".svg", ".svg"]
