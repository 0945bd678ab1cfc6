"""Which tests run side by side: a lane is what one process runs in a row, with parts of its own (sandbox, board, node).

Lanes share the machine's engine and the toolchain. They get on because all names come from `unique()`, ports and
networks are free ones, and what an engine has is asked for by a stack's label. The tests wait more than they work, so
that there are more lanes at once than cores.
"""

from __future__ import annotations

from collections.abc import Iterable

WORKERS = 4
"""Lanes at once."""

LANES = {
    # Two boards, as their engines are stopped and restarted, and one is a swarm at times.
    "swarm": ("engine/test_swarm.py", "faults/test_swarm.py"),
    "board": (
        "faults/test_raspberry_pi.py",
        "engine/test_raspberry_pi.py",
        "engine/test_consumer.py",
        "engine/test_emulation.py",
    ),
    "pipeline": ("engine/test_pipeline.py",),
    "docker-host": ("engine/test_docker_host.py",),
    # Two nodes, and a second one of their own in some tests: the most that is asked of the machine. On a new machine,
    # what they are made of is built meanwhile.
    "cluster": ("cluster/test_gke.py",),
    "node": ("faults/test_gke.py", "cluster/test_cluster.py"),
    "changes": ("engine/test_changes.py",),
    "preview-note": ("engine/test_preview_note.py",),
}
"""The long ones by the modules in them, in the order in which they begin. Any other module is a lane of its own."""

SINGLE = (
    "engine/test_next_daemon.py",
    "engine/test_kinds.py",
    "engine/test_environments.py",
    "faults/test_interrupted_up.py",
    "faults/test_docker_host.py",
)
"""Modules of which each test makes stacks of its own and is a lane of its own; they begin after the long ones."""

_SHORT = ("engine", "cluster", "faults", "unit")
"""The directories of all others in the order in which they begin: at the end, what is short keeps everybody busy."""

_ASK_FOR_PARTS = (
    "cluster/",
    "faults/test_gke.py",
    "engine/test_next_daemon.py",
    "engine/test_daemon_settings.py",
    "engine/test_components.py",
)


def workers(arguments: Iterable[str], words: str) -> int:
    """How many processes run tests; 0, which is pytest's own alone, where somebody chose modules or words of names.

    arguments: of pytest's command line, but for its options. words: of its option -k.
    """
    return 0 if words or any(".py" in argument for argument in arguments) else WORKERS


def lane(test: str) -> str:
    """The lane of a test. test: its ID."""
    module = _module(test)
    named = next((name for name, modules in LANES.items() if module in modules), module)
    return test if module in SINGLE else named


def place(test: str) -> tuple[int, int]:
    """Where a test's module stands in the order of all; those of one lane follow on each other. test: its ID."""
    module = _module(test)
    order = [each for modules in LANES.values() for each in modules] + [*SINGLE]
    if module in order:
        return 0, order.index(module)
    return 1, next((at for at, name in enumerate(_SHORT) if module.startswith(f"{name}/")), len(_SHORT))


def ask_for_parts(tests: Iterable[str]) -> bool:
    """Whether some of these tests need what `lab.programs` builds. tests: their IDs."""
    return any(_module(test).startswith(_ASK_FOR_PARTS) for test in tests)


def _module(test: str) -> str:
    """The path in `tests` of a test's module."""
    return test.partition("::")[0].removeprefix("tests/")
