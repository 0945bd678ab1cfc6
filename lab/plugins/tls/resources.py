"""The four resources: their inputs, what is wrong with them, and what a change means. Pure but for the clock."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from lab.plugins.base import Values
from lab.plugins.tls import certificates, keys
from lab.plugins.values import UNKNOWN, Failure, revealed, secret

ALLOWED_USES = sorted({*certificates.KEY_USAGES, *certificates.EXTENDED_KEY_USAGES})
_EARLY = "earlyRenewalHours"
_READY = "readyForRenewal"
_END = "validityEndTime"


@dataclass(frozen=True, kw_only=True)
class Resource:
    """inputs: the kind of each. computed: the outputs that a preview cannot know. make: the id and those outputs."""

    inputs: dict[str, str]
    required: Collection[str]
    computed: Collection[str]
    make: Callable[[Values], tuple[str, dict[str, Any]]]
    defaults: dict[str, Any] = field(default_factory=dict)
    secrets: Collection[str] = ()
    choices: dict[str, Collection[str]] = field(default_factory=dict)

    @property
    def is_certificate(self) -> bool:
        """Whether it has an end."""
        return _END in self.computed


_REQUEST = {
    "privateKeyPem": "string",
    "subject": "subject",
    "dnsNames": "list of strings",
    "ipAddresses": "list of strings",
}
_ISSUED = {
    "validityPeriodHours": "whole number",
    "allowedUses": "list of strings",
    _EARLY: "whole number",
    "isCaCertificate": "boolean",
    "setSubjectKeyId": "boolean",
}
_ISSUED_DEFAULTS = {_EARLY: 0, "isCaCertificate": False, "setSubjectKeyId": False}
_ISSUED_OUTPUTS = ("certPem", _READY, "validityStartTime", _END)

RESOURCES = {
    "tls:index/privateKey:PrivateKey": Resource(
        inputs={"algorithm": "string", "ecdsaCurve": "string"},
        required=("algorithm", "ecdsaCurve"),
        computed=("privateKeyPem", "publicKeyPem"),
        # The other two are of keys that were made before this made only what is asked for.
        secrets=("privateKeyPem", "privateKeyPemPkcs8", "privateKeyOpenssh"),
        choices={"algorithm": (keys.ALGORITHM,), "ecdsaCurve": (keys.CURVE,)},
        make=keys.generate,
    ),
    "tls:index/certRequest:CertRequest": Resource(
        inputs=_REQUEST,
        required=("privateKeyPem",),
        computed=("certRequestPem", "keyAlgorithm"),
        secrets=("privateKeyPem",),
        make=certificates.request,
    ),
    "tls:index/selfSignedCert:SelfSignedCert": Resource(
        inputs={**_REQUEST, **_ISSUED},
        required=("privateKeyPem", "validityPeriodHours", "allowedUses"),
        defaults=_ISSUED_DEFAULTS,
        computed=(*_ISSUED_OUTPUTS, "keyAlgorithm"),
        secrets=("privateKeyPem",),
        choices={"allowedUses": ALLOWED_USES},
        make=certificates.self_signed,
    ),
    "tls:index/locallySignedCert:LocallySignedCert": Resource(
        inputs={**dict.fromkeys(("caCertPem", "caPrivateKeyPem", "certRequestPem"), "string"), **_ISSUED},
        required=("caCertPem", "caPrivateKeyPem", "certRequestPem", "validityPeriodHours", "allowedUses"),
        defaults=_ISSUED_DEFAULTS,
        computed=(*_ISSUED_OUTPUTS, "caKeyAlgorithm"),
        secrets=("caPrivateKeyPem",),
        choices={"allowedUses": ALLOWED_USES},
        make=certificates.locally_signed,
    ),
}


def check(resource: Resource, inputs: Values) -> list[Failure]:
    """Everything that is wrong with the inputs. Unknown values (in a preview) pass; a secret's value is not shown."""
    failures = [
        Failure(name, f"unknown input {name!r}: the stand-in tls plugin knows {', '.join(resource.inputs)}")
        for name in sorted(set(inputs) - set(resource.inputs))
        if not name.startswith("__")
    ]
    failures += [Failure(name, f"{name} is missing") for name in resource.required if inputs.get(name) is None]
    for name, value in revealed(inputs).items():
        if value is None or name not in resource.inputs or _has_unknown(value):
            continue
        kind = resource.inputs[name]
        if not _fits(kind, value):
            failures.append(Failure(name, f"{name} has to be a {kind}"))
        elif kind == "whole number" and value < 0:
            failures.append(Failure(name, f"{name} is {value:g}: it must not be negative"))
        elif choices := resource.choices.get(name):
            wrong = [each for each in (value if isinstance(value, list) else [value]) if each not in choices]
            failures += [Failure(name, f"{name} is {each!r}: it knows {', '.join(choices)}") for each in wrong]
    return failures


