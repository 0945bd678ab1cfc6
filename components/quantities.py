"""Quantities of CPU and memory, as Kubernetes and Docker write them. Pure."""

from __future__ import annotations

import re

_UNITS = {
    **{f"{prefix}i": 1024.0**power for power, prefix in enumerate("KMGTPE", start=1)},
    **{prefix: 1000.0**power for power, prefix in enumerate(("m", "", "k", "M", "G", "T", "P", "E"), start=-1)},
}
"""By the suffix of a quantity."""
_DOCKER_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def amount(quantity: object) -> float | None:
    """The number that a quantity such as `100Gi`, `5e10` or `1930m` means; None for a text that is no quantity."""
    if not isinstance(quantity, str):
        return None
    parts = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([eE][0-9]+)?([A-Za-z]*)", quantity)
    if parts is None or parts[3] not in _UNITS:
        return None
    return float(parts[1] + (parts[2] or "")) * _UNITS[parts[3]]


def docker_bytes(value: object) -> int | None:
    """Bytes in a size as Docker writes it: "512m", "1.5g", "2GB"."""
    match = (
        re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([bkmgt]?)(?:i?b)?", value.lower()) if isinstance(value, str) else None
    )
    return int(float(match[1]) * _DOCKER_UNITS[match[2]]) if match else None
