"""Checks what `extra` and `cache` write into config.toml, by the table of GitLab Runner's keys. Pure."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator

from components.config_toml import taken_away
from components.kinds import Executor
from components.runner_keys import KEYS, VERSION, Place, fold, mistakes, spelled
from components.specs import ConfigSpec, RunnerSpec
from stacks.settings.common import Common
from stacks.settings.mistakes import Mistake, refuse
from stacks.settings.places import written

_KNOWN = {fold(path) for path in KEYS}


def check_keys(settings: Common) -> None:
    """Raise SettingsError, with a line for each key that may not stand where it is, or not with its value."""
    refuse(_mistakes(settings))


def _mistakes(settings: Common) -> Iterator[Mistake]:
    unchecked = yield from _unchecked((), settings.extra_unchecked, "")
    yield from _hidden(("extra",), mistakes(settings.extra, "", unchecked))
    spec = settings.spec()
    for index, (runner, rendered) in enumerate(zip(settings.runners, spec.runners, strict=True)):
        where = ("runners", index)
        unchecked = yield from _unchecked(where, runner.extra_unchecked, "runners.")
        found = [
            *_hidden((*where, "cache"), mistakes(runner.cache, "runners.cache", unchecked)),
            *_hidden((*where, "extra"), mistakes(runner.extra, "runners", unchecked)),
        ]
        yield from found or _hidden((*where, "extra"), _in_the_way(rendered, spec))


def _unchecked(where: Place, names: Iterable[str], above: str) -> Generator[Mistake, None, set[str]]:
    folded = {fold(above + name): name for name in names}
    for path in folded.keys() & _KNOWN:
        remedy = f"is a key of GitLab Runner {VERSION}, and those are checked: remove it"
        yield Mistake(written((*where, "extra_unchecked")), folded[path], remedy)
    return set(folded)


def _hidden(where: Place, found: Iterable[tuple[Place, str]]) -> Iterator[Mistake]:
    """`extra` may hold secrets, so of what is wrong in it only the place is shown."""
    for place, remedy in found:
        yield Mistake(written((*where, *place)), "(hidden)", remedy.replace("runners[]", written(where[:2])))


def _in_the_way(runner: RunnerSpec, spec: ConfigSpec) -> Iterator[tuple[Place, str]]:
    extra = spelled(runner.extra, "runners")
    for executor in (Executor.DOCKER, Executor.KUBERNETES):
        if executor in extra and executor is not runner.executor:
            yield (executor.value,), f"is for executor {executor}, and this runner has {runner.executor}: remove it"
    for place, what in taken_away(runner, spec):
        yield place, f"would take {what} away, which kind {runner.kind} needs as the stack writes it: remove it"
