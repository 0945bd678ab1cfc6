"""What `make clean` removes, and when it removes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain import clean
from toolchain.shared import ToolchainError


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout in which everything was set up, its .venv being another one's."""
    root = tmp_path / "checkout"
    (root / ".toolchain" / "state" / ".pulumi" / "stacks" / "gitlab-dind-runners").mkdir(parents=True)
    (root / ".ruff_cache").mkdir()
    (root / "Makefile").touch()
    (tmp_path / "packages").mkdir()
    (root / ".venv").symlink_to(tmp_path / "packages")
    monkeypatch.setattr(clean, "TOOLCHAIN_DIR", root / ".toolchain")
    monkeypatch.setattr(clean, "_MADE_HERE", tuple(root / name for name in (".toolchain", ".venv", ".ruff_cache")))
    return root


def test_what_was_made_here_is_removed_and_nothing_else(checkout: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        clean.clean(said.append)
    assert [path.name for path in checkout.iterdir()] == ["Makefile"]
    assert (checkout.parent / "packages").exists()
    assert said == ["removed .toolchain, .venv, .ruff_cache", "removed nothing, as nothing was set up here"]


def test_nothing_is_removed_while_the_state_of_a_stack_would_go_with_it(checkout: Path) -> None:
    pulumi = checkout / ".toolchain" / "state" / ".pulumi"
    for stack in ("pi", "dev"):
        (pulumi / "stacks" / "gitlab-dind-runners" / f"{stack}.json").touch()
    (pulumi / "stacks" / "gitlab-dind-runners" / "dev.json.bak").touch()
    (pulumi / "meta.json").touch()
    with pytest.raises(ToolchainError) as caught:
        clean.clean(print)
    assert str(caught.value) == (
        "these stacks are still there, run make down STACK=<name> first "
        "(for a protected claim see docs/use/gke.md): dev pi"
    )
    assert (checkout / ".venv").exists()
