"""Registration of a runner in GitLab, the same on every platform."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_gitlab as gitlab

from .defaults import JOB_SECONDS
from .inputs import mapped, mapped_or_none, recorded, taken
from .kinds import Scope


@dataclass(frozen=True, kw_only=True)
class RunnerRegistrationArgs:
    """Inputs of a RunnerRegistration.

    scope: `instance`, `group` or `project`.
    group, project: full path or numeric ID, for the scope of that name.
    description, tags, run_untagged, locked, access_level, paused: as in GitLab. The default description is
        `<stack> <name>`.
    maximum_timeout: seconds, at least 600.
    maintenance_note: free text that GitLab shows to administrators. The default names project, stack and component, so
        that orphans can be found.
    """

    scope: Scope | str
    description: pulumi.Input[str] | None = None
    tags: pulumi.Input[Sequence[pulumi.Input[str]]] = ()
    run_untagged: pulumi.Input[bool] = False
    locked: pulumi.Input[bool] = True
    access_level: pulumi.Input[str] = "ref_protected"
    maximum_timeout: pulumi.Input[int] = JOB_SECONDS
    paused: pulumi.Input[bool] = False
    maintenance_note: pulumi.Input[str] | None = None
    group: pulumi.Input[int | str] | None = None
    project: pulumi.Input[int | str] | None = None


class RunnerRegistration(pulumi.ComponentResource):
    """A runner in GitLab, made through its API; GitLab answers with the token by which the runner authenticates.

    Needs a GitLab provider whose token has the scope `api`, or the three `create_runner`, `manage_runner`, `read_api`,
    and whose owner is Owner of the group, or Maintainer of the project:
    https://docs.gitlab.com/api/users/#create-a-runner-linked-to-a-user

    runner_id: GitLab's ID of the runner. token: its authentication token (glrt-...), a secret.
    """

    runner_id: pulumi.Output[str]
    token: pulumi.Output[str]

    def __init__(
        self, name: str, args: RunnerRegistrationArgs | Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        args = taken(RunnerRegistrationArgs, args)
        super().__init__("dindrunner:index:RunnerRegistration", name, recorded(args), opts)
        scope = Scope(args.scope)
        lookup = pulumi.InvokeOptions(parent=self)
        runner = gitlab.UserRunner(
            f"{name}-runner",
            runner_type=f"{scope}_type",
            group_id=_found(args.group, _group_id, lookup),
            project_id=_found(args.project, _project_id, lookup),
            description=f"{pulumi.get_stack()} {name}" if args.description is None else args.description,
            tag_lists=mapped(args.tags, _sorted),
            untagged=args.run_untagged,
            locked=args.locked if scope is Scope.PROJECT else None,
            access_level=args.access_level,
            maximum_timeout=args.maximum_timeout,
            paused=args.paused,
            maintenance_note=_note(name) if args.maintenance_note is None else args.maintenance_note,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.runner_id = runner.id
        self.token = runner.token
        self.register_outputs({"runner_id": self.runner_id, "token": self.token})


def _note(name: str) -> str:
    return f"Managed by Pulumi: {pulumi.get_project()}/{pulumi.get_stack()}, runner {name}"


def _sorted(tags: Sequence[Any]) -> list[str]:
    return sorted(tags)


def _found(given: Any, find: Callable[[int | str, pulumi.InvokeOptions], Any], lookup: pulumi.InvokeOptions) -> Any:
    """The ID of a group or project that is given by path or ID, which may be an output."""
    return mapped_or_none(given, lambda known: find(known, lookup))


def _group_id(group: int | str, lookup: pulumi.InvokeOptions) -> pulumi.Input[int]:
    if isinstance(group, str):
        return gitlab.get_group_output(full_path=group, opts=lookup).group_id
    return group


def _project_id(project: int | str, lookup: pulumi.InvokeOptions) -> pulumi.Input[int]:
    if isinstance(project, str):
        return gitlab.get_project_output(path_with_namespace=project, opts=lookup).id.apply(int)
    return project
