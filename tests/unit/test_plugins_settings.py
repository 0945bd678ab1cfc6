"""The stand-in kubernetes plugin's configuration and waits, and the homes into which the plugins are put. All pure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox.gitlab_plugin.values import UNKNOWN
from tests.plugins import VERSIONS, install
from tests.plugins.base import PluginError
from tests.plugins.kubernetes import config, waits
from tests.unit.kubernetes_objects import changed
from toolchain import pulumi

# The provider


def kubeconfig(server: str = "https://one", context: str = "c") -> dict[str, Any]:
    return {
        "clusters": [{"name": "k", "cluster": {"server": server}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "team"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "current-context": context,
    }


def test_the_context_gives_the_server_and_the_namespace(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(json.dumps(kubeconfig()))

    for given in (str(path), path.read_text()):
        client, namespace = config.connect(config.Settings(kubeconfig=given))
        assert (client.configuration.host, namespace) == ("https://one", "team")
    assert config.connect(config.Settings(kubeconfig=str(path), namespace="mine"))[1] == "mine"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"context": "nope"}, "context 'nope' does not exist; the kubeconfig has: c"),
        ({"kubeconfig": json.dumps(kubeconfig(context=""))}, "no context is set, and none is current"),
        ({"kubeconfig": "/nowhere/config"}, "/nowhere/config is no file"),
        ({"kubeconfig": "a: b: secret"}, "failed to parse kubeconfig data"),
    ],
)
def test_a_wrong_kubeconfig_is_named_without_its_content(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(PluginError) as error:
        config.connect(config.Settings(**{"kubeconfig": json.dumps(kubeconfig()), **settings}))

    assert text in str(error.value)
    assert "b: secret" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "replaces"),
    [
        ({}, {"kubeconfig": json.dumps(kubeconfig("https://two"))}, ["kubeconfig"]),
        ({}, {"kubeconfig": json.dumps({**kubeconfig(), "preferences": {}})}, []),
        ({}, {"kubeconfig": UNKNOWN}, ["kubeconfig"]),
        ({}, {"context": UNKNOWN}, ["context"]),
        ({}, {"namespace": "x"}, []),
        ({}, {"clusterIdentifier": "a"}, []),
        ({"clusterIdentifier": "a"}, {"clusterIdentifier": "b"}, ["clusterIdentifier"]),
        ({"clusterIdentifier": "a"}, {"clusterIdentifier": UNKNOWN}, ["clusterIdentifier"]),
        ({"clusterIdentifier": "a"}, {"clusterIdentifier": "a", "kubeconfig": json.dumps(kubeconfig("https://2"))}, []),
        ({"clusterIdentifier": "a"}, {"clusterIdentifier": "a", "kubeconfig": UNKNOWN}, []),
    ],
)
def test_another_cluster_replaces_what_is_on_the_old_one(
    old: dict[str, Any], new: dict[str, Any], replaces: list[str]
) -> None:
    base = {"kubeconfig": json.dumps(kubeconfig())}

    changes, found = config.changed({**base, **old}, {**base, **new})
    assert found == replaces
    assert changes


def test_settings_come_from_the_engine_else_from_the_environment() -> None:
    variables = {"kubernetes:config:enableSecretMutable": "true", "kubernetes:config:kubeconfig": "", "x": "y"}
    settings = config.parse(variables, {"PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE": "true"})

    assert (settings.enable_secret_mutable, settings.enable_config_map_mutable) == (True, True)
    assert settings.kubeconfig is None


# Waits


def test_a_deployment_is_ready_when_only_pods_of_its_newest_revision_are_left_and_available() -> None:
    status = {"observedGeneration": 2, "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1}
    ready = {
        "metadata": {"generation": 2},
        "spec": {"replicas": 1},
        "status": {**status, "conditions": [{"type": "Available", "status": "True"}]},
    }

    assert waits.deployment_lacks(ready) is None
    assert "has not seen it" in str(waits.deployment_lacks(changed(ready, "status.observedGeneration", 1)))
    assert "0 are of the newest" in str(waits.deployment_lacks(changed(ready, "status.updatedReplicas", 0)))
    assert "older revision" in str(waits.deployment_lacks(changed(ready, "status.replicas", 2)))
    assert "not available" in str(waits.deployment_lacks(changed(ready, "status.conditions", [])))


def test_a_stateful_set_is_ready_when_its_pods_are_of_its_newest_revision() -> None:
    status = {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "currentReplicas": 1}
    ready = {
        "metadata": {"generation": 1},
        "spec": {"replicas": 1},
        "status": {**status, "currentRevision": "a", "updateRevision": "a"},
    }

    assert waits.stateful_set_lacks(ready) is None
    assert "0 of 1 pods" in str(waits.stateful_set_lacks(changed(ready, "status.readyReplicas", 0)))
    assert "newest revision" in str(waits.stateful_set_lacks(changed(ready, "status.updateRevision", "b")))


def test_a_claim_is_ready_when_bound_or_when_its_class_waits_for_a_pod() -> None:
    pending = {"status": {"phase": "Pending"}}

    assert waits.claim_lacks({"status": {"phase": "Bound"}}, first_consumer=False) is None
    assert waits.claim_lacks(pending, first_consumer=True) is None
    assert waits.claim_lacks(pending, first_consumer=False) == "the claim is Pending, not Bound"


def test_a_wait_lasts_as_the_resource_says_else_its_annotation_else_ten_minutes() -> None:
    annotated = {"metadata": {"annotations": {"pulumi.com/timeoutSeconds": "7"}}}

    assert [waits.seconds(annotated, 3), waits.seconds(annotated, 0), waits.seconds({}, 0)] == [3, 7, 600]


# The homes


def test_stand_ins_are_put_into_a_home_and_official_plugins_are_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    official = theirs / "plugins" / f"resource-tls-v{VERSIONS['tls']}"
    docker = theirs / "plugins" / "resource-docker-v5.2.0"
    for directory in (official, docker):
        directory.mkdir(parents=True)
    (official / "pulumi-resource-tls").write_bytes(b"\x7fELF")
    (docker / "pulumi-resource-docker").touch()
    monkeypatch.setattr(pulumi, "PULUMI_HOME", theirs)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PULUMI_HOME", raising=False)

    home = tmp_path / "home"
    for _ in range(2):
        assert install.install_into(home) == {"kubernetes": "stand-in", "tls": "official"}
    launcher = home / "plugins" / f"resource-kubernetes-v{VERSIONS['kubernetes']}" / "pulumi-resource-kubernetes"
    assert "-m tests.plugins.kubernetes" in launcher.read_text()
    assert launcher.stat().st_mode & 0o111
    for program in (official / "pulumi-resource-tls", docker / "pulumi-resource-docker"):
        assert (home / "plugins" / program.parent.name / program.name).resolve() == program
        # The engine passes over a directory that is a link itself.
        assert not (home / "plugins" / program.parent.name).is_symlink()
