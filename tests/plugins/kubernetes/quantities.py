"""Kubernetes' quantities (`500m`, `1Gi`) in the form in which the API server gives them back."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

_BINARY: dict[str, int] = {"Ei": 2**60, "Pi": 2**50, "Ti": 2**40, "Gi": 2**30, "Mi": 2**20, "Ki": 2**10}
_DECIMAL: dict[str, Fraction | int] = {
    **{"E": 10**18, "P": 10**15, "T": 10**12, "G": 10**9, "M": 10**6, "k": 10**3, "": 1},
    **{"m": Fraction(1, 10**3), "u": Fraction(1, 10**6), "n": Fraction(1, 10**9)},
}
_FORM = re.compile(r"([+-]?[0-9.]+)([EPTGMKk]i|[EPTGMkmun]?)")
_IN_RESOURCES = ("limits", "requests")
_IN_SPEC = ("hard", "capacity")


def canonical(value: Any) -> Any:
    """The quantity as the API server writes it; unchanged where it is none, or one with an exponent."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    match = _FORM.fullmatch(str(value))
    if not match:
        return value
    try:
        number = Fraction(match[1])
    except ValueError:
        return value
    if match[2] in _BINARY:
        amount = number * _BINARY[match[2]]
        for suffix, size in _BINARY.items():
            if amount % size == 0 and amount:
                return f"{amount // size}{suffix}"
        return str(amount) if amount.denominator == 1 else value
    amount = number * _DECIMAL[match[2]]
    for suffix, unit in _DECIMAL.items():
        if (amount / unit).denominator == 1 and amount:
            return f"{amount / unit}{suffix}"
    return "0" if not amount else value


def with_canonical(value: Any, parent: str = "") -> Any:
    """An object with canonical quantities where Kubernetes has such: `resources`, quotas, capacities, `sizeLimit`."""
    if isinstance(value, list):
        return [with_canonical(each) for each in value]
    if not isinstance(value, dict):
        return value
    quantities = _IN_RESOURCES if parent == "resources" else _IN_SPEC if parent == "spec" else ()
    made = {}
    for key, each in value.items():
        if key in quantities and isinstance(each, dict):
            made[key] = {name: canonical(amount) for name, amount in each.items()}
        elif key == "sizeLimit":
            made[key] = canonical(each)
        else:
            made[key] = with_canonical(each, key)
    return made
