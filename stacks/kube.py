"""Asks a cluster what it is and has, and what these credentials may do there, before anything is touched."""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError, NewConnectionError

from components.kubernetes.names import claim_name, runner_name
from components.kubernetes.runner import JOB_RULES
from components.kubernetes.spelling import quantities
from components.labels import STACK, selector
from components.quantities import amount
from stacks.cluster import POLICY_ENFORCERS, Access, ClaimFound, Facts, Namespace, StorageClass
from stacks.gke_settings import Cluster, GkeSettings
from stacks.mistakes import SettingsError, shown

ANSWER_SECONDS = 15
"""How long the API server may take for one answer, and how long connecting to it may take."""

CREDENTIALS_SECONDS = 60
"""How long gcloud, or another program that gives credentials, may take; its first call of a day renews them."""

MANAGED = (
    *(("", kind) for kind in ("configmaps", "persistentvolumeclaims", "secrets", "serviceaccounts", "services")),
    *(("apps", kind) for kind in ("deployments", "statefulsets")),
    ("batch", "cronjobs"),
    ("networking.k8s.io", "networkpolicies"),
    *(("rbac.authorization.k8s.io", kind) for kind in ("rolebindings", "roles")),
)
"""API groups and kinds of the stack's own objects in its namespace."""

MANAGING = ("create", "delete", "get", "list", "patch", "watch")
"""The provider waits for each deletion by watching the kind; without the right to, it waits for ever."""

WATCHED = (("", "pods"), ("apps", "replicasets"))
WATCHING = ("list", "watch")
"""What the provider looks at while it waits for pods."""

_OTHER_REFUSALS = (
    "violates PodSecurity",  # the namespace says so itself
    "pods is forbidden: User",  # asked for apart
    "error looking up service account",  # a new namespace has none yet
    "exceeded quota",  # of which the daemon that is there may have the most
)

_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"

T = TypeVar("T")


class _NoAnswer(Exception):
    """The API server does not answer, or not as one; the text says why."""


class _NotKubernetes(Exception):
    """Something else answers."""


