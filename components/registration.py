"""Registration of a runner in GitLab, the same on every platform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_gitlab as gitlab


@dataclass(frozen=True, kw_only=True)
class RunnerRegistrationArgs:
    """Inputs of a RunnerRegistration.

    scope: `instance`, `group` or `project`.
    group, project: full path or numeric ID, for the scope of that name.
    description, tags, run_untagged, locked, access_level, paused: as GitLab has them.
    maximum_timeout: seconds, at least 600.
    maintenance_note: free text that GitLab shows to administrators; names the stack, so that orphans can be found.
    """

    scope: str
    description: str
    tags: Sequence[str]
    run_untagged: bool
    locked: bool
    access_level: str
    maximum_timeout: int
    paused: bool
    maintenance_note: str
    group: int | str | None = None
    project: int | str | None = None


class RunnerRegistration(pulumi.ComponentResource):
    """A runner in GitLab, made through its API; GitLab answers with the token by which the runner authenticates.

    Needs a GitLab provider whose token has the scope `api`, or the three `create_runner`, `manage_runner`, `read_api`,
    and whose owner is Owner of the group, or Maintainer of the project:
    https://docs.gitlab.com/api/users/#create-a-runner-linked-to-a-user

    runner_id: GitLab's ID of the runner. token: its authentication token (glrt-...), a secret.
    """

    runner_id: pulumi.Output[str]
    token: pulumi.Output[str]

    def __init__(self, name: str, args: RunnerRegistrationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("dindrunner:index:RunnerRegistration", name, None, opts)
        lookup = pulumi.InvokeOptions(parent=self)
        runner = gitlab.UserRunner(
            f"{name}-runner",
            runner_type=f"{args.scope}_type",
            group_id=_group_id(args.group, lookup),
            project_id=_project_id(args.project, lookup),
            description=args.description,
            tag_lists=sorted(args.tags),
            untagged=args.run_untagged,
            locked=args.locked if args.scope == "project" else None,
            access_level=args.access_level,
            maximum_timeout=args.maximum_timeout,
            paused=args.paused,
            maintenance_note=args.maintenance_note,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.runner_id = runner.id
        self.token = runner.token
        self.register_outputs({"runner_id": self.runner_id})


def _group_id(group: int | str | None, lookup: pulumi.InvokeOptions) -> pulumi.Input[int] | None:
    if isinstance(group, str):
        return gitlab.get_group_output(full_path=group, opts=lookup).group_id
    return group


def _project_id(project: int | str | None, lookup: pulumi.InvokeOptions) -> pulumi.Input[int] | None:
    if isinstance(project, str):
        return gitlab.get_project_output(path_with_namespace=project, opts=lookup).id.apply(int)
    return project
