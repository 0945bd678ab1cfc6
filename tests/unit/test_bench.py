"""The measure of speed: what is made of pairs, and how it is shown. No time is judged."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import pytest

from bench import __main__ as command
from bench import plot, report
from bench.measure import NotRun, Result, Row, Sides, Take, alternating, measured, spread
from bench.rows import ROWS, chosen
from bench.rows.terraform import configuration
from bench.world import World

PLOTS = (plot.goals, plot.sides)


def result(pairs: Sequence[tuple[float, float]] = ((3, 2), (8, 4), (2, 2)), **changes: Any) -> Result:
    """A result whose figures are ratios, 2 at most."""
    given = {"id": "P1", "what": "a thing", "a": "here", "b": "there", "unit": "s", "figure": "ratio", "limit": 2.0}
    given |= {"at_least": False, "goal": "≤ 2", "pairs": list(pairs), "began": "2026-11-30T09:00:00Z", "commit": "abc"}
    return Result(**cast(Any, given | {"load": (0.5, 1.5)} | changes))


NOT_RUN = result((), id="P3", why="it takes too long")
BROKEN = result((), id="P5", why="AssertionError: no job", broken=True)


def row(sides: Sides | None, *, takes_long: bool = False) -> Row:
    @contextmanager
    def prepared(_: World) -> Iterator[Sides]:
        if sides is None:
            raise NotRun("there is no moon")
        yield sides

    return Row("P1", "a thing", "here", "there", 2, prepared, takes_long=takes_long)


def test_the_side_that_is_first_alternates_and_a_pair_is_always_a_and_b() -> None:
    order: list[str] = []

    def side(name: str, value: float) -> Take:
        def take() -> float:
            order.append(name)
            return value

        return take

    assert list(alternating((side("a", 1), side("b", 2)), 3)) == [(1, 2)] * 3
    assert "".join(order) == "abbaab"


@pytest.mark.parametrize(
    ("values", "expected"),
    [([5], (5, 5)), ([3, 1, 2], (1, 3)), ([1, 2, 3, 4, 100], (2, 4)), ([4, 1, 3, 2], (1.75, 3.25))],
)
def test_the_spread_is_the_middle_half_or_all_of_few(values: list[float], expected: tuple[float, float]) -> None:
    assert spread(values) == expected


@pytest.mark.parametrize(
    ("figure", "at_least", "limit", "median", "met"),
    [
        ("ratio", False, 1.5, 1.5, True),
        ("ratio", False, 1.4, 1.5, False),
        ("ratio", True, 1.5, 1.5, True),
        ("ratio", True, 1.6, 1.5, False),
        ("difference", False, 1, 1, True),
        ("a", False, 2, 3, False),
    ],
)
def test_a_goal_is_held_against_the_median_of_the_pairs_figures(
    figure: str, at_least: bool, limit: float, median: float, met: bool
) -> None:
    made = result(figure=figure, at_least=at_least, limit=limit)
    assert made.median == median
    assert made.met is met
    assert made.verdict == ("met" if met else "missed")


def test_a_result_comes_back_from_its_file_and_carries_what_follows_from_the_pairs() -> None:
    for made in (result(), NOT_RUN, BROKEN):
        assert Result.from_json(json.loads(json.dumps(made.as_json()))) == made
    written = result().as_json()
    derived = ("verdict", "median", "spread", "median_a", "median_b", "spread_a", "spread_b")
    assert [written[key] for key in derived] == ["met", 1.5, (1, 2), 3, 2, (2, 8), (2, 4)]


def test_a_row_that_breaks_or_cannot_be_run_says_why_and_ends_nothing(tmp_path: Path) -> None:
    said: list[str] = []

    def take(which: Row, *, long: bool = False) -> Result:
        return measured(which, World(tmp_path, takes_long=long), pairs=2, commit="abc", say=said.append)

    assert take(row((lambda: 4, lambda: 2))).pairs == [(4, 2)] * 2
    assert said == ["P1: a thing; goal ≤ 2", "  here 4.00 s, there 2.00 s", "  here 4.00 s, there 2.00 s"]
    absent = take(row(None))
    assert (absent.verdict, absent.why) == ("not run", "there is no moon")
    broken = take(row((lambda: 1 / 0, lambda: 2)))
    assert (broken.verdict, broken.why, broken.pairs) == ("failed", "ZeroDivisionError: division by zero", [])
    of_hours = row((lambda: 4, lambda: 2), takes_long=True)
    assert take(of_hours).why == "it takes long: --long measures it as well, best with --pairs 1"
    assert take(of_hours, long=True).pairs == [(4, 2)] * 2


def test_rows_are_chosen_by_number_or_name_and_each_has_a_name_of_its_own() -> None:
    assert len({each.id for each in ROWS}) == len(ROWS)
    assert {each.id.split()[0] for each in ROWS} == {f"P{number}" for number in range(1, 14)}
    assert [each.id for each in chosen("P4, P1")] == ["P1", "P4 preview", "P4 up"]
    assert [each.id for each in chosen("P4 up")] == ["P4 up"]
    assert chosen("") == list(ROWS)
    with pytest.raises(ValueError, match=re.escape("--rows: P99 is no row: use some of P1, P2, P3, P4,")):
        chosen("P99")


def test_the_table_has_both_sides_the_figure_with_its_spread_and_the_verdict() -> None:
    missed = result(figure="difference", unit="MiB", limit=0.5, goal="≤ 0.5 MiB", id="P2")
    assert report.table([result(), missed, NOT_RUN, BROKEN]).splitlines()[2:] == [
        "| P1 | a thing | here 3.00 s | there 2.00 s | 1.50 (1.00 to 2.00) | 3 | ≤ 2 | met |",
        "| P2 | a thing | here 3.00 MiB | there 2.00 MiB | 1.00 MiB (0.00 to 4.00) | 3 | ≤ 0.5 MiB | **missed** |",
        "| P3 | a thing |  |  |  | 0 | ≤ 2 | not run |",
        "| P5 | a thing |  |  |  | 0 | ≤ 2 | **failed** |",
    ]
    assert report.reasons([result(), NOT_RUN, result((), id="P4", why="it takes too long"), BROKEN]) == (
        "- P3, P4: it takes too long.\n- P5: AssertionError: no job.\n"
    )


@pytest.mark.parametrize(
    ("value", "text"), [(0.123, "0.12"), (9.99, "9.99"), (12.34, "12.3"), (345.6, "346"), (-0.5, "-0.50")]
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert report.number(value) == text


@pytest.mark.parametrize("draw", PLOTS)
def test_a_plot_is_svg_that_needs_nothing_from_elsewhere_on_a_white_ground(draw: Any) -> None:
    text = draw([result(), result([(9, 1)], what="<more> & more", id="P2"), NOT_RUN])
    root = ElementTree.fromstring(text)
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert names == {"svg", "title", "rect", "line", "text"}
    assert re.findall(r"\w+://\S+", text) == ['http://www.w3.org/2000/svg"']
    background = next(element for element in root if element.tag.endswith("rect"))
    assert background.attrib["fill"] == "#ffffff"
    assert all(background.attrib[side] == root.attrib[side] for side in ("width", "height"))
    assert draw([NOT_RUN])


def bars(text: str) -> list[tuple[float, float, str]]:
    """Where each bar begins, how long it is, and its colour."""
    return [
        (float(bar.attrib["x"]), float(bar.attrib["width"]), bar.attrib["fill"])
        for bar in ElementTree.fromstring(text).iter()
        if bar.tag.endswith("rect") and "x" in bar.attrib
    ]


def test_the_bars_of_a_rows_sides_are_as_long_as_their_medians() -> None:
    (_, a, _), (_, b, _) = bars(plot.sides([result([(6, 2)] * 4)]))
    assert a == pytest.approx(3 * b, abs=0.2)


def test_what_is_better_than_its_goal_lies_on_the_other_side_of_it() -> None:
    met, missed = bars(plot.goals([result([(1, 1)]), result([(4, 1)])]))
    assert met[0] + met[1] == pytest.approx(missed[0])
    assert met[1] == pytest.approx(missed[1])
    assert met[2] != missed[2]


def test_the_page_keeps_what_people_wrote_and_has_the_figures_of_the_file() -> None:
    text = command.PAGE.read_text()
    assert report.page("# Head\n\n" + report.BEGIN + "old", report.BEGIN + "new") == f"# Head\n\n{report.BEGIN}new"
    measure = json.loads(command.PUBLISHED.read_text())
    part = report.generated(measure, [(command.TITLES[name], name) for name in command.PICTURES])
    assert report.page(text, part) == text, "run: make bench ARGS='--keep --publish'"
    results = [Result.from_json(raw) for raw in measure["rows"]]
    assert {name: draw(results) for name, draw in command.PICTURES.items()} == {
        name: (command.PAGE.parent / name).read_text() for name in command.PICTURES
    }


def test_the_files_goals_are_those_of_the_rows() -> None:
    measure = json.loads(command.PUBLISHED.read_text())
    assert {raw["id"]: raw["goal"] for raw in measure["rows"]} == {each.id: each.goal for each in ROWS}


def test_terraform_is_given_what_a_stack_has_of_docker_in_the_same_order() -> None:
    volume, container = "urn:pulumi:s::p::docker:index/volume:Volume::data", "urn:pulumi:s::p::docker:index/c::it"
    secret = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "plaintext": '[{"content": "a"}]'}
    inputs = {"__defaults": ["restart"], "networkMode": "none", "envs": ["A=${B}"], "uploads": secret, "mustRun": False}
    resources = [
        {"urn": "urn:pulumi:s::p::dindrunner:docker:DindDaemon::dind", "type": "dindrunner:docker:DindDaemon"},
        {"urn": volume, "type": "docker:index/volume:Volume", "inputs": {"name": "d"}},
        {
            "urn": container,
            "type": "docker:index/container:Container",
            "inputs": inputs,
            "dependencies": ["urn:pulumi:s::p::dindrunner:docker:DindDaemon::dind", volume],
        },
    ]
    assert configuration({"deployment": {"resources": resources}})["resource"] == {
        "docker_volume": {"data": {"name": "d", "depends_on": []}},
        "docker_container": {
            "it": {
                "network_mode": "none",
                "env": ["A=$${B}"],
                "upload": [{"content": "a"}],
                "must_run": False,
                "depends_on": ["docker_volume.data"],
            }
        },
    }
