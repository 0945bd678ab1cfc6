"""`environment` of a job: what it says, and what GitLab makes of an environment's name. Pure.

https://docs.gitlab.com/ci/yaml/#environment
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from lab.gitlab.ci_reader import Reader

ACTIONS = ("start", "prepare", "stop", "verify", "access")
TIERS = ("production", "staging", "testing", "development", "other")

_NAME = re.compile(r"(?!/)[\w\-/${}. ]{1,255}(?<!/)", re.ASCII)
_TIER_NAMES = {
    "development": "dev|review|trunk",
    "testing": "test|tst|int|ac(ce|)pt|qa|qc|control|quality",
    "staging": "st(a|)g|mod(e|)l|pre|demo|non",
    "production": "pr(o|)d|live",
}
"""In the order in which GitLab looks for them."""
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


def read(reader: Reader, where: str, value: Any) -> dict[str, Any] | None:
    """The environment of a job with GitLab's defaults, variables not expanded; None without one."""
    if value is None:
        return None
    keys = {"name", "url", "action", "on_stop", "auto_stop_in", "deployment_tier"}
    found = {"name": value} if isinstance(value, str) else reader.keys(where, value, keys)
    name = reader.text(f"{where}:name", found.get("name"))
    if not _NAME.fullmatch(name):
        reader.wrong(
            f"{where}:name",
            "can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', and spaces, "
            "but it cannot start or end with '/'",
        )
    tier, auto_stop_in = found.get("deployment_tier"), found.get("auto_stop_in")
    if tier is not None and tier not in TIERS:
        reader.wrong(f"{where}:deployment_tier", f"must be one of {', '.join(TIERS[:-1])}, or {TIERS[-1]}")
    if "$" not in str(auto_stop_in):
        reader.seconds(f"{where}:auto_stop_in", auto_stop_in)
    action = found.get("action", "start")
    if action not in ACTIONS:
        reader.wrong(f"{where}:action", f"should be {', '.join(ACTIONS[:-1])}, or {ACTIONS[-1]}")
    return {
        "name": name,
        "url": None if found.get("url") is None else reader.text(f"{where}:url", found["url"]),
        "action": action,
        "on_stop": None if found.get("on_stop") is None else reader.text(f"{where}:on_stop", found["on_stop"]),
        "auto_stop_in": None if auto_stop_in is None else str(auto_stop_in),
        "tier": tier,
    }


def slug(name: str) -> str:
    """CI_ENVIRONMENT_SLUG: at most 24 characters that start with a letter; one that differs from the name is unique."""
    text = re.sub("[^a-z0-9]", "-", name.lower())
    text = re.sub("-+", "-", text if re.match("[a-z]", text) else f"env-{text}")
    if text == name and len(text) <= 24:
        return text.removesuffix("-")
    return f"{text[:17].removesuffix('-')}-{_suffix(name)}"


def _suffix(name: str) -> str:
    number, digits = int(hashlib.sha256(name.encode()).hexdigest(), 16), ""
    for _ in range(6):
        number, digit = divmod(number, 36)
        digits = _BASE36[digit] + digits
    return digits


def tier(name: str) -> str:
    """The tier that GitLab guesses from an environment's name."""
    found = (kind for kind, pattern in _TIER_NAMES.items() if re.search(pattern, name, re.IGNORECASE))
    return next(found, "other")
