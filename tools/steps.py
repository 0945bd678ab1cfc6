"""Reads the JSON of `pulumi preview --json`: steps, counts, and which data is lost. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from components.labels import ROLE
from tools.markdown import code
from tools.secrets import HIDDEN, Masker

COUNTED = ("create", "update", "replace", "delete")

_NAMES = {
    "create-replacement": "replace",
    "delete-replaced": "replace",
    "import-replacement": "replace",
    "discard-replaced": "replace",
    "remove-pending-replace": "replace",
    "discard": "delete",
}
"""What the engine names apart, and people do not."""

_NOTES = ("__defaults", "__internal", "__meta")
"""Keys in which the engine and providers keep something of their own."""

_QUIET = ("same", "refresh", "read", "read-replacement")

CONTAINER = "docker:index/container:Container"
VOLUME = "docker:index/volume:Volume"
CLAIM = "kubernetes:core/v1:PersistentVolumeClaim"
NAMESPACE = "kubernetes:core/v1:Namespace"
STATEFUL_SET = "kubernetes:apps/v1:StatefulSet"
REGISTRATION = "gitlab:index/userRunner:UserRunner"


class Weight(StrEnum):
    """What a step costs, the worst first."""

    DATA = "data"
    TOKEN = "token"
    PAUSE = "pause"
    REFUSED = "refused"
    HARMLESS = "harmless"


@dataclass(frozen=True)
class Loss:
    """What a step costs beyond the resource itself: `text` in Markdown."""

    weight: Weight
    text: str


@dataclass(frozen=True)
class Step:
    """A resource that changes.

    op: create, update, replace, delete or import. old, new: its inputs, without secrets; None where there are none.
    outputs: the old ones. details: kind of change by property path, as the provider told it. parent: URN of its
    component. protect, retain: Pulumi's options on what is there now. because: URNs of what it depends on, and of its
    provider. role: the value of its label `ROLE`, also where that looks like a secret; empty without one.
    """

    op: str
    urn: str
    old: Mapping[str, Any] | None = None
    new: Mapping[str, Any] | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    new_outputs: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)
    parent: str = ""
    protect: bool = False
    retain: bool = False
    because: tuple[str, ...] = ()
    role: str = ""

    @property
    def type(self) -> str:
        """Type of the resource."""
        return type_of(self.urn)

    @property
    def name(self) -> str:
        """Its name in the program."""
        return name_of(self.urn)

    @property
    def real_name(self) -> str:
        """Its name where it lives, as far as that is known."""
        inputs = self.old or self.new or {}
        metadata = inputs.get("metadata")
        within = metadata.get("name") if isinstance(metadata, Mapping) else None
        return str(within or inputs.get("name") or inputs.get("description") or self.name)


@dataclass(frozen=True)
class Plan:
    """What a preview found.

    steps: what changes, by component. counts: resources and components by kind of change, unchanged ones as
    `same`. warnings, errors: what the engine and the program said.
    """

    steps: tuple[Step, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def has_changes(self) -> bool:
        """Whether anything would be done."""
        return any(count for op, count in self.counts.items() if op != "same")

    @property
    def summary(self) -> str:
        """In one line, for example `1 to create, 0 to update, 2 to replace, 0 to delete, 12 unchanged`."""
        if not self.has_changes:
            return f"no changes, {self.counts.get('same', 0)} unchanged"
        others = [f"{count} to {op}" for op, count in self.counts.items() if op not in (*COUNTED, "same") and count]
        counted = [f"{self.counts.get(op, 0)} to {op}" for op in COUNTED]
        return ", ".join([*counted, *others, f"{self.counts.get('same', 0)} unchanged"])

    @cached_property
    def losses(self) -> list[Loss]:
        """What the steps cost in data, tokens and time; the worst first."""
        found = [loss for step in self.steps for loss in _losses(step, self)]
        order = list(Weight)
        return sorted(found, key=lambda loss: order.index(loss.weight))

    def masked(self, masker: Masker) -> Plan:
        """The same without secrets: each value by itself. A resource's type and role are the program's own words."""

        def inputs(values: Mapping[str, Any] | None) -> Any:
            return values if values is None else masker.value(values)

        def named(urn: str) -> str:
            return urn.removesuffix(name_of(urn)) + masker.text(name_of(urn))

        steps = tuple(
            replace(
                step,
                urn=named(step.urn),
                old=inputs(step.old),
                new=inputs(step.new),
                outputs=inputs(step.outputs),
                new_outputs=inputs(step.new_outputs),
                details={masker.text(path): kind for path, kind in step.details.items()},
                parent=named(step.parent),
                because=tuple(map(named, step.because)),
            )
            for step in self.steps
        )
        warnings, errors = (tuple(map(masker.log, texts)) for texts in (self.warnings, self.errors))
        return replace(self, steps=steps, warnings=warnings, errors=errors)

    def gone(self, type_: str) -> list[Step]:
        """Steps that delete or replace something of a type."""
        return [step for step in self.steps if step.type == type_ and step.op in ("delete", "replace")]


def read_plan(digest: Mapping[str, Any], masker: Masker) -> Plan:
    """The plan in what `pulumi preview --json` or `pulumi refresh --preview-only --json` printed.

    Its block `config` has every plaintext setting, so nothing of it is taken.
    """
    counts: dict[str, int] = {}
    for op, count in (digest.get("changeSummary") or {}).items():
        name = "same" if op in _QUIET else _NAMES.get(op, op)
        counts[name] = counts.get(name, 0) + count
    steps: dict[str, Step] = {}
    for raw in digest.get("steps") or []:
        step = _step(raw)
        # A replacement may come in three parts of one URN.
        if step.op not in _QUIET and (step.urn not in steps or steps[step.urn].op != "replace"):
            steps[step.urn] = step
    said = [
        (one.get("severity"), _without_prefix(one.get("message") or "").rstrip())
        for one in digest.get("diagnostics") or []
    ]
    return Plan(
        # The engine looks at several at once, so its order changes from run to run.
        steps=tuple(sorted(steps.values(), key=lambda step: (step.parent, step.urn))),
        counts=counts,
        warnings=tuple(dict.fromkeys(text for severity, text in said if severity == "warning" and text)),
        errors=tuple(dict.fromkeys(text for severity, text in said if severity == "error" and text)),
    ).masked(masker)


def _step(raw: Mapping[str, Any]) -> Step:
    old, new = raw.get("oldState"), raw.get("newState")
    state = old or new or {}
    op = raw["op"]
    return Step(
        op=_NAMES.get(op, op),
        urn=raw["urn"],
        old=None if old is None else _inputs(old, "inputs"),
        new=None if new is None else _inputs(new, "inputs"),
        outputs=_inputs(old or {}, "outputs"),
        new_outputs=_inputs(new or {}, "outputs"),
        details={path: one.get("kind", "update") for path, one in (raw.get("detailedDiff") or {}).items()},
        parent=state.get("parent") or "",
        protect=bool(old and old.get("protect")),
        retain=bool(old and old.get("retainOnDelete")),
        because=(*(state.get("dependencies") or ()), (state.get("provider") or "").rpartition("::")[0]),
        role=_role(state.get("inputs") or {}),
    )


def _role(inputs: Mapping[str, Any]) -> str:
    labels = inputs.get("labels")
    found = (one for one in labels if isinstance(one, Mapping)) if isinstance(labels, list) else iter(())
    return next((str(one.get("value")) for one in found if one.get("label") == ROLE), "")


def _inputs(state: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    values: dict[str, Any] = _plain(state.get(kind) or {})
    if type_of(state.get("urn", "")) == "kubernetes:core/v1:Secret":
        values |= {key: HIDDEN for key in ("data", "stringData") if key in values}
    return values


def _plain(value: Any) -> Any:
    """Without the keys in which the engine keeps notes of its own."""
    match value:
        case Mapping():
            return {key: _plain(item) for key, item in value.items() if key not in _NOTES}
        case [*items]:
            return [_plain(item) for item in items]
    return value


def _without_prefix(text: str) -> str:
    for prefix in ("error: ", "warning: "):
        text = text.removeprefix(prefix)
    return text


def type_of(urn: str) -> str:
    """Type of a resource by its URN."""
    parts = urn.split("::", 3)
    return parts[2].rsplit("$", 1)[-1] if len(parts) == 4 else ""


def name_of(urn: str) -> str:
    """Name of a resource by its URN."""
    return urn.split("::", 3)[-1]


def _losses(step: Step, plan: Plan) -> Iterator[Loss]:
    if step.op not in ("delete", "replace"):
        return
    name, verb = code(step.real_name), "deleted" if step.op == "delete" else "replaced"
    if step.protect:
        yield Loss(Weight.REFUSED, f"{name} would be {verb}, but is protected: Pulumi refuses the whole update")
    if step.type == VOLUME:
        yield _of_volume(step, f"volume {name}", verb)
    elif step.type == CLAIM:
        text = "the layer cache in it goes, and the disk too, unless its storage class retains it"
        yield Loss(Weight.DATA, f"claim {name} is {verb}: {text}")
    elif step.type == NAMESPACE:
        yield Loss(Weight.DATA, f"namespace {name} is {verb}: everything in it goes, claims included")
    elif step.type == REGISTRATION:
        again = "; a new one is made, with another token and ID" if step.op == "replace" else ""
        yield Loss(Weight.TOKEN, f"runner {name} is {verb} in GitLab: its token dies, for all that use it{again}")
    elif step.type == CONTAINER and step.role == "config" and step.op == "replace":
        yield Loss(
            Weight.HARMLESS, "`config.toml` is written anew; its settings take effect without a restart of the runner"
        )
    elif step.type == CONTAINER and step.role == "daemon":
        yield from _of_daemon(step, plan.gone(VOLUME), f"daemon {name}", "volume")
    elif step.type == STATEFUL_SET:
        yield from _of_daemon(step, plan.gone(CLAIM), f"daemon {name}", "claim")


def _of_volume(step: Step, volume: str, verb: str) -> Loss:
    if step.retain:
        return Loss(Weight.PAUSE, f"{volume} leaves the stack, but stays on the engine with what is in it")
    device = ((step.old or {}).get("driverOpts") or {}).get("device")
    if device:
        return Loss(Weight.DATA, f"{volume} is {verb}; the files below {code(str(device))} stay where they are")
    what = {
        "data": "the whole layer cache is lost, and the next builds start cold",
        "config": "it holds `config.toml`, which is written anew from the settings",
        "certs-ca": _CERTIFICATES,
        "certs-client": _CERTIFICATES,
        "socket": "it holds the daemon's socket, which is made anew",
    }
    return Loss(Weight.DATA, f"{volume} is {verb}: {what.get(step.role, 'what is in it is lost')}")


_CERTIFICATES = "it holds certificates, which the daemon makes anew"


def _of_daemon(step: Step, gone: Sequence[Step], daemon: str, holder: str) -> Iterator[Loss]:
    """A daemon is only gone for a while, and its data is not touched, unless that goes by a step of its own."""
    if step.op == "replace" and not any(other.role in ("data", "") for other in gone):
        yield Loss(
            Weight.PAUSE,
            f"{daemon} is replaced, once the running jobs have ended or their time to do so is over; it keeps its "
            f"{holder} with the layer cache",
        )
