"""Draws each picture from the text beside it: pip install vye-svgbob==0.1.4, then python docs/pictures/draw.py.

A letter in braces colours the box around it. Text between quotes is drawn as it stands, also where it has dashes.
"""

import hashlib
import re
from pathlib import Path

import vye_svgbob

COLOURS = """
# Legend:
m = { fill: #f1f5f9; stroke: #64748b; }
n = { fill: #e0f2fe; stroke: #0284c7; }
d = { fill: #dcfce7; stroke: #15803d; }
g = { fill: #fef3c7; stroke: #b45309; }
"""
SETTINGS = vye_svgbob.Settings(
    font_size=13,
    font_family="DejaVu Sans Mono, Menlo, Consolas, monospace",
    background="#ffffff",
    fill_color="#1e293b",
    stroke_color="#334155",
    stroke_width=1.5,
)

for source in Path(__file__).parent.glob("*.txt"):
    digest = hashlib.sha256(source.read_bytes() + Path(__file__).read_bytes()).hexdigest()
    svg = vye_svgbob.to_svg_with_settings(source.read_text() + COLOURS, SETTINGS)
    # So that a narrow page shrinks it instead of cutting it off.
    svg = re.sub(r'width="(\d+)" height="(\d+)"', r'viewBox="0 0 \1 \2" \g<0>', svg, count=1)
    svg = re.sub(r"<style>.*?</style>", lambda style: " ".join(style[0].split()), svg, flags=re.DOTALL)
    source.with_suffix(".svg").write_text(f"{svg}\n<!-- Drawn from {source.name}, {digest} -->\n")
