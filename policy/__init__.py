"""Policies for stacks of runners: what they must not do, each with the setting that mends it; see docs/use/policy.md.

`__main__` is what the Pulumi engine starts. Everything else is pure, and runs without an engine.
"""
