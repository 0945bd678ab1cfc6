"""A draft of settings, and what happens to each value of the config.toml that they come from. Pure."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from stacks.settings.common import Common
from stacks.settings.mistakes import SettingsError
from stacks.settings.places import Path, leaves, written
from stacks.targets import parse
from tools.adopt_file import AdoptError, MisusedError
from tools.adopt_secrets import asks_for_secret, is_secret, shown
from tools.stack_files import SETTINGS_KEY

_MISTAKE = re.compile(r'settings\.((?:[\w-]+|\[\d+\]|\.)+)(?:\[".*?"\]\S*)?: (.*)', re.DOTALL)


class Verdict(StrEnum):
    """The three lists of values in the output."""

    TAKEN = "Taken over"
    CHANGED = "Changed for safety"
    UNSUPPORTED = "Not supported"


@dataclass(frozen=True)
class Reason:
    """Why a part of the file is not reproduced."""

    verdict: Verdict
    text: str


@dataclass
class Draft:
    """What the rules fill in.

    settings: as a stack file has them, with the real values. sources: which part of the file a setting is made from.
    reasons: of the parts that are not reproduced. agreed: parts that are reproduced in another form, and in which.
    comments: lines above a setting. to_do: what is left to the person who adopts.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    sources: dict[Path, Path] = field(default_factory=dict)
    reasons: dict[Path, Reason] = field(default_factory=dict)
    agreed: dict[Path, str] = field(default_factory=dict)
    comments: dict[Path, list[str]] = field(default_factory=dict)
    to_do: list[str] = field(default_factory=list)

    def put(self, setting: Path, value: Any, source: Path | None = None, *comments: str) -> None:
        """Set a setting; tables and lists above it are made. `source`: the part of the file that it is made from."""
        if source is not None and not _fits_stack_file({setting[-1]: value}):
            self.refuse(source, "a stack file cannot hold such a value: TOML's dates, nan, inf, and a key `secure`")
            return
        place: Any = self.settings
        for part, following in itertools.pairwise(setting):
            empty: Any = [] if isinstance(following, int) else {}
            if isinstance(place, list):
                if part == len(place):
                    place.append(empty)
                place = place[int(part)]
            else:
                place = place.setdefault(part, empty)
        if isinstance(place, list):
            place.append(value)
        else:
            place[setting[-1]] = value
        if source is not None:
            self.sources[setting] = source
        for comment in comments:
            self.comment(setting, comment)

    def append(self, setting: Path, value: Any, source: Path) -> None:
        """Add to a list, which is made where it is not there."""
        place: Any = self.settings
        for part in setting:
            place = place[int(part)] if isinstance(place, list) else place.get(part, {})
        self.put((*setting, len(place)), value, source)

    def comment(self, setting: Path, text: str) -> None:
        self.comments.setdefault(setting, []).append(text)

    def change(self, source: Path, text: str) -> None:
        self.reasons[source] = Reason(Verdict.CHANGED, text)

    def refuse(self, source: Path, text: str) -> None:
        self.reasons[source] = Reason(Verdict.UNSUPPORTED, text)

    def settle(self) -> Common:
        """The settings as the program reads them; a value that it refuses is taken out, and its message is the reason.

        Raises AdoptError where it refuses something that no value of the file is to blame for.
        """
        while True:
            try:
                return parse(self.settings)
            except SettingsError as error:
                # One at a time: a list gets shorter by it.
                self._take_out(str(error).splitlines()[0])

    def _take_out(self, mistake: str) -> None:
        match = _MISTAKE.match(mistake)
        place = found = _parts(match[1]) if match else ()
        while found and found not in self.sources:
            found = found[:-1]
        # A whole table may be to blame that is made of several values.
        found = found or next((path for path in self.sources if place and path[: len(place)] == place), ())
        # A stack cannot do without a GitLab: what is wrong there is asked for.
        if match is not None and match[1] in ("gitlab.url", "gitlab.project", "gitlab.group"):
            raise MisusedError(f"--url, --project or --group: {shown(mistake)}")
        if match is None or not found:
            raise AdoptError(f"the settings that would come out are refused: {shown(mistake)}")
        text = match[2].strip()
        self.reasons[self.sources[found]] = Reason(Verdict.UNSUPPORTED, shown(text))
        if "is not pinned" in text:
            self.reasons[self.sources[found]] = Reason(
                Verdict.CHANGED, f"{shown(text)}. Until you do, the default holds"
            )
            self.to_do.append(f"Name a pinned image in {written(found)}, or see whether the default will do.")
        self._remove(found)

    def _remove(self, setting: Path) -> None:
        place: Any = self.settings
        for part in setting[:-1]:
            place = place[part]
        del place[setting[-1]]
        del self.sources[setting]
        self.comments.pop(setting, None)
        last = setting[-1]
        if isinstance(last, int):
            # What stands after it in the list moves up.
            above = setting[:-1]
            moved = {path: source for path, source in self.sources.items() if _follows(path, above, last)}
            for path in moved:
                del self.sources[path]
            for path, source in moved.items():
                index = path[len(above)]
                self.sources[(*above, int(index) - 1, *path[len(above) + 1 :])] = source
        if not place and setting[:-1] and not isinstance(setting[-2], int):
            holder: Any = self.settings
            for part in setting[:-2]:
                holder = holder[part]
            del holder[setting[-2]]

    def secrets(self) -> list[Path]:
        """The settings whose values may be secrets, but for the runners' tokens."""
        texts = {path: value for path, value in leaves(self.settings) if isinstance(value, str)}

        def may_be(path: Path, text: str) -> bool:
            *above, last = path
            if "extra" in above and isinstance(last, int) and asks_for_secret(texts.get((*above, last - 1))):
                return True
            return bool({"environment", "cache", "extra"} & set(path)) and is_secret(path, text)

        return [path for path, text in texts.items() if may_be(path, text)]


def _fits_stack_file(value: object) -> bool:
    """Whether YAML and JSON have it too; Pulumi takes a table with the one key `secure` for an encrypted value."""
    match value:
        case Mapping():
            return "secure" not in value and all(_fits_stack_file(below) for below in value.values())
        case [*items]:
            return all(_fits_stack_file(item) for item in items)
        case float():
            return math.isfinite(value)
    return isinstance(value, str | int)


def _follows(path: Path, above: Path, index: int) -> bool:
    here = path[len(above)] if path[: len(above)] == above and len(path) > len(above) else None
    return isinstance(here, int) and here > index


def _parts(text: str) -> Path:
    return tuple(int(part[1:-1]) if part.startswith("[") else part for part in re.findall(r"\[\d+\]|[\w-]+", text))


def command(setting: Path) -> str:
    """What sets a setting as a secret, without leaving it in the shell's history: the CLI asks for the value."""
    path = f"{SETTINGS_KEY}.{written(setting)}".replace("'", "'\\''")
    return f"pulumi config set --secret --path '{path}'"
