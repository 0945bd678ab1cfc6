"""A recording engine: runs a program under Pulumi mocks and keeps what it asked the engine for.

What may be asserted when:

- A `Recording` is handed out only after the program, all its registrations and all its applies have ended. So the
  absence of a resource, call or warning can be asserted as well as its presence.
- The engine's part is not played: no diff, no replacement, no order of deletion, no hook runs, and no provider checks
  an input. An assertion about these belongs into tests/engine.
- Every output of a resource equals its input, except for the few that `_outputs` adds. Inputs left out stay left out:
  a provider's defaults are not known here.
- What the program marked as secret arrives as `Secret`. What only a provider's schema marks (a UserRunner's token) is
  marked here as well.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pulumi
from pulumi.runtime import mocks
from pulumi.runtime import resource as registering
from pulumi.runtime import settings as runtime
from pulumi.runtime.proto.source_pb2 import StackTrace

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"


@dataclass(frozen=True)
class Secret:
    """A value that the engine would encrypt; equal to another of the same value, and never to the value itself."""

    value: Any


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A resource as it was registered.

    parent, depends_on, replace_with: names; None and empty for the stack itself.
    depends_of: names of the resources that an input comes from, by the input.
    """

    type: str
    name: str
    parent: str | None
    inputs: Mapping[str, Any]
    provider: str
    depends_on: tuple[str, ...]
    depends_of: Mapping[str, tuple[str, ...]]
    retain_on_delete: bool
    protect: bool
    delete_before_replace: bool
    replace_on_changes: tuple[str, ...]
    replace_with: tuple[str, ...]
    ignore_changes: tuple[str, ...]
    create_timeout: str
    update_timeout: str
    delete_timeout: str
    error_hooks: tuple[str, ...]
    aliases: int


@dataclass(frozen=True)
class Recording:
    """All that a program did. read: type, name and ID of what it only looked at."""

    resources: list[Recorded] = field(default_factory=list)
    read: list[tuple[str, str, str]] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    def of_type(self, kind: str) -> list[Recorded]:
        """The resources of a type."""
        return [resource for resource in self.resources if resource.type == kind]

    def one(self, name: str) -> Recorded:
        """The resource of a name; AssertionError unless there is exactly one."""
        found = [resource for resource in self.resources if resource.name == name]
        assert len(found) == 1, (name, [resource.name for resource in self.resources])
        return found[0]


def run(
    program: Callable[[], Mapping[str, Any]],
    *,
    project: str = "gitlab-dind-runners",
    stack: str = "dev",
    calls: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] | None = None,
) -> Recording:
    """Run a program that returns its outputs.

    calls: what a provider's function answers, by its token; an OSError is its failure.
    """
    recording = Recording()
    logger = logging.Logger(f"recording-{stack}")
    logger.addHandler(_Collector(recording))
    engine = _Engine(recording, calls or {})
    runtime.ROOT.set(None)
    _ensure_event_loop()
    mocks.set_mocks(engine, project, stack, preview=False, logger=logger, monitor=_Monitor(engine, recording))

    async def observe() -> None:
        for key, value in program().items():
            output: pulumi.Output[Any] = pulumi.Output.from_input(value)
            known = await output.future()
            recording.outputs[key] = Secret(known) if await output.is_secret() else known

    # Where in the program each resource was made is told to the engine only, and costs a fifth of the time.
    with patch.object(registering, "_get_stack_trace", StackTrace):
        mocks.test(observe)()  # type: ignore[no-untyped-call]
    return recording


def _ensure_event_loop() -> None:
    """Give the thread a loop for the outputs; asyncio.run, which a server uses as well, leaves none behind."""
    try:
        asyncio.get_event_loop()
    except RuntimeError:
        asyncio.set_event_loop(asyncio.new_event_loop())


def in_the_clear(value: Any) -> list[str]:
    """Every text in a recorded value that is not inside a secret."""
    if isinstance(value, Secret):
        return []
    if isinstance(value, Mapping):
        return [text for pair in value.items() for text in in_the_clear(list(pair))]
    if isinstance(value, list):
        return [text for below in value for text in in_the_clear(below)]
    return [str(value)]


