"""What the plugin needs of a resource; the modules `runners`, `project_variable` and `repository_file` are that."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from lab.plugins.gitlab.properties import Property, Values
from lab.plugins.values import Failure

if TYPE_CHECKING:
    from lab.plugins.gitlab.gitlab_api import GitLab


class CreatedIncompletely(Exception):
    """The resource is there, but its description could not be read.

    It has to get into the state all the same, or the next `up` would make a second one.
    """

    def __init__(self, resource_id: str, state: Mapping[str, Any], reason: str) -> None:
        super().__init__(reason)
        self.resource_id = resource_id
        self.state = state


class Resource(Protocol):
    """One kind of resource. Everything that talks to GitLab raises GitLabError with a text that says what to do."""

    TYPE: str
    """Its type in Pulumi."""
    DELETED_FIRST: bool
    """Whether a replacement deletes the old one first: where both would have the same name in GitLab."""

    def check(self, inputs: Values) -> list[Failure]:
        """Everything that is wrong with the inputs. Unknown values (in a preview) pass unchecked."""

    def changed(self, state: Values, inputs: Values, ignored: Collection[str] = ()) -> list[Property]:
        """The properties in which GitLab differs from what the program asks for."""

    def preview_of_create(self, inputs: Values) -> dict[str, Any]:
        """The outputs that a preview can promise: GitLab decides the others."""

    def preview_of_update(self, state: Values, inputs: Values) -> dict[str, Any]:
        """The outputs after an update in place."""

    def inputs_of(self, state: Values, before: Values | None) -> dict[str, Any]:
        """The inputs that describe the present state: those that were set before, or all of them for an import."""

    def create(self, gitlab: GitLab, inputs: Values) -> tuple[str, dict[str, Any]]:
        """Makes one; its id and outputs. Raises CreatedIncompletely, too."""

    def read(self, gitlab: GitLab, resource_id: str, before: Values) -> dict[str, Any] | None:
        """The outputs as they are now, None where GitLab has it no more. before: inputs and outputs so far."""

    def update(
        self, gitlab: GitLab, resource_id: str, before: Values, inputs: Values, ignored: Collection[str] = ()
    ) -> dict[str, Any]:
        """Changes it in place; its outputs."""

    def delete(self, gitlab: GitLab, resource_id: str, state: Values) -> None:
        """Deletes it, whether or not it is still there."""

    def undo_create(self, gitlab: GitLab, resource_id: str) -> None:
        """Takes back a creation that no engine waits for any more and nobody remembers."""
