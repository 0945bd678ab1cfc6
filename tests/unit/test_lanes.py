"""Which tests may run beside which."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import lanes

TESTS = Path(__file__).resolve().parents[1]
MODULES = sorted(str(file.relative_to(TESTS)) for file in TESTS.glob("*/test_*.py"))
OF_PARTS = [module for module in MODULES if not module.startswith("unit/")]


def asking(pattern: str) -> set[str]:
    """The modules, of those that ask for real parts, in whose text that expression is."""
    return {module for module in OF_PARTS if re.search(pattern, (TESTS / module).read_text())}


def lanes_of(modules: set[str]) -> set[str]:
    return {lanes.lane(f"tests/{module}::test_a") for module in modules}


def test_every_module_that_is_named_is_there() -> None:
    assert {each for modules in lanes.LANES.values() for each in modules} | {*lanes.SINGLE} <= {*MODULES}


def test_a_module_has_a_lane_of_its_own_unless_it_shares_one_or_its_tests_have_one_each() -> None:
    assert lanes_of({"engine/test_policy.py"}) == {"engine/test_policy.py"}
    assert lanes_of({"engine/test_swarm.py", "faults/test_swarm.py"}) == {"swarm"}
    single = f"tests/{lanes.SINGLE[0]}::test_"
    assert len({lanes.lane(f"{single}{test}") for test in ("a[x]", "a[y]", "b")}) == 3


def test_there_are_two_boards_and_two_nodes() -> None:
    assert lanes_of(asking(r"\b(swarm_)?board: Board\b")) == {"swarm", "board"}
    assert lanes_of(asking(r"\b(node: Node|new_gke_stack: )")) == {"cluster", "node"}


def test_the_tests_of_a_lane_follow_on_each_other_and_the_longest_begin() -> None:
    order = sorted((f"tests/{module}::test_a" for module in MODULES), key=lanes.place)
    found = list(dict.fromkeys(lanes.lane(test) for test in order))
    assert len(found) == len({*found})
    assert found[: len(lanes.LANES)] == [*lanes.LANES]
    assert found[-1].startswith("unit/")


def test_what_takes_minutes_to_build_is_built_for_the_modules_that_ask_for_it() -> None:
    wanted = asking(r"\b(control_plane: ControlPlane|running_node\(|new_gke_stack: |images\.ensure_next|LANGUAGE_YAML)")
    assert {module for module in MODULES if lanes.ask_for_parts([f"tests/{module}::test_a"])} == wanted


@pytest.mark.parametrize(
    ("arguments", "words", "expected"),
    [
        (["tests"], "", lanes.WORKERS),
        (["tests/unit", "tests/faults"], "", lanes.WORKERS),
        (["tests/unit/test_lanes.py"], "", 0),
        (["tests/unit/test_lanes.py::test_there_are_two_boards_and_two_nodes"], "", 0),
        (["tests"], "board", 0),
    ],
)
def test_lanes_are_for_whole_directories(arguments: list[str], words: str, expected: int) -> None:
    assert lanes.workers(arguments, words) == expected
