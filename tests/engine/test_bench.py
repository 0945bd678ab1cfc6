"""The measure of speed measures: one short row, once, whatever comes out of it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.engine.world import ROOT, run


def test_a_row_is_measured_on_real_parts_and_written_as_figures_table_and_plots(
    environment: dict[str, str], tmp_path: Path
) -> None:
    command = ("python", "-m", "bench", "--quick", "--rows", "P10 time,P12", "--out", str(tmp_path))
    run(*command, cwd=ROOT, env=environment)
    measure = json.loads((tmp_path / "results.json").read_text())
    [own, cold, warm] = measure["rows"]
    assert (own["id"], len(own["pairs"]), own["why"]) == ("P10 time", 1, "")
    assert [cold["verdict"], warm["verdict"]] == ["not run"] * 2
    assert {"cores", "memory_gib", "kernel"} <= set(measure["machine"])
    assert {"docker", "gitlab-runner", "pulumi", "plugin docker", "plugin gitlab", "python"} <= set(measure["versions"])
    assert set(measure["load"]) == {"before", "after"}
    assert "| P10 time |" in (tmp_path / "table.md").read_text()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".md", ".svg", ".svg"]
