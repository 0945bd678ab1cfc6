"""Removes what was set up in this checkout: `python3 -m toolchain clean`."""

from __future__ import annotations

import shutil

from toolchain.shared import ROOT, TOOLCHAIN_DIR, VENV_DIR, Say, ToolchainError

_MADE_HERE = (
    TOOLCHAIN_DIR,
    VENV_DIR,
    *(ROOT / name for name in (".mypy_cache", ".pytest_cache", ".ruff_cache")),
)


def clean(say: Say) -> None:
    """Removes it all, but not the shared cache. Raises ToolchainError where the state of a stack would go with it."""
    state = TOOLCHAIN_DIR / "state"
    left = sorted(path.stem for path in state.rglob("*.json") if "stacks" in path.relative_to(state).parts)
    if left:
        raise ToolchainError(
            "these stacks are still there, run make down STACK=<name> first "
            f"(for a protected claim see docs/use/gke.md): {' '.join(left)}"
        )
    there = [path for path in _MADE_HERE if path.exists() or path.is_symlink()]
    for path in there:
        try:
            path.unlink() if path.is_symlink() else shutil.rmtree(path)
        except OSError as error:
            raise ToolchainError(f"{error.filename}: cannot be removed ({error.strerror}): remove it by hand") from None
    say(f"removed {', '.join(path.name for path in there) or 'nothing, as nothing was set up here'}")
