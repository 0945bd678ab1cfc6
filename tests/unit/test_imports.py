"""Who may import whom: the product stands alone, and what a machine without internet needs is for nobody to lean on."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
USES = {
    "components": (),
    "stacks": ("components",),
    "policy": ("components", "stacks"),
    "tools": ("components", "stacks", "policy"),
    "__main__.py": ("components", "stacks"),
    "toolchain": ("components.docker_client", "components.engine", "components.labels"),
    "lab": ("components", "stacks", "policy", "tools", "toolchain"),
}
"""By part what else of the repository it may import; with a dot, that module alone."""
NOT_YET = ("components/config_toml.py", "components/job_pods.py")
"""Files that still use what is above them."""
TARGETS = ("docker_host", "raspberry_pi", "gke")
EVERYTHING = (*(part for part in USES if part != "__main__.py"), "tests")


def imports(file: Path) -> Iterator[str]:
    """The modules of the repository that a file imports, wherever in it, by their full names."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name for name in names if name.partition(".")[0] in EVERYTHING)


def files(part: str) -> Iterator[Path]:
    """A part's own files; the lab's tests are tests."""
    path = ROOT / part
    return (file for file in ([path] if path.is_file() else sorted(path.rglob("*.py"))) if "tests" not in file.parts)


@pytest.mark.parametrize("part", USES)
def test_a_part_uses_only_the_parts_below_it(part: str) -> None:
    allowed = (part, *USES[part])
    found = {
        (str(file.relative_to(ROOT)), name)
        for file in files(part)
        if str(file.relative_to(ROOT)) not in NOT_YET
        for name in imports(file)
        if not any(f"{name}.".startswith(f"{one}.") for one in allowed)
    }
    assert sorted(found) == []


@pytest.mark.parametrize("target", TARGETS)
def test_no_target_uses_another(target: str) -> None:
    others = tuple(f"stacks.{other}." for other in TARGETS if other != target)
    own = [file for file in files("stacks") if target in (file.stem, file.parent.name)]
    assert own
    assert [name for file in own for name in imports(file) if f"{name}.".startswith(others)] == []


@pytest.mark.parametrize("part", USES)
def test_there_is_something_to_look_at(part: str) -> None:
    assert any(True for _ in files(part))
