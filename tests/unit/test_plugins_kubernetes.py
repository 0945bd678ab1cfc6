"""The pure parts of the stand-in kubernetes plugin. Its differences were compared with those of the official one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from sandbox.gitlab_plugin.values import UNKNOWN, revealed
from tests.plugins.base import PluginError, is_secret, masked, secret
from tests.plugins.kubernetes import config, diff, objects
from tests.plugins.kubernetes.force_new import force_new
from tests.plugins.kubernetes.plugin import KubernetesPlugin
from tests.plugins.kubernetes.quantities import canonical
from tests.unit.kubernetes_objects import changed

METADATA = {"name": "x", "namespace": "ns"}
CONTAINER = {"name": "c", "image": "i:1", "env": [{"name": "A", "value": "1"}]}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {**METADATA, "annotations": {"a": "uid"}},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "x"}},
        "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [CONTAINER]}},
    },
}
STATEFUL_SET = {
    **DEPLOYMENT,
    "kind": "StatefulSet",
    "metadata": METADATA,
    "spec": {
        **DEPLOYMENT["spec"],  # type: ignore[dict-item]
        "serviceName": "s",
        "volumeClaimTemplates": [
            {"metadata": {"name": "d"}, "spec": {"resources": {"requests": {"storage": "100Gi"}}}},
        ],
    },
}
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": METADATA, "type": "Opaque", "data": {"a": "YQ=="}}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": METADATA,
    "spec": {"clusterIP": "None", "selector": {"app": "x"}, "ports": [{"name": "d", "port": 2376}]},
}
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": METADATA,
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x", "labels": {"enforce": "privileged"}}}
BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "RoleBinding",
    "metadata": METADATA,
    "roleRef": {"kind": "Role", "name": "r"},
}


def live(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The object as an API server would give it back."""
    made = copy.deepcopy(dict(inputs))
    made["metadata"] |= {"uid": "u", "resourceVersion": "7", "generation": 1}
    return made | {"status": {}}


def differences(inputs: Mapping[str, Any], new: Mapping[str, Any], **settings: Any) -> tuple[dict[str, str], list[str]]:
    plugin = KubernetesPlugin()
    plugin._settings = config.Settings(**settings)
    return plugin._changes(objects.normalised(inputs), live(inputs), objects.normalised(new))


