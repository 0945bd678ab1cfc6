"""How to get into a cluster: by a kubeconfig and its context, or by its name in Google Cloud."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from pathlib import Path

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.config.config_exception import ConfigException

from stacks.gke.api import Api, one_line
from stacks.gke.cluster import Access
from stacks.gke.settings import Cluster
from stacks.settings.mistakes import SettingsError, shown

CREDENTIALS_SECONDS = 60
"""How long gcloud, or another program that gives credentials, may take; its first call of a day renews them."""


@contextmanager
def connected(cluster: Cluster) -> Iterator[tuple[Access, Api]]:
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
    context = cluster.context or ""
    kubeconfig = _kubeconfig(cluster, context)
    path = str(Path(cluster.kubeconfig).expanduser()) if cluster.kubeconfig else None
    access = Access(title=context, context=context, provider_kubeconfig=path)
    yield access, _client(kubeconfig, context, f"settings.cluster.context: {shown(context)}")


def _kubeconfig(cluster: Cluster, context: str) -> str:
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
    if os.environ.get("CI") and (checkout := _checkout_of(file)):
        raise SettingsError(
            f"settings.cluster.kubeconfig: {shown(wanted)} is in the checkout {checkout}, and a kubeconfig can name "
            "programs to run: whoever writes a merge request would run them with the pipeline's credentials; keep it "
            "in a CI/CD variable of type file, KUBECONFIG"
        )
    try:
        contexts, _ = config.list_kube_config_contexts(str(file))  # type: ignore[no-untyped-call]
        known = sorted(each["name"] for each in contexts)
    except (ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        is_said = isinstance(error, ConfigException | yaml.YAMLError | OSError)
        reason = one_line(error) if is_said else "its content is something else"
        raise SettingsError(
            f"settings.cluster.kubeconfig: {shown(wanted)} is no kubeconfig ({reason}): name another file"
        ) from None
    if context not in known:
        raise SettingsError(
            f"settings.cluster.context: {shown(context)} is not in {wanted}: use one of "
            f"{', '.join(known) or 'none, as it has no context'}, or add it, for example with gcloud container "
            "clusters get-credentials"
        )
    return str(file)


def _checkout_of(file: Path) -> Path | None:
    """The pipeline's checkout, or the program's directory, that a file is in, also by a link; None where in neither."""
    folders = [Path(os.environ.get("CI_PROJECT_DIR") or "."), Path()]
    ways = [Path(os.path.abspath(file)), file.resolve()]
    return next(
        (
            folder.resolve()
            for folder in folders
            if any(way.is_relative_to(at) for way in ways for at in (folder.absolute(), folder.resolve()))
        ),
        None,
    )


def _client(file: str, context: str | None, where: str) -> Api:
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
        reason = one_line(error)
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
    return Api(settings)


class _Refusals(logging.Handler):
    """What a program that gives credentials answers instead: the library only logs it, and goes on without any."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR and record.module == "kube_config":
            self.text = one_line(record.getMessage()).removeprefix("exec: ")


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
        reason = f"no {error} in gcloud's answer" if isinstance(error, LookupError) else one_line(error)
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
