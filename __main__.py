"""Loads the stack's settings, builds its target and exports the outputs."""

import pulumi

from stacks.load import load
from stacks.targets import build

for name, value in build(load()).items():
    pulumi.export(name, value)
