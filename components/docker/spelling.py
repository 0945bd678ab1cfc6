"""Spells values as the engine reports them back. Otherwise every refresh would find a drift. Pure."""

from __future__ import annotations


def cpus_text(cpus: float) -> str:
    """CPUs, for example `2.0`, but `10.`."""
    text = f"{cpus:.9f}"
    return f"{cpus:.1f}" if text.count("0") == 9 else text.rstrip("0")


def go_duration(seconds: int) -> str:
    """Seconds, for example `2m0s`."""
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s" if minutes else f"{rest}s"


def short_duration(seconds: int) -> str:
    """Seconds as a Swarm service has them, for example `2m` or `1h0m5s`."""
    text = go_duration(seconds)
    for unit in ("m0s", "h0m"):
        if text.endswith(unit):
            text = text[:-2]
    return text