CASES = [
    (DEPLOYMENT, "spec.replicas", 1, {}),
    (DEPLOYMENT, "spec.template.spec.containers[0].image", "i:2", {"spec.template.spec.containers[0].image": "UPDATE"}),
    (DEPLOYMENT, "spec.template.spec.containers[0].env", None, {"spec.template.spec.containers[0].env": "DELETE"}),
    (
        DEPLOYMENT,
        "spec.template.spec.containers[0].env",
        [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        {"spec.template.spec.containers[0].env[1]": "ADD"},
    ),
    (DEPLOYMENT, 'metadata.annotations["a.b/c"]', "1", {'metadata.annotations["a.b/c"]': "ADD"}),
    (DEPLOYMENT, "metadata.name", "y", {"metadata.name": "UPDATE_REPLACE"}),
    (DEPLOYMENT, "metadata.namespace", None, {"metadata.namespace": "UPDATE_REPLACE"}),
    (DEPLOYMENT, "spec.selector.matchLabels.b", "c", {"spec.selector.matchLabels.b": "ADD_REPLACE"}),
    (STATEFUL_SET, "spec.serviceName", "t", {"spec.serviceName": "UPDATE_REPLACE"}),
    (
        STATEFUL_SET,
        "spec.volumeClaimTemplates[0].spec.resources.requests.storage",
        "2Gi",
        {"spec.volumeClaimTemplates[0].spec.resources.requests.storage": "UPDATE_REPLACE"},
    ),
    (STATEFUL_SET, "spec.template.spec.hostNetwork", True, {"spec.template.spec.hostNetwork": "ADD"}),
    (STATEFUL_SET, "spec.template.spec.hostNetwork", False, {}),
    (SERVICE, "spec.ports[0].port", 1, {"spec.ports[0].port": "UPDATE"}),
    (SERVICE, "spec.clusterIP", None, {"spec.clusterIP": "DELETE_REPLACE"}),
    (CLAIM, "spec.resources.requests.storage", "2Gi", {"spec.resources.requests.storage": "UPDATE"}),
    (CLAIM, "spec.resources.requests.storage", "1024Mi", {}),
    (CLAIM, "spec.accessModes", ["ReadWriteOncePod"], {"spec.accessModes[0]": "UPDATE_REPLACE"}),
    (NAMESPACE, "metadata.labels.enforce", "baseline", {"metadata.labels.enforce": "UPDATE"}),
    (BINDING, "roleRef.name", "q", {"roleRef.name": "UPDATE_REPLACE"}),
    # What a preview cannot know yet.
    (DEPLOYMENT, "metadata.annotations.a", UNKNOWN, {"metadata.annotations.a": "UPDATE"}),
    (
        DEPLOYMENT,
        "metadata",
        UNKNOWN,
        {"metadata.name": "DELETE_REPLACE", "metadata.namespace": "DELETE_REPLACE", "metadata.annotations": "DELETE"},
    ),
    (NAMESPACE, "metadata", UNKNOWN, {"metadata.name": "DELETE_REPLACE", "metadata.labels": "DELETE"}),
    (
        DEPLOYMENT,
        "spec",
        UNKNOWN,
        {"spec.replicas": "DELETE", "spec.selector": "DELETE_REPLACE", "spec.template": "DELETE"},
    ),
    (DEPLOYMENT, "spec.selector", UNKNOWN, {"spec.selector.matchLabels": "DELETE_REPLACE"}),
    (DEPLOYMENT, "spec.template.spec.containers", UNKNOWN, {"spec.template.spec.containers": "UPDATE"}),
]


@pytest.mark.parametrize(("inputs", "path", "value", "expected"), CASES)
def test_a_change_is_found_as_the_official_plugin_finds_it(
    inputs: dict[str, Any], path: str, value: Any, expected: dict[str, str]
) -> None:
    changes, replaces = differences(inputs, changed(inputs, path, value))

    assert changes == expected
    assert set(replaces) == {each for each, kind in expected.items() if kind.endswith("_REPLACE")}


MUTABLE = {"enable_secret_mutable": True}
UNKNOWN_TEXT = {"data": None, "stringData": {"a": UNKNOWN}}


@pytest.mark.parametrize(
    ("new", "settings", "expected"),
    [
        ({"data": {"a": "Yg=="}}, {}, {"data.a": "UPDATE_REPLACE"}),
        ({"data": {"a": "Yg=="}}, MUTABLE, {"data.a": "UPDATE"}),
        ({"data": {"a": "Yg=="}, "immutable": True}, MUTABLE, {"immutable": "ADD", "data.a": "UPDATE_REPLACE"}),
        ({"data": None, "stringData": {"a": "a"}}, {}, {}),
        ({"data": {"a": UNKNOWN}}, MUTABLE, {"data.a": "UPDATE"}),
        (UNKNOWN_TEXT, MUTABLE, {"data": "DELETE", "stringData": "ADD"}),
        (UNKNOWN_TEXT, {}, {"data": "DELETE_REPLACE", "stringData": "ADD_REPLACE"}),
        ({"type": "kubernetes.io/tls"}, MUTABLE, {"type": "UPDATE_REPLACE"}),
    ],
)
def test_the_data_of_a_secret_replaces_it_unless_the_provider_says_otherwise(
    new: dict[str, Any], settings: dict[str, Any], expected: dict[str, str]
) -> None:
    assert differences(SECRET, objects.without_nulls({**SECRET, **new}), **settings)[0] == expected


def test_what_the_cluster_changed_is_a_difference_and_what_it_added_is_none() -> None:
    state = live(changed(DEPLOYMENT, "spec.template.spec.containers[0].image", "drift"))
    state["spec"]["template"]["spec"]["restartPolicy"] = "Always"
    plugin = KubernetesPlugin()

    assert plugin._changes(DEPLOYMENT, state, DEPLOYMENT)[0] == {"spec.template.spec.containers[0].image": "UPDATE"}


def test_an_empty_value_that_the_api_server_did_not_keep_is_no_difference() -> None:
    inputs = changed(SERVICE, "spec.externalName", "")
    plugin = KubernetesPlugin()

    assert plugin._changes(inputs, live(SERVICE), inputs)[0] == {}
    assert objects.live_inputs(live(SERVICE), inputs) == inputs


def test_ignored_paths_hide_what_is_under_them() -> None:
    changes = {"spec.replicas": "UPDATE", "spec.template.spec.containers[1].image": "UPDATE", "metadata.name": "ADD"}

    assert diff.without_ignored(changes, ["spec.template", "spec.replicas"]) == {"metadata.name": "ADD"}
    assert "spec.replicas" in diff.without_ignored(changes, ["spec.template.spec.containers[*].image"])
    assert len(diff.without_ignored(changes, ["spec.template.spec.containers[*].image"])) == 2


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("spec.containers[0].image", ("spec", "containers", 0, "image")),
        ('metadata.annotations["a.b/c[0]"]', ("metadata", "annotations", "a.b/c[0]")),
        ('data["a\\"b"]', ("data", 'a"b')),
        ("spec.*.x[*]", ("spec", "*", "x", "*")),
    ],
)
def test_paths_are_read_in_the_syntax_of_pulumi(path: str, parts: tuple[str | int, ...]) -> None:
    assert diff.parsed(path) == parts


