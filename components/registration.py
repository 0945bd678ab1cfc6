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


class Lookups:
    """Looks each group and project up once for all registrations that share this, and with it their provider."""

    def __init__(self) -> None:
        self._ids: dict[tuple[object, str], pulumi.Output[int]] = {}

    def id_of(
        self, given: Any, ask: Callable[[str, pulumi.InvokeOptions], pulumi.Output[int]], opts: pulumi.InvokeOptions
    ) -> pulumi.Input[int] | None:
        """The ID of what is given by path or ID, which may be an output."""

        def found(known: int | str) -> Any:
            if not isinstance(known, str):
                return known
            if (ask, known) not in self._ids:
                self._ids[ask, known] = ask(known, opts)
            return self._ids[ask, known]

        return mapped_or_none(given, found)


class RunnerRegistration(pulumi.ComponentResource):
    """A runner in GitLab, made through its API; GitLab answers with the token by which the runner authenticates.

    Needs a GitLab provider whose token has the scope `api`, or the three `create_runner`, `manage_runner`, `read_api`,
    and whose owner is Owner of the group, or Maintainer of the project:
    https://docs.gitlab.com/api/users/#create-a-runner-linked-to-a-user

    lookups: shared by registrations of one provider, so that their group or project is looked up once.
    runner_id: GitLab's ID of the runner. token: its authentication token (glrt-...), a secret.
    """

    runner_id: pulumi.Output[str]
    token: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        args: RunnerRegistrationArgs | Mapping[str, Any],
        opts: pulumi.ResourceOptions | None = None,
        lookups: Lookups | None = None,
    ) -> None:
        args = taken(RunnerRegistrationArgs, args)
        super().__init__("dindrunner:index:RunnerRegistration", name, recorded(args), opts)
        scope = Scope(args.scope)
        lookups = lookups or Lookups()
        by_its_provider = pulumi.InvokeOptions(parent=self)
        runner = gitlab.UserRunner(
            f"{name}-runner",
            runner_type=f"{scope}_type",
            group_id=lookups.id_of(args.group, _group_id, by_its_provider),
            project_id=lookups.id_of(args.project, _project_id, by_its_provider),
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


def _group_id(group: str, opts: pulumi.InvokeOptions) -> pulumi.Output[int]:
    return gitlab.get_group_output(full_path=group, opts=opts).group_id


def _project_id(project: str, opts: pulumi.InvokeOptions) -> pulumi.Output[int]:
    return gitlab.get_project_output(path_with_namespace=project, opts=opts).id.apply(int)
