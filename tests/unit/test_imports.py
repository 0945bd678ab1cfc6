"""Who may import whom: the product stands alone, and what a machine without internet needs is for nobody to lean on."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from stacks.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
USES = {
    "components": (),
    "stacks": ("components",),
    "policy": ("components.image_names", "components.kinds", "components.labels"),
    "tools": ("components", "stacks", "policy"),
    "__main__.py": ("components", "stacks"),
    "toolchain": ("components.docker_client", "components.labels", "components.tables"),
    "lab": ("components", "stacks", "policy", "tools", "toolchain"),
    # The real parts are the tests': those that are measured are those that are known to work.
    "bench": ("components", "stacks", "tools", "toolchain", "lab", "tests.engine.world"),
}
"""By part what else of the repository it may import; with a dot, that module alone."""
STANDARD_LIBRARY_ONLY = (
    "defaults",
    "docker_client",
    "image_names",
    "kinds",
    "labels",
    "paths",
    "quantities",
    "runner_keys",
    "specs",
    "transport",
)
"""Modules of components/ that need nothing but Python: what brings up a bare machine uses some of them."""
SDKS_OF: Mapping[str, tuple[str, ...]] = {
    "docker-host": ("pulumi_docker",),
    "raspberry-pi": ("pulumi_docker",),
    "gke": ("pulumi_kubernetes", "pulumi_tls", "kubernetes"),
}
SDKS = {"pulumi_gitlab", *(sdk for sdks in SDKS_OF.values() for sdk in sdks)}
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
        for name in imports(file)
        if not any(f"{name}.".startswith(f"{one}.") for one in allowed)
    }
    assert sorted(found) == []


def test_the_components_name_each_other_relatively_so_that_they_are_a_package_under_any_name() -> None:
    found = {f"{file.name}: {name}" for file in files("components") for name in imports(file)}
    assert found == set()


@pytest.mark.parametrize("name", STANDARD_LIBRARY_ONLY)
def test_what_a_bare_machine_uses_of_the_components_needs_nothing_but_python(name: str) -> None:
    tree = ast.parse((ROOT / f"components/{name}.py").read_text())
    named = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    named += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert {module.partition(".")[0] for module in named} - sys.stdlib_module_names == set()


def target_of(module: str) -> str | None:
    """The target whose folder a module is in; None where it is in none."""
    return next((target for target in TARGETS.values() if f"{module}.".startswith(f"{target}.")), None)


def test_a_target_is_imported_by_nothing_of_the_program_but_itself() -> None:
    found = {
        (module, name)
        for file in files("stacks")
        if (module := ".".join(file.relative_to(ROOT).with_suffix("").parts))
        for name in imports(file)
        if target_of(name) not in (None, target_of(module))
    }
    assert found == set()


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_brings_the_sdks_that_it_uses_and_no_other_target(target: str) -> None:
    program = f"""
import sys
import {", ".join(f"{TARGETS[target]}.{module}" for module in ("settings", "fit", "build"))}
import stacks.load
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    modules = done.stdout.split()
    assert {found for module in modules if (found := target_of(module))} == {TARGETS[target]}
    assert {sdk for sdk in SDKS if sdk in modules} == {"pulumi_gitlab", *SDKS_OF[target]}


@pytest.mark.parametrize("part", USES)
def test_there_is_something_to_look_at(part: str) -> None:
    assert any(True for _ in files(part))
