"""What may stand at a place of `.gitlab-ci.yml`, checked with GitLab's messages. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NOT_HERE = "is not supported by the sandbox GitLab: leave it out"

_LONGEST = 10 * 365 * 86400
"""Seconds of the longest duration."""
_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86400),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), 7 * 86400),
    **dict.fromkeys(("mo", "mos", "month", "months"), 30 * 86400),
    **dict.fromkeys(("y", "yr", "yrs", "year", "years"), 365 * 86400),
}


class CiYamlError(Exception):
    """The file cannot be used; `errors` says all that is wrong with it."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


@dataclass
class Reader:
    """Collects what is wrong, with the place where it stands."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def wrong(self, where: str, what: str) -> None:
        self.errors.append(f"{where} {what}")

    def keys(self, where: str, value: Any, allowed: set[str]) -> dict[str, Any]:
        """The mapping that `value` has to be, without the keys that the sandbox does not know."""
        if not isinstance(value, Mapping):
            self.wrong(where, "config should be a hash")
            return {}
        for key in sorted(str(key) for key in value if key not in allowed):
            self.wrong(f"{where}:{key}", NOT_HERE)
        return {str(key): item for key, item in value.items() if key in allowed}

    def text(self, where: str, value: Any, default: str = "") -> str:
        if value is None:
            return default
        if isinstance(value, str):
            return value
        self.wrong(where, "should be a string")
        return default

    def texts(self, where: str, value: Any) -> list[str]:
        values = [] if value is None else [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
            self.wrong(where, "config should be an array of strings")
            return []
        return list(values)

    def flag(self, where: str, value: Any, default: bool = False) -> bool:
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.wrong(where, "should be a boolean value")
        return default

    def choice(self, where: str, value: Any, allowed: tuple[str, ...]) -> str:
        if value is None or value in allowed:
            return value or allowed[0]
        hint = " (the sandbox GitLab does not support it)" if value == "delayed" else ""
        self.wrong(where, f"should be one of: {', '.join(allowed)}{hint}")
        return allowed[0]

    def seconds(self, where: str, value: Any) -> int | None:
        if value is None:
            return None
        try:
            return duration(value)
        except ValueError:
            self.wrong(where, "should be a duration")
            return None

    def script(self, where: str, value: Any) -> list[str]:
        lines = list(flat(value))
        if all(isinstance(line, str) for line in lines):
            return lines
        self.wrong(where, "config should be a string or a nested array of strings up to 10 levels deep")
        return []

    def variables(self, where: str, value: Any) -> dict[str, str]:
        result = {}
        for name, item in (self.keys(where, value, set(value)) if isinstance(value, Mapping) else {}).items():
            plain = item
            if isinstance(item, Mapping):
                plain = self.keys(f"{where}:{name}", item, {"value", "description", "options"}).get("value", "")
            if not isinstance(plain, str | int | float):
                self.wrong(
                    where, f"config should be a hash of key value pairs, value of {name} can be a string or a number"
                )
                continue
            result[name] = str(plain).lower() if isinstance(plain, bool) else str(plain)
        if value is not None and not isinstance(value, Mapping):
            self.wrong(where, "config should be a hash of key value pairs")
        return result


def flat(value: Any) -> list[Any]:
    """Lists within lists as one list; what is no list as one of its own."""
    if value is None:
        return []
    if not isinstance(value, list):
        return [value]
    return [line for item in value for line in flat(item)]


def duration(value: Any) -> int:
    """Seconds of a duration as GitLab writes them (`3600`, `20 minutes`, `1h 30m`). Raises ValueError for others."""
    text = str(value).strip().lower()
    text = f"{text} s" if re.fullmatch("[0-9]+", text) else text
    pairs = re.findall(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)", text)
    rest = re.sub(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)|,|\band\b|\s", "", text)
    seconds = sum(float(number) * _UNITS.get(unit, 0) for number, unit in pairs)
    if rest or any(unit not in _UNITS for _, unit in pairs) or not 1 <= seconds <= _LONGEST:
        raise ValueError(f"{value!r} is no duration")
    return round(seconds)