def test_pruning_keeps_the_shape_of_the_inputs() -> None:
    source = {"a": [{"x": 1, "y": 2}, {"x": 3}], "b": {"c": 1}, "d": [1, 2], "e": 5}

    assert diff.pruned(source, {"a": [{"x": 0}], "b": {}, "d": ["text"], "e": {}}) == {
        "a": [{"x": 1}],
        "b": {},
        "d": [1, 2],
        "e": 5,
    }


def test_the_kinds_without_special_fields_are_replaced_for_another_place_only() -> None:
    for kind in ("batch/v1 CronJob", "networking.k8s.io/v1 NetworkPolicy", "policy/v1 PodDisruptionBudget"):
        api_version, name = kind.split()
        fields = force_new({"apiVersion": api_version, "kind": name}, secret_mutable=False, config_map_mutable=False)
        assert fields == [("metadata", "name"), ("metadata", "namespace")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        *(("0.5", "500m"), ("1500m", "1500m"), ("2000m", "2"), (2, "2"), ("1000", "1k"), (0.25, "250m"), ("0", "0")),
        *(("1024Mi", "1Gi"), ("1000Mi", "1000Mi"), ("0.5Gi", "512Mi"), ("102400Mi", "100Gi"), ("1e3", "1e3")),
    ],
)
def test_quantities_are_written_as_the_api_server_does(given: Any, expected: str) -> None:
    assert canonical(given) == expected


def test_a_secrets_data_are_always_secret_and_other_outputs_where_their_inputs_were() -> None:
    state = objects.to_state(SECRET, live(SECRET), SECRET, "m")
    pod = objects.with_marks(DEPLOYMENT, changed(DEPLOYMENT, "spec.template.spec.containers[0].image", secret("i:1")))

    assert is_secret(state["data"])
    assert is_secret(state["__inputs"]["data"])
    assert is_secret(pod["spec"]["template"]["spec"]["containers"])
    assert not is_secret(pod["spec"]["template"])
    assert revealed(pod) == DEPLOYMENT
    assert objects.of_state(state) == (SECRET, live(SECRET))


def test_errors_hide_secrets_in_every_form() -> None:
    hidden = objects.texts_to_hide(objects.with_marks(SECRET | {"data": {"a": "cGFzc3dvcmQ="}}, {}))

    assert masked("data cGFzc3dvcmQ= is password, not pass", hidden) == "data [secret] is [secret], not pass"


def test_string_data_become_data_and_what_only_the_server_sets_is_left_out() -> None:
    given = {"kind": "Secret", "metadata": {"name": "x", "uid": "u"}, "data": {"b": "Yg== "}, "stringData": {"a": "a"}}

    assert objects.normalised(given) == {
        "kind": "Secret",
        "metadata": {"name": "x"},
        "data": {"a": "YQ==", "b": "Yg=="},
    }
    assert objects.normalised({**given, "stringData": {"a": UNKNOWN}})["stringData"] == {"a": UNKNOWN}


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        ("kubernetes:core/v1:Secret", ("v1", "Secret")),
        ("kubernetes:apps/v1:StatefulSet", ("apps/v1", "StatefulSet")),
        ("kubernetes:networking.k8s.io/v1:NetworkPolicy", ("networking.k8s.io/v1", "NetworkPolicy")),
    ],
)
def test_a_type_names_its_kind(token: str, kind: tuple[str, str]) -> None:
    assert objects.kind_of(token) == kind


@pytest.mark.parametrize("token", ["kubernetes:helm.sh/v3:Release", "kubernetes:core/v1:SecretList"])
def test_what_is_not_served_is_said(token: str) -> None:
    with pytest.raises(PluginError, match="does not serve"):
        objects.kind_of(token)


def test_fields_set_at_the_creation_become_applied_ones() -> None:
    entry = {"apiVersion": "v1", "fieldsType": "FieldsV1"}
    made = {**entry, "manager": "pulumi-kubernetes", "operation": "Update", "fieldsV1": {"f:data": {"f:a": {}}}}
    applied = {**entry, "manager": "m", "operation": "Apply", "fieldsV1": {"f:data": {"f:b": {}}}}
    other = {**entry, "manager": "kube-controller-manager", "operation": "Update", "subresource": "status"}

    assert objects.taken_over({"metadata": {"managedFields": [made, applied, other]}}, "m") == [
        other,
        {**applied, "fieldsV1": {"f:data": {"f:a": {}, "f:b": {}}}},
    ]
    assert objects.taken_over({"metadata": {"managedFields": [applied, other]}}, "m") is None
