"""Has what a stack needs, with what only those on the sandbox do. Nothing but Python itself is there before."""

from __future__ import annotations

from collections.abc import Callable

from lab import images
from toolchain.__main__ import ENGINE, up
from toolchain.doctor import Row
from toolchain.gobuild import build
from toolchain.parts import Part
from toolchain.program import ask
from toolchain.shared import Say, cache_dir


def prepare(say: Say, stack: str = "") -> None:
    """The toolchain's `up`, and beside its parts the images and the registry that serves them.

    stack: only what this one needs, wherever it is.
    """

    def on_sandbox(work: Callable[[Say], object]) -> None:
        if not stack or ask(stack).gitlab_is_sandbox:
            work(say)

    up(
        say,
        [
            Part("images", lambda: on_sandbox(images.ensure), needs=(ENGINE,)),
            # Nobody waits for it before the sandbox is started.
            Part("sandbox's registry", lambda: on_sandbox(_build_registry), needs=("docker plugin", "images")),
        ],
        stack,
    )


def images_row() -> Row:
    """What the toolchain's `doctor` does not know of."""
    names = images.recorded()
    if names is None:
        return Row("images", "", "not made yet", "run `python3 -m lab images`")
    if not names:
        return Row("images", "", f"pulled from their registries, as {images.IMAGES_FILE} says")
    origin = f"made here: {', '.join(sorted(names))}; cache in {cache_dir()}"
    return Row("images", "", origin, images.OLDER if images.are_older(names) else "", needed=False)


def _build_registry(say: Say) -> None:
    if images.recorded():
        build(images.REGISTRY, say=say)
