"""Loads the stack's settings, builds its target and exports the outputs."""

import gc

import pulumi

from stacks.load import load
from stacks.targets import build

# A target's SDKs are many objects that stay: to look for garbage among them each time is an eighth of the start.
gc.set_threshold(100_000)

for name, value in build(load()).items():
    pulumi.export(name, value)
