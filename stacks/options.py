"""Options that every component of a stack is made with."""

from __future__ import annotations

import pulumi


def made_by(provider: pulumi.ProviderResource) -> pulumi.ResourceOptions:
    """Options of a component whose resources are made by this provider."""
    return pulumi.ResourceOptions(provider=provider, transformations=[_without_inputs])


def _without_inputs(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
    """Keep a component's own inputs out of the state: the stack's settings say them, and a stack that was brought up
    before components recorded them would see a change that is none (docs/decisions/0012-components-as-a-package.md).
    """
    if not args.type_.startswith("dindrunner:"):
        return None
    return pulumi.ResourceTransformationResult(props={}, opts=args.opts)
