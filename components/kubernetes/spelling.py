"""Spells quantities as the API server reports them back. Otherwise every refresh would find a drift. Pure."""

from __future__ import annotations

UNITS = ("Mi", "Gi", "Ti")


def cpu_quantity(cpus: float) -> str:
    """CPUs, for example `2` or `500m`."""
    millis = round(cpus * 1000)
    return str(millis // 1000) if millis % 1000 == 0 else f"{millis}m"


def memory_quantity(mib: int) -> str:
    """MiB in the largest unit that is whole, for example `2Gi` or `1536Mi`."""
    amount, unit = mib, 0
    while amount % 1024 == 0 and unit < len(UNITS) - 1:
        amount, unit = amount // 1024, unit + 1
    return f"{amount}{UNITS[unit]}"


def quantities(
    cpu_request: float, memory_request_mib: int, cpus: float | None, memory_mib: int | None
) -> dict[str, dict[str, str]]:
    """A container's requests and limits. A request above its limit, which the API server refuses, is cut to that."""
    limits = ({"cpu": cpu_quantity(cpus)} if cpus else {}) | (
        {"memory": memory_quantity(memory_mib)} if memory_mib else {}
    )
    requests = {
        "cpu": cpu_quantity(min(cpu_request, cpus or cpu_request)),
        "memory": memory_quantity(min(memory_request_mib, memory_mib or memory_request_mib)),
    }
    return {"requests": requests, **({"limits": limits} if limits else {})}
