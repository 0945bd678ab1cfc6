"""Plots as plain SVG, which need nothing from elsewhere. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from bench.measure import Result
from bench.report import number

WIDTH, LEFT, RIGHT, BAR = 760, 300, 110, 14
_FONT = 'font-family="sans-serif" font-size="12"'
_COLOURS = {True: "#2b7a4b", False: "#b5472f"}


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" {more}>{escape(text.replace("`", ""))}</text>'


def _bar(x: float, y: float, width: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{BAR}" fill="{colour}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = "#222222", more: str = "") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" {more}/>'


def _picture(title: str, height: float, parts: Sequence[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" {_FONT} fill="#222222">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )


def sides(results: Sequence[Result]) -> str:
    """Both sides of each row as bars on a scale of its own; the thin lines span the middle half."""
    parts: list[str] = []
    y = 16.0
    for result in (each for each in results if each.pairs and each.b):
        raw = result.as_json()
        scale = (WIDTH - LEFT - RIGHT) / max(raw["spread_a"][1], raw["spread_b"][1], 1e-9)
        parts.append(_text(10, y + 12, f"{result.id}: {result.what}", 'font-weight="bold"'))
        for side, name, colour in (("a", result.a, "#4a6fa5"), ("b", result.b, "#9aa5b1")):
            y += BAR + 6
            median, (low, high) = raw[f"median_{side}"], raw[f"spread_{side}"]
            parts.append(_text(LEFT - 8, y + 12, name, 'text-anchor="end"'))
            parts.append(_bar(LEFT, y, median * scale, colour))
            parts.append(_line(LEFT + low * scale, y + BAR / 2, LEFT + high * scale, y + BAR / 2))
            parts.append(_text(LEFT + max(median, high) * scale + 6, y + 12, f"{number(median)} {result.unit}"))
        y += BAR + 18
    return _picture("Both sides of each row", y, parts)


def goals(results: Sequence[Result]) -> str:
    """How far each figure is from its goal, each doubling as far as the next; what is left of the line is met."""
    shown = [(result, _shortfall(result)) for result in results if result.pairs]
    reach = max([abs(math.log2(by)) for _, by in shown] + [1.0])
    middle, unit = (LEFT + WIDTH - RIGHT) / 2, (WIDTH - LEFT - RIGHT) / 2 / reach
    parts: list[str] = []
    y = 16.0
    for result, by in shown:
        length = math.log2(by) * unit
        parts.append(_text(LEFT - 8, y + 12, result.id, 'text-anchor="end"'))
        parts.append(_bar(min(middle, middle + length), y, abs(length), _COLOURS[bool(result.met)]))
        figure = f"{number(result.median or 0)} (goal {result.goal})"
        at = (middle + max(length, 0) + 6, "start") if length > 0 else (middle + 6, "start")
        parts.append(_text(at[0], y + 12, figure, f'text-anchor="{at[1]}"'))
        y += BAR + 8
    parts.append(_line(middle, 8, middle, y, more='stroke-dasharray="4 3"'))
    parts.append(_text(middle, y + 16, "goal", 'text-anchor="middle"'))
    parts.append(_text(middle - 40, y + 16, "← met", 'text-anchor="end"'))
    parts.append(_text(middle + 40, y + 16, "missed →"))
    return _picture("How far each figure is from its goal", y + 28, parts)


def _shortfall(result: Result) -> float:
    """How many times the figure is as bad as the goal; below 1 where it is better."""
    figure, limit = max(result.median or 0.0, 1e-3), result.limit
    return limit / figure if result.at_least else figure / limit
