"""Inputs, live objects and the state that the engine keeps of both. Pure."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from sandbox.gitlab_plugin.values import revealed
from tests.plugins.base import PluginError, Values, has_secret, has_unknown, is_secret, is_unknown, secret, secret_texts
from tests.plugins.kubernetes.diff import is_empty, pruned
from tests.plugins.kubernetes.quantities import with_canonical

FIELD_MANAGER = "pulumi-kubernetes"
_TAKEN_OVER = {"kubectl", "kubectl-client-side-apply", "kubectl-create", "before-first-apply", FIELD_MANAGER}
"""Managers whose fields, set otherwise than by server-side apply, become the stack's at its first update."""
_INPUTS, _API_VERSION, _MANAGER = "__inputs", "__initialApiVersion", "__fieldManager"
_READ_ONLY = (
    *("creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields"),
    *("resourceVersion", "uid"),
)
_NOT_IMPORTED = ("deployment.kubernetes.io/revision", "kubectl.kubernetes.io/last-applied-configuration")
_CLUSTER_SCOPED = {
    *("APIService", "CSIDriver", "CSINode", "CertificateSigningRequest", "ClusterRole", "ClusterRoleBinding"),
    *("CustomResourceDefinition", "DeviceClass", "FlowSchema", "IPAddress", "IngressClass", "Namespace", "Node"),
    *("MutatingWebhookConfiguration", "PersistentVolume", "PriorityClass", "PriorityLevelConfiguration"),
    *("ResourceSlice", "RuntimeClass", "ServiceCIDR", "StorageClass", "ValidatingAdmissionPolicy"),
    *("ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration", "VolumeAttachment"),
    "VolumeAttributesClass",
}
_DROPPED_IF_FALSE = {"hostIPC", "hostNetwork", "hostPID", "paused", "readOnly", "stdin", "stdinOnce", "tty"}
_DROPPED_IF_EMPTY = {"annotations", "labels", "matchLabels", "nodeSelector", "value"}
_KEPT_IF_EMPTY = {"rules"}
_NOT_SERVED = ("yaml", "helm.sh", "kustomize")


def kind_of(token: str) -> tuple[str, str]:
    """apiVersion and kind of a type token, `kubernetes:apps/v1:StatefulSet`."""
    _, group_version, kind = token.split(":")
    group, _, version = group_version.partition("/")
    if group in _NOT_SERVED or kind.endswith(("List", "Patch")):
        raise PluginError(
            f"the stand-in kubernetes plugin does not serve {token}, only single objects of the API server"
        )
    return (version if group == "core" else group_version), kind


def is_namespaced(kind: str) -> bool:
    """Whether objects of a built-in kind live in a namespace."""
    return kind not in _CLUSTER_SCOPED


def metadata(obj: Values) -> Values:
    """The object's metadata, empty where they are unknown."""
    found = obj.get("metadata")
    return found if isinstance(found, dict) else {}


def known_text(obj: Values, field: str) -> str:
    """A text of the metadata, "" where it is missing or unknown."""
    found = metadata(obj).get(field)
    return found if isinstance(found, str) and not is_unknown(found) else ""


def annotation(obj: Values, name: str) -> str:
    """An annotation, "" where there is none."""
    annotations = metadata(obj).get("annotations")
    found = annotations.get(name) if isinstance(annotations, dict) else None
    return found if isinstance(found, str) else ""


def is_true(obj: Values, name: str) -> bool:
    """Whether an annotation is set to "true"."""
    return annotation(obj, name) == "true"


def with_metadata(obj: Values, **fields: str) -> dict[str, Any]:
    """The object with these metadata; "" takes one away. Unknown metadata stay so."""
    if is_unknown(obj.get("metadata")):
        return dict(obj)
    kept = {name: value for name, value in metadata(obj).items() if name not in fields}
    return {**obj, "metadata": {**kept, **{name: value for name, value in fields.items() if value}}}


def name_of(obj: Values) -> str:
    """The object's id: `namespace/name`, or the name alone."""
    namespace, name = known_text(obj, "namespace"), known_text(obj, "name")
    return f"{namespace}/{name}" if namespace else name


def described(obj: Values) -> str:
    """The object as a person would look for it."""
    return f"{obj.get('kind')} {name_of(obj)}"


def normalised(inputs: Values) -> dict[str, Any]:
    """Inputs in the form in which the API server gives them back, without what only it sets."""
    made: dict[str, Any] = {key: value for key, value in without_nulls(inputs).items() if key != "status"}
    if not has_unknown(made):
        made = _without_omitted(with_canonical(made))
        if made.get("kind") == "Secret":
            made = _normalised_secret(made)
    if isinstance(made.get("metadata"), dict):
        made["metadata"] = {key: value for key, value in made["metadata"].items() if key not in _READ_ONLY}
    return made


def without_nulls(value: Any) -> Any:
    """The value without fields that are null."""
    if isinstance(value, dict):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