def changed(resource: Resource, state: Values, inputs: Values, ignored: Collection[str] = ()) -> dict[str, str]:
    """What an update would change, by property: ADD, UPDATE or DELETE, with _REPLACE where it needs a new resource."""
    state, inputs = revealed(state), revealed(inputs)
    changes = {}
    for name in resource.inputs:
        old, new = state.get(name), inputs.get(name, resource.defaults.get(name))
        if name in ignored or old == new:
            continue
        kind = "ADD" if old is None else "DELETE" if new is None else "UPDATE"
        changes[name] = kind if name == _EARLY else f"{kind}_REPLACE"
    if resource.is_certificate and _is_due(state, inputs.get(_EARLY, 0)):
        changes[_READY] = "UPDATE_REPLACE"
    elif resource.is_certificate and state.get(_READY):
        changes[_READY] = "UPDATE"
    return changes


def create(resource: Resource, inputs: Values) -> tuple[str, dict[str, Any]]:
    """Makes it: its id and its outputs."""
    known = {**resource.defaults, **inputs}
    resource_id, outputs = resource.make(revealed(known))
    return resource_id, with_secrets(resource, {**known, **outputs})


def preview_of_create(resource: Resource, inputs: Values) -> dict[str, Any]:
    """The outputs that a preview can promise."""
    return with_secrets(resource, {**resource.defaults, **inputs, **dict.fromkeys(resource.computed, UNKNOWN)})


def updated(resource: Resource, state: Values, inputs: Values) -> dict[str, Any]:
    """The outputs after an update in place, which changes nothing but the time of the renewal."""
    ready = {_READY: False} if resource.is_certificate else {}
    return with_secrets(resource, {**state, **resource.defaults, **inputs, **ready})


def read(resource: Resource, state: Values) -> dict[str, Any]:
    """The outputs as they are now: a certificate may have come near its end."""
    due = resource.is_certificate and _is_due(revealed(state), revealed(state).get(_EARLY, 0))
    return with_secrets(resource, {**state, _READY: True} if due else state)


def with_secrets(resource: Resource, outputs: Values) -> dict[str, Any]:
    """The outputs with the keys marked as secret."""
    plain = {name: revealed(value) for name, value in outputs.items() if value is not None}
    return {name: secret(value) if name in resource.secrets else value for name, value in plain.items()}


def _is_due(state: Values, early: Any) -> bool:
    end = state.get(_END)
    if not isinstance(end, str) or end == UNKNOWN or not isinstance(early, int | float):
        return False
    return certificates.ready_for_renewal(end, early)


def _has_unknown(value: Any) -> bool:
    """Whether the value or anything in it is not known yet."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return bool(value == UNKNOWN) or any(map(_has_unknown, inner))


def _fits(kind: str, value: Any) -> bool:
    match kind:
        case "boolean":
            return isinstance(value, bool)
        case "whole number":
            return isinstance(value, int) and not isinstance(value, bool)
        case "list of strings":
            return isinstance(value, list) and all(isinstance(each, str) for each in value)
        case "subject":
            return isinstance(value, dict) and all(
                name in certificates.SUBJECT and isinstance(each, str)
                for name, each in value.items()
                if each is not None
            )
        case _:
            return isinstance(value, str)
