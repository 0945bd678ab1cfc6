"""Has what a stack on this machine needs that uses the sandbox. Nothing but Python itself is there before."""

from __future__ import annotations

from lab import images
from toolchain.__main__ import ENGINE, up
from toolchain.doctor import Row
from toolchain.gobuild import build
from toolchain.parts import Part
from toolchain.shared import Say, cache_dir


def prepare(say: Say) -> None:
    """The toolchain's `up`, and beside its parts the images and the registry that serves them."""
    up(
        say,
        [
            Part("images", lambda: images.ensure(say), needs=(ENGINE,)),
            # Nobody waits for it before the sandbox is started.
            Part("sandbox's registry", lambda: _build_registry(say), needs=("docker plugin", "images")),
        ],
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