def _without_omitted(value: Any) -> Any:
    """The value without what Go's types leave out of a pod and its like: `hostNetwork: false`, an empty list."""
    if isinstance(value, list):
        return [_without_omitted(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {key: _without_omitted(each) for key, each in value.items() if not _is_omitted(key, each)}


def _is_omitted(key: str, value: Any) -> bool:
    if value is False:
        return key in _DROPPED_IF_FALSE
    if value in ({}, ""):
        return key in _DROPPED_IF_EMPTY
    return value == [] and key not in _KEPT_IF_EMPTY


def _normalised_secret(obj: Values) -> dict[str, Any]:
    data = {name: _encoded_again(value) for name, value in (obj.get("data") or {}).items()}
    plain = obj.get("stringData") or {}
    data.update({name: base64.b64encode(str(value).encode()).decode() for name, value in plain.items()})
    rest = {key: value for key, value in obj.items() if key not in ("data", "stringData")}
    return {**rest, "data": data} if data else rest


def _encoded_again(value: Any) -> Any:
    try:
        return base64.b64encode(base64.b64decode(value)).decode()
    except (TypeError, ValueError, binascii.Error):
        return value


# The state


def with_marks(outputs: Values, inputs: Values) -> dict[str, Any]:
    """The outputs, marked as secret where the inputs are; a Secret's data always.

    A list that holds a secret is marked as a whole, since its order may change.
    """
    if outputs.get("kind") == "Secret":
        return {
            key: secret(value) if key in ("data", "stringData") and not is_secret(value) else value
            for key, value in outputs.items()
        }
    made = dict(outputs)
    for key, given in inputs.items():
        if key not in made or is_secret(made[key]):
            continue
        if isinstance(made[key], dict) and isinstance(given, dict) and not is_secret(given):
            made[key] = with_marks(made[key], given)
        elif has_secret(given):
            made[key] = secret(made[key])
    return made


def to_state(inputs: Values, live: Values, marked: Values, manager: str) -> dict[str, Any]:
    """What the engine keeps: the live object, and beside it the inputs that made it. marked: inputs with marks."""
    return {
        **with_marks(live, marked),
        _INPUTS: with_marks(inputs, marked),
        _API_VERSION: str(inputs.get("apiVersion", "")),
        _MANAGER: manager,
    }


def of_state(state: Values) -> tuple[dict[str, Any], dict[str, Any]]:
    """The old inputs and the live object of a state, without marks."""
    plain = revealed(state)
    return plain.get(_INPUTS) or {}, {key: value for key, value in plain.items() if not key.startswith("__")}


def manager_of(state: Values, inputs: Values) -> str:
    """The name under which fields are managed."""
    return annotation(inputs, "pulumi.com/patchFieldManager") or str(state.get(_MANAGER) or FIELD_MANAGER)


def taken_over(live: Values, manager: str) -> list[dict[str, Any]] | None:
    """`metadata.managedFields` with the fields of those who made the object as ones applied by `manager`.

    None where nothing has to change. Without this, applying would neither change nor remove what they set.
    """
    entries = metadata(live).get("managedFields") or []
    theirs = [each for each in entries if _is_taken_over(each)]
    if not theirs:
        return None
    ours = [each for each in entries if each.get("manager") == manager and each.get("operation") == "Apply"]
    rest = [each for each in entries if each not in theirs and each not in ours]
    fields: dict[str, Any] = {}
    for each in (*ours, *theirs):
        fields = _union(fields, each.get("fieldsV1") or {})
    return [*rest, {**(ours or theirs)[0], "manager": manager, "operation": "Apply", "fieldsV1": fields}]


def _is_taken_over(entry: Values) -> bool:
    made_otherwise = entry.get("operation") == "Update" and not entry.get("subresource")
    return bool(made_otherwise and entry.get("manager") in _TAKEN_OVER)


def _union(one: Values, other: Values) -> dict[str, Any]:
    return {key: _union(one.get(key) or {}, other.get(key) or {}) for key in (*one, *(set(other) - set(one)))}


def live_inputs(live: Values, old_inputs: Values) -> dict[str, Any]:
    """The inputs that describe the live object as it is now, in the shape of those that made it."""
    inputs: dict[str, Any] = _with_empty(pruned(live, old_inputs), old_inputs)
    return inputs


def _with_empty(value: Any, old: Any) -> Any:
    """Empty values that the API server leaves out are no change."""
    if isinstance(value, dict) and isinstance(old, dict):
        dropped = {key: each for key, each in old.items() if key not in value and is_empty(each)}
        return {**{key: _with_empty(each, old.get(key)) for key, each in value.items()}, **dropped}
    if isinstance(value, list) and isinstance(old, list) and len(value) == len(old):
        return [_with_empty(*row) for row in zip(value, old, strict=True)]
    return value


def imported_inputs(live: Values) -> dict[str, Any]:
    """The inputs that would make the live object: for `pulumi import`."""
    inputs = {key: value for key, value in live.items() if key != "status"}
    kept = {key: value for key, value in metadata(live).items() if key not in _READ_ONLY}
    if annotations := {
        name: value for name, value in (kept.pop("annotations", None) or {}).items() if name not in _NOT_IMPORTED
    }:
        kept["annotations"] = annotations
    return {**inputs, "metadata": kept}


def with_live_values(obj: Values, live: Values, paths: list[list[str]]) -> dict[str, Any]:
    """The object with the live values at these paths, which are ignored: applying them changes nothing."""
    made: dict[str, Any] = dict(obj)
    for path in paths:
        made = _with_live_value(made, live, path)
    return made


def _with_live_value(obj: Values, live: Values, path: list[str]) -> dict[str, Any]:
    first, *rest = path
    if first not in live:
        return dict(obj)
    if not rest:
        return {**obj, first: live[first]}
    inner, theirs = obj.get(first), live[first]
    if not isinstance(inner, dict) or not isinstance(theirs, dict):
        return dict(obj)
    return {**obj, first: _with_live_value(inner, theirs, rest)}


def texts_to_hide(*values: Any) -> set[str]:
    """Every secret text of these values, also as base64 has it or as it was before."""
    texts = {text for value in values for text in secret_texts(value)}
    for text in list(texts):
        texts.add(base64.b64encode(text.encode()).decode())
        try:
            texts.add(base64.b64decode(text, validate=True).decode())
        except ValueError:
            continue
    return texts
