"""The provider's configuration: which cluster it is, and when another one is meant."""

from __future__ import annotations

import base64
import copy
import json
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import ApiClient, Configuration
from kubernetes.config.config_exception import ConfigException
from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger

from sandbox.gitlab_plugin.values import revealed
from tests.plugins.base import PluginError, Values, is_unknown

_PREFIX = "kubernetes:config:"
_IDENTITY = "clusterIdentifier"
_POINTERS = ("kubeconfig", "context", "cluster")
_FILES = ("certificate-authority", "client-certificate", "client-key")
_DEFAULT_FILE = "~/.kube/config"
_HELP = "unable to load Kubernetes client configuration from kubeconfig file: "


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the official provider can be told, as far as it matters here.

    kubeconfig: a path or the content; None for $KUBECONFIG, else ~/.kube/config. context, cluster, namespace: override
    what it says. The rest has the official names and defaults, each from an environment variable where not set.
    """

    kubeconfig: str | None = None
    context: str | None = None
    cluster: str | None = None
    namespace: str | None = None
    enable_secret_mutable: bool = False
    enable_config_map_mutable: bool = False
    enable_patch_force: bool = False
    upsert_existing_objects: bool = False
    delete_unreachable: bool = False
    skip_update_unreachable: bool = False


def parse(variables: Mapping[str, str], environment: Mapping[str, str]) -> Settings:
    """The settings, as the engine sends them: texts under `kubernetes:config:`. What is not known is ignored."""

    def text(name: str) -> str | None:
        return variables.get(_PREFIX + name) or None

    def flag(name: str, variable: str) -> bool:
        return variables.get(_PREFIX + name, environment.get(f"PULUMI_K8S_{variable}")) == "true"

    return Settings(
        kubeconfig=text("kubeconfig"),
        context=text("context"),
        cluster=text("cluster"),
        namespace=text("namespace"),
        enable_secret_mutable=flag("enableSecretMutable", "ENABLE_SECRET_MUTABLE"),
        enable_config_map_mutable=flag("enableConfigMapMutable", "ENABLE_CONFIGMAP_MUTABLE"),
        enable_patch_force=flag("enablePatchForce", "ENABLE_PATCH_FORCE"),
        upsert_existing_objects=flag("upsertExistingObjects", "UPSERT_EXISTING_OBJECTS"),
        delete_unreachable=flag("deleteUnreachable", "DELETE_UNREACHABLE"),
        skip_update_unreachable=flag("skipUpdateUnreachable", "SKIP_UPDATE_UNREACHABLE"),
    )


def connect(settings: Settings) -> tuple[ApiClient, str]:
    """A client for the cluster that is meant, and the namespace for objects that name none. Asks nobody yet.

    Raises PluginError where the kubeconfig cannot be read, or has no such context.
    """
    config = copy.deepcopy(load(settings.kubeconfig))
    context = settings.context or config.get("current-context")
    if not context:
        raise PluginError(f"{_HELP}no context is set, and none is current in the kubeconfig")
    contexts = _by_name(config, "contexts")
    if context not in contexts:
        known = ", ".join(sorted(contexts)) or "none"
        raise PluginError(f"{_HELP}context {context!r} does not exist; the kubeconfig has: {known}")
    chosen = contexts[context].get("context") or {}
    if settings.cluster:
        chosen["cluster"] = settings.cluster
    configuration = Configuration()
    # A plugin is killed in the end, so the client's own files would stay: these are gone before it asks anybody.
    with tempfile.TemporaryDirectory() as scratch:
        try:
            _as_files(config, Path(scratch))
            loader: Any = KubeConfigLoader(config, active_context=context)  # type: ignore[no-untyped-call]
            loader.load_and_set(configuration)
            client = ApiClient(configuration)
            _load_certificates(client)
        except (ConfigException, OSError, ValueError, TypeError) as error:
            raise PluginError(f"{_HELP}context {context!r}: {error}") from None
    return client, settings.namespace or chosen.get("namespace") or "default"


def _as_files(config: Mapping[str, Any], scratch: Path) -> None:
    """Puts the certificates and keys that stand in the kubeconfig into files beside it."""
    for number, (each, inner) in enumerate(
        (each, inner) for what, inner in (("clusters", "cluster"), ("users", "user")) for each in config.get(what) or []
    ):
        fields = each.get(inner) or {}
        for name in _FILES:
            if data := fields.pop(f"{name}-data", None):
                fields[name] = str(scratch / f"{number}-{name}")
                Path(fields[name]).touch(mode=0o600)
                Path(fields[name]).write_bytes(base64.b64decode(data))


def _load_certificates(client: ApiClient) -> None:
    """Has every later connection use what the files hold now."""
    configuration = client.configuration
    trusted = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if not configuration.verify_ssl:
        trusted.check_hostname = False
        trusted.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        trusted.load_cert_chain(configuration.cert_file, configuration.key_file)
    pool = client.rest_client.pool_manager.connection_pool_kw
    for name in ("ca_certs", "ca_cert_data", "cert_file", "key_file", "cert_reqs"):
        pool.pop(name, None)
    pool["ssl_context"] = trusted


def load(path_or_content: str | None) -> dict[str, Any]:
    """The kubeconfig. Raises PluginError without showing any of its content."""
    if not path_or_content:
        return _ambient()
    path = Path(path_or_content).expanduser() if "\n" not in path_or_content and len(path_or_content) < 4096 else None
    try:
        content = path.read_text() if path and path.exists() else path_or_content
        config = yaml.safe_load(content)
    except (OSError, yaml.YAMLError):
        raise PluginError("failed to parse kubeconfig data in `kubernetes:config:kubeconfig`") from None
    if not isinstance(config, dict):
        what = f"{path} is no file, and" if path else "its content"
        raise PluginError(f"failed to parse kubeconfig data in `kubernetes:config:kubeconfig`: {what} is no kubeconfig")
    return config


def _ambient() -> dict[str, Any]:
    paths = os.environ.get("KUBECONFIG") or _DEFAULT_FILE
    try:
        found = KubeConfigMerger(paths).config  # type: ignore[no-untyped-call]
    except (ConfigException, OSError, yaml.YAMLError) as error:
        raise PluginError(f"{_HELP}{paths}: {type(error).__name__}") from None
    if found is None:
        raise PluginError(f"{_HELP}invalid configuration: no configuration has been provided ({paths} does not exist)")
    config: dict[str, Any] = found.value
    return config


# Another cluster?


def changed(old: Values, new: Values) -> tuple[list[str], list[str]]:
    """The settings that changed, and those of them for which every resource of the provider has to be replaced.

    A cluster has no identity of its own: it counts as another one where `clusterIdentifier` says so, or without that
    where the active cluster of the kubeconfig changed, or cannot be told yet.
    """
    old, new = revealed(old), revealed(new)
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    if not names:
        return [], []
    identified = _IDENTITY in old and _IDENTITY in new
    if identified and _IDENTITY not in names:
        return names, []
    replaces = [_IDENTITY] if identified else []
    for name in _POINTERS:
        if is_unknown(new.get(name)):
            return [name], [*replaces, name]
    before, after = _active_cluster(old), _active_cluster(new)
    if before and after and before != after:
        replaces += [name for name in _POINTERS if name in names]
    return names, replaces


def _active_cluster(settings: Values) -> dict[str, Any] | None:
    kubeconfig = settings.get("kubeconfig")
    if not kubeconfig:
        return None
    try:
        config = load(kubeconfig if isinstance(kubeconfig, str) else json.dumps(kubeconfig))
    except PluginError:
        return None
    context = _by_name(config, "contexts").get(settings.get("context") or config.get("current-context"))
    if context is None:
        return None
    name = settings.get("cluster") or (context.get("context") or {}).get("cluster")
    cluster = _by_name(config, "clusters").get(name)
    return cluster.get("cluster") if cluster else None


def _by_name(config: Mapping[str, Any], what: str) -> dict[Any, dict[str, Any]]:
    return {each.get("name"): each for each in config.get(what) or [] if isinstance(each, dict)}
