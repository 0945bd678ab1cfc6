"""The policy pack that the Pulumi engine starts: the policies of `policy.catalog`, as Pulumi's SDK takes them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# The engine runs a directory, not a package; and it may be a link to this file that it runs.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyPack,
    PolicyResource,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError

from policy.catalog import POLICIES, ResourcePolicy, StackPolicy
from policy.resources import UNKNOWN, Resource


def main() -> None:
    """Serve the policies until the engine has no more questions."""
    PolicyPack(
        "gitlab-dind-runners",
        [_for_resource(each) if isinstance(each, ResourcePolicy) else _for_stack(each) for each in POLICIES],
    )


def _for_resource(policy: ResourcePolicy) -> Policy:
    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        resource = Resource(
            type=args.resource_type, name=args.name, props=plain(args.props), urn=args.urn, protect=args.opts.protect
        )
        for message in policy.rule(resource):
            report(message, None)

    return ResourceValidationPolicy(policy.name, policy.demand, validate, EnforcementLevel(policy.level))


def _for_stack(policy: StackPolicy) -> Policy:
    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        for resource, message in policy.rule([_resource(each) for each in args.resources]):
            report(message, resource.urn)

    return StackValidationPolicy(policy.name, policy.demand, validate, EnforcementLevel(policy.level))


def _resource(given: PolicyResource) -> Resource:
    return Resource(
        type=given.resource_type,
        name=given.name,
        props=plain(given.props),
        urn=given.urn,
        protect=given.opts.protect,
        parent=_resource(given.parent) if given.parent else None,
    )


def plain(value: Any) -> Any:
    """The SDK's properties, of which one that is unknown raises an error when it is looked at, as plain data."""
    if isinstance(value, Mapping):
        return {key: _item(value, key) for key in value}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_item(value, index) for index in range(len(value))]
    return value


def _item(value: Any, key: Any) -> Any:
    try:
        return plain(value[key])
    except UnknownValueError:
        return UNKNOWN


if __name__ == "__main__":
    main()