class _Collector(logging.Handler):
    """Keeps what the program warns of and complains about."""

    def __init__(self, recording: Recording) -> None:
        super().__init__(logging.WARNING)
        self.recording = recording

    def emit(self, record: logging.LogRecord) -> None:
        messages = self.recording.errors if record.levelno >= logging.ERROR else self.recording.warnings
        messages.append(record.getMessage())


class _Engine(mocks.Mocks):
    """Gives every resource an ID and its inputs as outputs."""

    def __init__(self, recording: Recording, calls: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]) -> None:
        self.recording, self.calls = recording, calls

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        if args.resource_id:
            return args.resource_id, {"name": args.resource_id}
        return f"{args.name}-0123456789abcdef", args.inputs | _outputs(args)

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        self.recording.calls.append((args.token, args.args))
        try:
            return self.calls[args.token](args.args), []
        except OSError as error:
            return {}, [("call", str(error))]


TLS_OUTPUTS = {"SelfSignedCert": "certPem", "LocallySignedCert": "certPem", "CertRequest": "certRequestPem"}


def _outputs(args: mocks.MockResourceArgs) -> dict[str, Any]:
    provider, _, kind = args.typ.rpartition(":")
    if provider == "tls:index/privateKey":
        return {"privateKeyPem": pulumi.Output.secret(f"PRIVATE KEY {args.name}")}
    if kind in TLS_OUTPUTS:
        return {TLS_OUTPUTS[kind]: f"{kind} {args.name}"}
    if args.typ == "gitlab:index/userRunner:UserRunner":
        return {"token": pulumi.Output.secret(f"glrt-{args.name}")}
    if args.typ == "docker:index/secret:Secret":
        # Pulumi's own naming, where the program leaves it open.
        return {"name": args.inputs.get("name", f"{args.name}-0123456")}
    return {}


class _Monitor(mocks.MockMonitor):
    """Keeps each registration, of which the mocks themselves see only a part."""

    def __init__(self, engine: mocks.Mocks, recording: Recording) -> None:
        super().__init__(engine)
        self.recording = recording

    def RegisterResource(self, request: Any) -> Any:
        response = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        if request.type != "pulumi:pulumi:Stack":
            self.recording.resources.append(_recorded(request))
        return response

    def ReadResource(self, request: Any) -> Any:
        self.recording.read.append((request.type, request.name, request.id))
        return super().ReadResource(request)  # type: ignore[no-untyped-call]


def _recorded(request: Any) -> Recorded:
    return Recorded(
        type=request.type,
        name=request.name,
        parent=_name(request.parent) if "pulumi:pulumi:Stack::" not in request.parent else None,
        inputs=_plain(request.object),
        provider=_name(request.provider.rpartition("::")[0]),
        depends_on=tuple(sorted(map(_name, request.dependencies))),
        depends_of={key: tuple(sorted(map(_name, found.urns))) for key, found in request.propertyDependencies.items()},
        retain_on_delete=request.retainOnDelete,
        protect=request.protect,
        delete_before_replace=request.deleteBeforeReplace,
        replace_on_changes=tuple(request.replaceOnChanges),
        replace_with=tuple(sorted(map(_name, request.replace_with))),
        ignore_changes=tuple(request.ignoreChanges),
        create_timeout=request.customTimeouts.create,
        update_timeout=request.customTimeouts.update,
        delete_timeout=request.customTimeouts.delete,
        error_hooks=tuple(request.hooks.on_error),
        aliases=len(request.aliases) + len(request.aliasURNs),
    )


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]


def _plain(value: Any) -> Any:
    """A value off the wire (protobuf's Struct, ListValue or a scalar), with `Secret` for what is marked."""
    if hasattr(value, "keys"):
        if SIGNATURE in value and value[SIGNATURE] == SECRET:
            return Secret(_plain(value["value"]))
        return {key: _plain(value[key]) for key in value.keys()}  # noqa: SIM118 (a Struct is no mapping)
    return value if isinstance(value, str | float | bool | None) else [_plain(below) for below in value]