class _Api:
    """GET and POST of plain objects, with the kubeconfig's credentials."""

    def __init__(self, configuration: client.Configuration) -> None:
        self.host: str = configuration.host
        self._client = client.ApiClient(configuration)

    def get(self, path: str) -> Any:
        return self._call(path, "GET", None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._call(path, "POST", body)

    def _call(self, path: str, method: str, body: Mapping[str, Any] | None) -> Any:
        """The answer. Raises ApiException for a refusal, _NoAnswer where there is none, _NotKubernetes for no JSON."""
        serialized = self._client.param_serialize(
            method,
            path,
            header_params={"Accept": "application/json", "Content-Type": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = self._client.call_api(*serialized, _request_timeout=ANSWER_SECONDS)
            text = answer.read()  # type: ignore[no-untyped-call]
            found = json.loads(text)
        except ApiException as error:
            # Status 0 is the client's own way to say that TLS failed.
            raise _NoAnswer(_one_line(error.reason)) from None
        except NewConnectionError as error:  # the library counts a refused connection among the timeouts
            raise _NoAnswer(_one_line(error).rpartition(": ")[2]) from None
        except (TimeoutError, urllib3.exceptions.TimeoutError):
            raise _NoAnswer(f"no answer within {ANSWER_SECONDS} s") from None
        except (HTTPError, OSError) as error:
            raise _NoAnswer(_one_line(error).rpartition(": ")[2]) from None
        except ValueError:
            raise _NotKubernetes from None
        if not 200 <= answer.status < 300:
            raise ApiException(status=answer.status, reason=answer.reason, body=text)
        return found


def ask_cluster(settings: GkeSettings, prefix: str) -> Facts:
    """What the cluster says. Raises SettingsError, with the remedy, where it does not."""
    with _connected(settings.cluster) as (access, api):
        where = "settings.cluster.name" if settings.cluster.name else "settings.cluster.context"
        at = f"{where}: {shown(access.title)} ({api.host})"
        try:
            return _facts(settings, prefix, access, api)
        except _NoAnswer as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise SettingsError(
                    f"{at} has a certificate that the kubeconfig's CA does not vouch for: get new credentials, for "
                    "example with gcloud container clusters get-credentials"
                ) from None
            raise SettingsError(
                f"{at} does not answer ({error}): check the address, and that this machine reaches it (VPN, "
                "authorized networks of the cluster)"
            ) from None
        except ApiException as error:
            if error.status in (401, 403):
                raise SettingsError(
                    f"{at} does not accept these credentials (status {error.status}): renew them, for example with "
                    "gcloud auth login, or gcloud container clusters get-credentials"
                ) from None
            raise SettingsError(f"{at} does not answer as it should ({_message(error)}): check the address") from None
        except _NotKubernetes:
            raise SettingsError(f"{at} answers what no API server of Kubernetes does: check the address") from None


def _facts(settings: GkeSettings, prefix: str, access: Access, api: _Api) -> Facts:
    # Anybody who is let in may ask this, so that a refusal is one of the credentials.
    _may(api, "", "namespaces", "get", "default")
    name = settings.namespace_for(prefix)
    found = _asked(lambda: api.get(f"/api/v1/namespaces/{name}"))
    namespace = _namespace(found) if found else None
    claim = settings.daemon.existing_claim or claim_name(prefix)
    takes_pods = namespace is None or not namespace.is_ending
    return Facts(
        access=access,
        missing_rights=_missing_rights(settings, name, api),
        namespace=namespace,
        storage_classes=_asked(lambda: _storage_classes(api)),
        owner=_asked(lambda: _owner(api, name, runner_name(prefix))),
        claim=_asked(lambda: _claim(api, name, claim, prefix)),
        refusal=_refusal(api, name if namespace else "default", settings)
        if settings.needs_daemon and takes_pods
        else None,
        enforcers=_asked(lambda: _enforcers(api)),
        version=_asked(lambda: _version(api)) or "",
        **(_asked(lambda: _about_nodes(api)) or {}),
    )


@contextmanager
def _connected(cluster: Cluster) -> Iterator[tuple[Access, _Api]]:
    """A client for the cluster. Raises SettingsError where kubeconfig, context or gcloud do not lead to one."""
    if cluster.name is not None:
        content = _from_google_cloud(cluster)
        title = f"{cluster.project}/{cluster.location}/{cluster.name}"
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(content)
            file.flush()
            access = Access(title=title, context=None, provider_kubeconfig=content)
            yield access, _client(file.name, None, f"settings.cluster.name: {shown(cluster.name)}")
        return
    assert cluster.context is not None
    kubeconfig = _kubeconfig(cluster)
    path = str(Path(cluster.kubeconfig).expanduser()) if cluster.kubeconfig else None
    access = Access(title=cluster.context, context=cluster.context, provider_kubeconfig=path)
    yield access, _client(kubeconfig, cluster.context, f"settings.cluster.context: {shown(cluster.context)}")


def _kubeconfig(cluster: Cluster) -> str:
    """The kubeconfig's path. Raises SettingsError where there is none, or no such context in it."""
    wanted = cluster.kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    path = wanted.strip(os.pathsep)
    if os.pathsep in path:
        raise SettingsError(
            f"settings.cluster.kubeconfig: {shown(wanted)} are several files, and Pulumi's provider takes one: name "
            "that with the context"
        )
    file = Path(path).expanduser()
    if not file.is_file():
        raise SettingsError(
            f"settings.cluster.kubeconfig: {shown(wanted)} is not there: name the file, or make one, for example with "
            "gcloud container clusters get-credentials"
        )
    try:
        contexts, _ = config.list_kube_config_contexts(str(file))  # type: ignore[no-untyped-call]
        known = sorted(each["name"] for each in contexts)
    except (ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        is_said = isinstance(error, ConfigException | yaml.YAMLError | OSError)
        reason = _one_line(error) if is_said else "its content is something else"
        raise SettingsError(
            f"settings.cluster.kubeconfig: {shown(wanted)} is no kubeconfig ({reason}): name another file"
        ) from None
    if cluster.context not in known:
        raise SettingsError(
            f"settings.cluster.context: {shown(cluster.context)} is not in {wanted}: use one of "
            f"{', '.join(known) or 'none, as it has no context'}, or add it, for example with gcloud container "
            "clusters get-credentials"
        )
    return str(file)


def _client(file: str, context: str | None, where: str) -> _Api:
    """A client by kubeconfig. Raises SettingsError where that, or the program that it names, gives no credentials."""
    settings = client.Configuration()
    refusals = _Refusals()
    done: Future[None] = Future()

    def load() -> None:
        try:
            config.load_kube_config(  # type: ignore[no-untyped-call]
                file, context=context, client_configuration=settings, persist_config=False
            )
            done.set_result(None)
        except Exception as error:
            done.set_exception(error)

    logging.getLogger().addHandler(refusals)
    try:
        # The library waits for a program that gives credentials as long as that likes.
        threading.Thread(target=load, daemon=True).start()
        done.result(CREDENTIALS_SECONDS)
        reason = refusals.text
    except FutureTimeout:
        reason = f"no credentials within {CREDENTIALS_SECONDS} s"
    except (ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        reason = _one_line(error)
    finally:
        logging.getLogger().removeHandler(refusals)
    if reason:
        raise SettingsError(
            f"{where} gives no credentials ({reason}): check with kubectl, and renew them, for example with gcloud "
            "auth login"
        )
    settings.retries = False
    if not settings.verify_ssl:
        # Said by the kubeconfig outright; a warning for each of some sixty requests says no more.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return _Api(settings)


class _Refusals(logging.Handler):
    """What a program that gives credentials answers instead: the library only logs it, and goes on without any."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR and record.module == "kube_config":
            self.text = _one_line(record.getMessage()).removeprefix("exec: ")


def _from_google_cloud(cluster: Cluster) -> str:
    """A kubeconfig, as JSON, for the cluster that gcloud knows; it holds no secret."""
    for program, remedy in (
        ("gcloud", "gcloud: https://cloud.google.com/sdk/docs/install"),
        ("gke-gcloud-auth-plugin", "it with: gcloud components install gke-gcloud-auth-plugin"),
    ):
        if shutil.which(program) is None:
            raise SettingsError(
                f"settings.cluster.name: {shown(cluster.name)} needs {program}, which is not on PATH: install "
                f"{remedy}; or name a context of a kubeconfig"
            )
    gcloud = shutil.which("gcloud") or "gcloud"
    command = [
        *(gcloud, "container", "clusters", "describe", str(cluster.name), f"--project={cluster.project}"),
        *(f"--location={cluster.location}", "--format=json(endpoint,masterAuth.clusterCaCertificate)"),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=CREDENTIALS_SECONDS, stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode:
            raise ValueError(done.stderr.strip() or f"gcloud ended with exit code {done.returncode}")
        found = json.loads(done.stdout)
        endpoint, authority = found["endpoint"], found["masterAuth"]["clusterCaCertificate"]
        if not endpoint or not authority:
            raise ValueError("it has no endpoint by IP address")
    except subprocess.TimeoutExpired:
        raise SettingsError(
            f"settings.cluster.name: {shown(cluster.name)} cannot be looked up, as gcloud does not answer within "
            f"{CREDENTIALS_SECONDS} s: check it with gcloud container clusters list"
        ) from None
    except (ValueError, LookupError, TypeError) as error:
        reason = f"no {error} in gcloud's answer" if isinstance(error, LookupError) else _one_line(error)
        raise SettingsError(
            f"settings.cluster.name: {shown(cluster.name)} is not found in project {cluster.project}, location "
            f"{cluster.location} ({reason}): check the three with gcloud container clusters list, and "
            "gcloud auth list"
        ) from None
    name = f"gke_{cluster.project}_{cluster.location}_{cluster.name}"
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [
                {"name": name, "cluster": {"server": _server(endpoint), "certificate-authority-data": authority}}
            ],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "users": [
                {
                    "name": name,
                    "user": {
                        "exec": {
                            "apiVersion": "client.authentication.k8s.io/v1beta1",
                            "command": "gke-gcloud-auth-plugin",
                            "interactiveMode": "Never",
                            "provideClusterInfo": True,
                        }
                    },
                }
            ],
        }
    )


def _server(endpoint: str) -> str:
    return endpoint if "://" in endpoint else f"https://{endpoint}"


def _missing_rights(settings: GkeSettings, namespace: str, api: _Api) -> tuple[str, ...]:
    """What the stack has to do and these credentials may not, as `verb resource`."""
    wanted = [(group, kind, verb) for group, kind in MANAGED for verb in MANAGING]
    wanted += [(group, kind, verb) for group, kind in WATCHED for verb in WATCHING]
    # Nobody can hand out a right that they do not have.
    wanted += [("", kind, verb) for kinds, verbs in JOB_RULES for kind in kinds for verb in verbs]
    wanted += [("", "namespaces", verb) for verb in (MANAGING if settings.create_namespace else ["get"])]
    wanted = list(dict.fromkeys(wanted))

    def may(right: tuple[str, str, str]) -> bool:
        return _may(api, *right, None if right[1] == "namespaces" and settings.create_namespace else namespace)

    with ThreadPoolExecutor(8) as pool:
        allowed = list(pool.map(may, wanted))
    return tuple(
        f"{verb} {kind}{f'.{group}' if group else ''}"
        for (group, kind, verb), yes in zip(wanted, allowed, strict=True)
        if not yes
    )


def _may(api: _Api, group: str, kind: str, verb: str, namespace: str | None) -> bool:
    resource, _, subresource = kind.partition("/")
    attributes = {"group": group, "resource": resource, "subresource": subresource, "verb": verb}
    if namespace is not None:
        attributes["namespace"] = namespace
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    try:
        return bool(answer["status"]["allowed"])
    except (LookupError, TypeError):
        raise _NotKubernetes from None


def _namespace(found: Any) -> Namespace:
    metadata = found["metadata"]
    return Namespace(labels=metadata.get("labels") or {}, is_ending="deletionTimestamp" in metadata)


def _storage_classes(api: _Api) -> tuple[StorageClass, ...]:
    drivers = {each["metadata"]["name"] for each in api.get("/apis/storage.k8s.io/v1/csidrivers")["items"]}
    return tuple(
        StorageClass(
            name=each["metadata"]["name"],
            is_csi=each["provisioner"] in drivers,
            is_default=(each["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true",
            can_grow=bool(each.get("allowVolumeExpansion")),
        )
        for each in api.get("/apis/storage.k8s.io/v1/storageclasses")["items"]
    )


def _owner(api: _Api, namespace: str, runner: str) -> str:
    metadata = api.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{runner}")["metadata"]
    return str((metadata.get("labels") or {}).get(STACK, "nobody"))


def _claim(api: _Api, namespace: str, name: str, prefix: str) -> ClaimFound:
    found = api.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}")
    pods = (_asked(lambda: api.get(f"/api/v1/namespaces/{namespace}/pods")) or {}).get("items", [])
    spec = found["spec"]
    return ClaimFound(
        name=name,
        size_gib=int(gibibytes(spec["resources"]["requests"]["storage"])),
        access_modes=tuple(spec["accessModes"]),
        storage_class=spec.get("storageClassName"),
        phase=found["status"].get("phase", "Pending"),
        stack=(found["metadata"].get("labels") or {}).get(STACK),
        users=tuple(pod["metadata"]["name"] for pod in pods if _uses(pod, name) and not _is_own(pod, prefix)),
    )


def _uses(pod: Any, claim: str) -> bool:
    claims = [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in pod["spec"].get("volumes", [])]
    return claim in claims and pod["status"].get("phase") not in ("Succeeded", "Failed")


def _is_own(pod: Any, prefix: str) -> bool:
    return bool(selector(prefix, "daemon").items() <= pod["metadata"].get("labels", {}).items())


def _refusal(api: _Api, namespace: str, settings: GkeSettings) -> str | None:
    """Why the cluster's admission refuses a privileged pod; Pod Security, which the namespace says itself, apart."""
    daemon = settings.daemon
    container = {
        "name": "dind",
        "image": daemon.image,
        "securityContext": {"privileged": True},
        # A quota of the namespace asks for them.
        "resources": quantities(daemon.cpu_request, daemon.memory_request_mib, daemon.cpus, daemon.memory_mib),
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "dindrunner-check"},
        "spec": {"automountServiceAccountToken": False, "containers": [container]},
    }
    try:
        api.post(f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)
    except ApiException as error:
        message = _message(error)
        if error.status in (400, 403, 422) and not any(each in message for each in _OTHER_REFUSALS):
            return message
    return None


def _enforcers(api: _Api) -> tuple[str, ...]:
    names = {each["metadata"]["name"] for each in api.get("/apis/apps/v1/daemonsets")["items"]}
    return tuple(sorted(names & POLICY_ENFORCERS))


def _version(api: _Api) -> str:
    """The version of Kubernetes: v1.34.4-gke.1193000. Empty where the API server says something else."""
    found = api.get("/version")
    version = found.get("gitVersion") if isinstance(found, dict) else None
    return version.removeprefix("v") if isinstance(version, str) else ""


def _about_nodes(api: _Api) -> dict[str, Any]:
    """The facts that come from the nodes, by name."""
    nodes = api.get("/api/v1/nodes")["items"]
    ranges = {text for node in nodes for text in node["spec"].get("podCIDRs", [])}
    # A node that has just been added has none of it yet.
    free = [node.get("status", {}).get("allocatable", {}) for node in nodes]
    return {
        "pod_ranges": tuple(ipaddress.IPv4Network(text) for text in sorted(ranges) if ":" not in text),
        "most_cpus": max((_amount(each["cpu"]) for each in free if "cpu" in each), default=None),
        "most_memory_mib": max(
            (int(_amount(each["memory"]) / 1024**2) for each in free if "memory" in each), default=None
        ),
    }


def gibibytes(quantity: str) -> float:
    """A quantity of bytes, such as `100Gi` or `5e10`, in GiB."""
    return _amount(quantity) / 1024**3


def _amount(quantity: str) -> float:
    found = amount(quantity)
    assert found is not None, f"the API server knows no quantity {quantity}"
    return found


def _asked(ask: Callable[[], T]) -> T | None:
    """An answer; None where there is no such thing, or these credentials may not ask for it."""
    try:
        return ask()
    except ApiException as error:
        if error.status not in (403, 404):
            raise
        return None


def _message(error: ApiException) -> str:
    """What the API server says, without the rest of its answer."""
    try:
        return str(json.loads(error.body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {error.status}"


def _one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__
