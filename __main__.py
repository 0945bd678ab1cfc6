"""Loads the stack's settings, builds its target and exports the outputs."""

import pulumi

from stacks import build
from stacks.load import load

for name, value in build(load()).items():
    pulumi.export(name, value)
