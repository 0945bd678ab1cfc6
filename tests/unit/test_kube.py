"""Asking a cluster, over HTTP against a server that answers as an API server does; and the ways to one."""

from __future__ import annotations

import base64
import dataclasses
import ipaddress
import json
import logging
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import config

from components.labels import kubernetes_labels as labels
from stacks.gke import api, credentials
from stacks.gke import questions as kube
from stacks.gke.cluster import Access, ClaimFound, Facts, Namespace, StorageClass
from stacks.gke.questions import ask_cluster, gibibytes
from stacks.settings.mistakes import SettingsError
from tests.unit.samples import gke_settings, runner
from tests.unit.web import Quiet, listening, self_signed

PREFIX = "ci-dev"
TOKEN = "cluster-s3cret"
DEFAULT = "storageclass.kubernetes.io/is-default-class"
RENEW = "renew them, for example with gcloud auth login, or gcloud container clusters get-credentials"
REACH = "check the address, and that this machine reaches it (VPN, authorized networks of the cluster)"
# As GKE Autopilot answers.
WARDEN = (
    'admission webhook "warden-validating.common-webhooks.networking.gke.io" denied the request: GKE Warden rejected '
    "the request because it violates one or more constraints.\nViolations details: "
    '{"[denied by autogke-disallow-privilege]":["container dind is privileged; not allowed in Autopilot"]}\n'
    "Requested by user: 'me@example.com', groups: 'system:authenticated'."
)
POD_SECURITY = (
    'pods "dindrunner-check" is forbidden: violates PodSecurity "baseline:latest": privileged (container "dind" must '
    "not set securityContext.privileged=true)"
)


@dataclass
class FakeCluster:
    """An API server.

    objects: what there is, by its path. answers: statuses and bodies that come instead, by the path's beginning; None
    closes the connection. denied: `verb resource` that these credentials may not. delay: seconds before each answer.
    asked: methods and paths, in their order; reviewed: attributes of the reviews of rights.
    """

    url: str = ""
    objects: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, tuple[int, Any] | None] = field(default_factory=dict)
    denied: set[str] = field(default_factory=set)
    delay: float = 0.0
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    reviewed: list[dict[str, str]] = field(default_factory=list)
    created: list[dict[str, Any]] = field(default_factory=list)

    def items(self, path: str, *items: dict[str, Any]) -> None:
        """Let there be a list at a path."""
        self.objects[path] = {"items": list(items)}

    def refuse(self, path: str, status: int, message: str = "forbidden") -> None:
        """Let every request below a path be refused, as an API server does that."""
        self.answers[path] = (status, {"kind": "Status", "status": "Failure", "code": status, "message": message})

    def work(self, method: str, path: str, body: Any) -> tuple[int, Any] | None:
        for beginning, answer in self.answers.items():
            if path.startswith(beginning):
                return answer
        if path.endswith("/selfsubjectaccessreviews"):
            attributes = body["spec"]["resourceAttributes"]
            self.reviewed.append(attributes)
            kind = "/".join(filter(None, (attributes["resource"], attributes["subresource"])))
            return 201, {"status": {"allowed": f"{attributes['verb']} {kind}" not in self.denied}}
        if method == "POST":
            self.created.append(body)
            return 201, body
        if path in self.objects:
            return 200, self.objects[path]
        return 404, {"kind": "Status", "status": "Failure", "code": 404, "message": "not found"}


@contextmanager
def running(certificate: Path | None = None) -> Iterator[FakeCluster]:
    """A FakeCluster that listens on a free port of 127.0.0.1."""
    cluster = FakeCluster()

    class Handler(Quiet):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            cluster.asked.append((self.command, self.path, self.headers.get("Authorization")))
            answer = cluster.work(self.command, self.path, body)
            time.sleep(cluster.delay)
            if answer is None:
                self.close_connection = True
                return
            status, found = answer
            payload = found.encode() if isinstance(found, str) else json.dumps(found).encode()
            # A client that has given up waiting is what some tests are about.
            with suppress(ConnectionError):
                self.send_response(status)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

        do_GET = do_POST = handle_any

    with listening(Handler, certificate) as cluster.url:
        yield cluster


@pytest.fixture
def all_rights() -> None:
    """For the tests that look at which rights are asked for."""


@pytest.fixture(autouse=True)
def few_rights(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asks for a few rights only: all of them are eighty requests, which took half the time of these tests."""
    if "all_rights" not in request.fixturenames:
        for name in ("MANAGED", "WATCHED", "JOB_RULES"):
            monkeypatch.setattr(kube, name, getattr(kube, name)[:1])


@pytest.fixture(name="cluster")
def _cluster() -> Iterator[FakeCluster]:
    """A Standard cluster with Dataplane V2, and nothing on it."""
    with running() as cluster:
        cluster.items("/api/v1/nodes", {"spec": {"podCIDR": "10.4.1.0/24", "podCIDRs": ["10.4.1.0/24"]}})
        cluster.items("/apis/apps/v1/daemonsets", *({"metadata": {"name": name}} for name in ("fluentbit", "anetd")))
        cluster.items("/apis/storage.k8s.io/v1/csidrivers", {"metadata": {"name": "pd.csi.storage.gke.io"}})
        cluster.items(
            "/apis/storage.k8s.io/v1/storageclasses",
            {
                "metadata": {"name": "standard-rwo", "annotations": {DEFAULT: "true"}},
                "provisioner": "pd.csi.storage.gke.io",
                "allowVolumeExpansion": True,
            },
            {"metadata": {"name": "standard"}, "provisioner": "kubernetes.io/gce-pd"},
        )
        yield cluster


@pytest.fixture(name="kubeconfig")
def _kubeconfig(tmp_path: Path, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubeconfig for it, which $KUBECONFIG names, with a context `mine` and a current one that leads nowhere."""
    path = tmp_path / "config"
    write(path, cluster.url)
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def write(path: Path, url: str, user: Mapping[str, Any] | None = None, authority: Path | None = None) -> None:
    """A kubeconfig whose context `mine` leads to this URL; authority: its CA."""
    trusted = {"certificate-authority": str(authority)} if authority else {}
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "other",
                "clusters": [
                    {"name": "cluster", "cluster": {"server": url, **trusted}},
                    {"name": "nowhere", "cluster": {"server": "http://127.0.0.1:1"}},
                ],
                "users": [{"name": "me", "user": dict(user if user is not None else {"token": TOKEN})}],
                "contexts": [
                    {"name": "other", "context": {"cluster": "nowhere", "user": "me"}},
                    {"name": "mine", "context": {"cluster": "cluster", "user": "me"}},
                ],
            }
        )
    )


def ask(**settings: Any) -> Facts:
    return ask_cluster(gke_settings(**settings), PREFIX)


def refusal(**settings: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        ask(**settings)
    return str(caught.value)


# what a cluster says


STANDARD = Facts(
    access=Access(title="mine", context="mine", provider_kubeconfig=None),
    storage_classes=(
        StorageClass(name="standard-rwo", is_csi=True, is_default=True, can_grow=True),
        StorageClass(name="standard", is_csi=False),
    ),
    enforcers=("anetd",),
    pod_ranges=(ipaddress.IPv4Network("10.4.1.0/24"),),
)
"""What the fixture `cluster` says."""


@pytest.mark.usefixtures("kubeconfig")
def test_a_cluster_says_what_it_is_and_has(cluster: FakeCluster) -> None:
    assert ask() == STANDARD
    assert {authorization for _, _, authorization in cluster.asked} == {f"Bearer {TOKEN}"}


@pytest.mark.usefixtures("kubeconfig")
@pytest.mark.parametrize(
    ("answer", "version"),
    [({"gitVersion": "v1.34.4-gke.1193000"}, "1.34.4-gke.1193000"), ({"gitVersion": None}, ""), ({}, ""), ([], "")],
)
def test_a_cluster_says_its_version(cluster: FakeCluster, answer: object, version: str) -> None:
    cluster.objects["/version"] = answer
    assert ask() == dataclasses.replace(STANDARD, version=version)


@pytest.mark.usefixtures("kubeconfig")
def test_nothing_is_changed_by_asking(cluster: FakeCluster) -> None:
    ask()
    written = {path for method, path, _ in cluster.asked if method != "GET"}
    assert written == {
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        "/api/v1/namespaces/default/pods?dryRun=All",
    }


@pytest.mark.usefixtures("kubeconfig")
@pytest.mark.parametrize(
    ("settings", "name"),
    [({}, PREFIX), ({"namespace": "ci"}, "ci"), ({"namespace": "ci", "create_namespace": False}, "ci")],
)
@pytest.mark.parametrize(
    ("metadata", "namespace"),
    [
        ({"labels": {"a": "b"}}, Namespace(labels={"a": "b"})),
        ({}, Namespace(labels={})),
        ({"labels": {}, "deletionTimestamp": "2026-01-01T00:00:00Z"}, Namespace(labels={}, is_ending=True)),
    ],
)
def test_a_namespace_that_is_there_is_described(
    cluster: FakeCluster, settings: dict[str, Any], name: str, metadata: dict[str, Any], namespace: Namespace
) -> None:
    cluster.objects[f"/api/v1/namespaces/{name}"] = {"metadata": metadata}
    assert ask(**settings).namespace == namespace
    checked = [path for method, path, _ in cluster.asked if "dryRun" in path]
    assert checked == ([] if namespace.is_ending else [f"/api/v1/namespaces/{name}/pods?dryRun=All"])


@pytest.mark.usefixtures("kubeconfig")
@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ([{"podCIDRs": ["10.4.1.0/24"]}, {"podCIDRs": ["10.4.0.0/24", "fd00::/64"]}], ["10.4.0.0/24", "10.4.1.0/24"]),
        ([{}], []),
        ([], []),
    ],
)
def test_addresses_of_pods_are_those_of_all_nodes_by_ipv4(
    cluster: FakeCluster, ranges: list[dict[str, Any]], expected: list[str]
) -> None:
    cluster.items("/api/v1/nodes", *({"spec": spec} for spec in ranges))
    assert [str(each) for each in ask().pod_ranges] == expected


@pytest.mark.usefixtures("kubeconfig")
# The latter only where that is switched on, which its name does not say.
@pytest.mark.parametrize("name", ["fluentbit", "aws-node"])
def test_a_cluster_where_nothing_enforces_network_policies_says_so(cluster: FakeCluster, name: str) -> None:
    cluster.items("/apis/apps/v1/daemonsets", {"metadata": {"name": name}})
    assert ask().enforcers == ()


@pytest.mark.usefixtures("kubeconfig")
@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize(
    ("path", "fact", "unknown"),
    [
        ("/apis/storage.k8s.io/v1/csidrivers", "storage_classes", None),
        ("/apis/storage.k8s.io/v1/storageclasses", "storage_classes", None),
        ("/apis/apps/v1/daemonsets", "enforcers", None),
        ("/api/v1/nodes", "pod_ranges", ()),
        (f"/api/v1/namespaces/{PREFIX}", "namespace", None),
    ],
)
def test_what_these_credentials_may_not_ask_is_left_open(
    cluster: FakeCluster, path: str, fact: str, unknown: Any, status: int
) -> None:
    cluster.refuse(path, status)
    assert ask() == dataclasses.replace(STANDARD, **{fact: unknown})


# claims


def claim(
    *modes: str, storage: str = "100Gi", phase: str = "Bound", metadata: Any = None, **spec: Any
) -> dict[str, Any]:
    return {
        "metadata": metadata or {},
        "spec": {"accessModes": list(modes), "resources": {"requests": {"storage": storage}}, **spec},
        "status": {"phase": phase},
    }


def pod(name: str, claim_name: str, phase: str = "Running", **labels: str) -> dict[str, Any]:
    volumes = [{"name": "a", "emptyDir": {}}, {"name": "b", "persistentVolumeClaim": {"claimName": claim_name}}]
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"volumes": volumes},
        "status": {"phase": phase},
    }


@pytest.mark.usefixtures("kubeconfig")
@pytest.mark.parametrize(
    ("settings", "namespace", "name"),
    [
        ({}, PREFIX, f"{PREFIX}-dind-data"),
        ({"namespace": "ci"}, "ci", f"{PREFIX}-dind-data"),
        ({"namespace": "ci", "create_namespace": False, "daemon": {"existing_claim": "cache"}}, "ci", "cache"),
    ],
)
def test_the_claim_is_the_stacks_own_unless_the_settings_name_one(
    cluster: FakeCluster, settings: dict[str, Any], namespace: str, name: str
) -> None:
    found = claim("ReadWriteOnce", storage="1Ti", phase="Pending", storageClassName="standard")
    cluster.objects[f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"] = found
    assert ask(**settings).claim == ClaimFound(
        name=name, size_gib=1024, access_modes=("ReadWriteOnce",), storage_class="standard", phase="Pending"
    )


@pytest.mark.usefixtures("kubeconfig")
@pytest.mark.parametrize(
    ("metadata", "stack"),
    [
        ({"labels": labels(PREFIX, "dev", "daemon")}, "dev"),
        ({"labels": labels(PREFIX, "other", "daemon")}, "other"),
        ({"labels": {"a": "b"}}, None),
        ({"labels": None}, None),
        ({}, None),
    ],
)
def test_a_claim_has_the_stack_that_made_it(cluster: FakeCluster, metadata: dict[str, Any], stack: str | None) -> None:
    path = f"/api/v1/namespaces/{PREFIX}/persistentvolumeclaims/{PREFIX}-dind-data"
    cluster.objects[path] = claim("ReadWriteOnce", metadata=metadata)
    found = ask().claim
    assert found is not None
    assert found.stack == stack


@pytest.mark.usefixtures("kubeconfig")
def test_a_claim_has_the_pods_that_use_it_without_the_stacks_own_daemon(cluster: FakeCluster) -> None:
    own = labels(PREFIX, "dev", "daemon")
    cluster.objects[f"/api/v1/namespaces/{PREFIX}/persistentvolumeclaims/{PREFIX}-dind-data"] = claim("ReadWriteMany")
    cluster.items(
        f"/api/v1/namespaces/{PREFIX}/pods",
        pod("web-0", f"{PREFIX}-dind-data"),
        pod("waits", f"{PREFIX}-dind-data", "Pending"),
        pod("ended", f"{PREFIX}-dind-data", "Succeeded"),
        pod("failed", f"{PREFIX}-dind-data", "Failed"),
        pod("other", "another"),
        pod(f"{PREFIX}-dind-0", f"{PREFIX}-dind-data", **own),
        pod("other-dind-0", f"{PREFIX}-dind-data", **labels("other", "dev", "daemon")),
        {"metadata": {"name": "bare"}, "spec": {}, "status": {}},
    )
    found = ask().claim
    assert found is not None
    assert found.users == ("web-0", "waits", "other-dind-0")
    cluster.refuse(f"/api/v1/namespaces/{PREFIX}/pods", 403)
    found = ask().claim
    assert found is not None
    assert found.users == ()


@pytest.mark.parametrize(
    ("quantity", "size"),
    [
        ("100Gi", 100),
        ("1Ti", 1024),
        ("2Pi", 2 * 1024**2),
        ("1Ei", 1024**3),
        ("512Mi", 0.5),
        ("1048576Ki", 1),
        ("1.5Gi", 1.5),
        ("1073741824", 1),
        ("1e3Gi", 1000),
        ("107374182400", 100),
        ("5e10", 5e10 / 1024**3),
        ("100G", 1e11 / 1024**3),
        ("1T", 1e12 / 1024**3),
        ("1E", 1e18 / 1024**3),
        # 10.1Gi, as the API server writes that.
        ("10844792422400m", 10.1),
    ],
)
def test_quantities_are_read_in_gibibytes(quantity: str, size: float) -> None:
    assert gibibytes(quantity) == pytest.approx(size)


# rights


@pytest.mark.usefixtures("kubeconfig", "all_rights")
def test_what_these_credentials_may_not_do_is_named(cluster: FakeCluster) -> None:
    cluster.denied = {"create secrets", "patch deployments", "create pods/exec", "list events", "watch pods"}
    assert ask().missing_rights == (
        "create secrets",
        "patch deployments.apps",
        "watch pods",
        "create pods/exec",
        "list events",
    )


@pytest.mark.usefixtures("kubeconfig", "all_rights")
@pytest.mark.parametrize(
    ("settings", "namespace", "verbs", "at"),
    [
        ({}, PREFIX, ["create", "delete", "get", "list", "patch", "watch"], None),
        ({"namespace": "ci"}, "ci", ["create", "delete", "get", "list", "patch", "watch"], None),
        ({"namespace": "ci", "create_namespace": False}, "ci", ["get"], "ci"),
    ],
)
def test_rights_are_asked_for_the_stacks_namespace_and_to_make_one_only_where_it_does(
    cluster: FakeCluster, settings: dict[str, Any], namespace: str, verbs: list[str], at: str | None
) -> None:
    cluster.denied = {f"{verb} namespaces" for verb in ("create", "delete", "list", "patch", "watch")}
    assert ask(**settings).missing_rights == tuple(f"{verb} namespaces" for verb in verbs if verb != "get")
    # The first is whether anybody is let in at all.
    first, *others = cluster.reviewed
    assert (first["verb"], first["resource"], first["namespace"]) == ("get", "namespaces", "default")
    namespaces = [asked for asked in others if asked["resource"] == "namespaces"]
    assert sorted(asked["verb"] for asked in namespaces) == verbs
    assert {asked.get("namespace") for asked in namespaces} == {at}
    assert {asked.get("namespace") for asked in others if asked not in namespaces} == {namespace}
    kinds = {(asked["group"], asked["resource"], asked["subresource"]) for asked in others}
    assert {("apps", "statefulsets", ""), ("", "pods", "exec"), ("rbac.authorization.k8s.io", "roles", "")} <= kinds


# privileged pods


@pytest.mark.usefixtures("kubeconfig")
def test_a_privileged_pod_is_tried_without_being_made(cluster: FakeCluster) -> None:
    assert ask(daemon={"image": "mine/dind:1", "cpus": 2.5, "memory_mib": 4096}).refusal is None
    (tried,) = cluster.created
    (container,) = tried["spec"]["containers"]
    assert (container["image"], container["securityContext"]) == ("mine/dind:1", {"privileged": True})
    # As the daemon's, which a quota of the namespace may ask for.
    assert container["resources"] == {
        "requests": {"cpu": "1", "memory": "2Gi"},
        "limits": {"cpu": "2500m", "memory": "4Gi"},
    }


@pytest.mark.usefixtures("kubeconfig")
def test_no_privileged_pod_is_tried_where_there_will_be_none(cluster: FakeCluster) -> None:
    ask(runners=[runner(kind="plain")])
    assert cluster.created == []


@pytest.mark.usefixtures("kubeconfig")
@pytest.mark.parametrize(
    ("status", "message", "reason"),
    [
        (400, WARDEN, WARDEN),
        (403, 'admission webhook "x" denied the request: no', 'admission webhook "x" denied the request: no'),
        (422, "spec.containers[0]: Forbidden: no", "spec.containers[0]: Forbidden: no"),
        # The namespace says that itself, by its label.
        (403, POD_SECURITY, None),
        # A missing right is said as one.
        (403, 'pods is forbidden: User "me" cannot create resource "pods" in API group "" in the namespace "x"', None),
        (409, 'pods "dindrunner-check" already exists', None),
        (403, 'pods "dindrunner-check" is forbidden: exceeded quota: ci, requested: requests.cpu=1', None),
        (403, 'pods "x" is forbidden: error looking up service account x/default: not found', None),
        (500, "etcd is slow", None),
    ],
)
def test_what_refuses_a_privileged_pod_is_told_apart_from_what_is_said_elsewhere(
    cluster: FakeCluster, status: int, message: str, reason: str | None
) -> None:
    cluster.refuse("/api/v1/namespaces/default/pods", status, message)
    assert ask().refusal == reason


# a cluster that does not answer


@pytest.mark.usefixtures("kubeconfig")
@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_are_not_known_are_to_be_renewed(cluster: FakeCluster, status: int) -> None:
    cluster.refuse("/", status, "Unauthorized")
    assert refusal() == (
        f"settings.cluster.context: 'mine' ({cluster.url}) does not accept these credentials (status {status}): {RENEW}"
    )
    assert len(cluster.asked) == 1


@pytest.mark.usefixtures("kubeconfig")
@pytest.mark.parametrize(
    "answer",
    [
        (200, "<html>hello</html>"),
        (404, "<html>not found</html>"),
        (502, ""),
        (200, "null"),
        (201, {}),
        (201, []),
        (201, {"status": None}),
    ],
)
def test_another_server_is_no_api_server(cluster: FakeCluster, answer: tuple[int, Any]) -> None:
    cluster.answers["/"] = answer
    assert refusal() == (
        f"settings.cluster.context: 'mine' ({cluster.url}) answers what no API server of Kubernetes does: check the "
        "address"
    )


@pytest.mark.usefixtures("kubeconfig", "cluster")
@pytest.mark.parametrize("error", [KeyError, TypeError, AttributeError])
def test_a_fault_of_this_program_is_not_blamed_on_the_address(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise error("spec")

    monkeypatch.setattr(kube, "_about_nodes", fails)
    with pytest.raises(error):
        ask()


@pytest.mark.usefixtures("kubeconfig")
@pytest.mark.parametrize(
    ("path", "said"), [("/apis/authorization", "no such resource"), ("/apis/storage", "etcdserver: leader changed")]
)
def test_an_api_server_that_fails_is_quoted(cluster: FakeCluster, path: str, said: str) -> None:
    cluster.refuse(path, 500, said)
    assert refusal() == (
        f"settings.cluster.context: 'mine' ({cluster.url}) does not answer as it should ({said}): check the address"
    )


def test_an_address_where_nothing_listens_is_said(kubeconfig: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    write(kubeconfig, url)
    assert refusal() == (
        f"settings.cluster.context: 'mine' ({url}) does not answer ([Errno 111] Connection refused): {REACH}"
    )


@pytest.mark.usefixtures("kubeconfig")
def test_a_cluster_that_is_too_slow_is_given_up(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "ANSWER_SECONDS", 0.3)
    cluster.delay = 5
    begun = time.monotonic()
    assert refusal() == (
        f"settings.cluster.context: 'mine' ({cluster.url}) does not answer (no answer within 0.3 s): {REACH}"
    )
    assert time.monotonic() - begun < 4


@pytest.mark.usefixtures("kubeconfig")
def test_a_cluster_that_goes_away_in_the_middle_is_said(cluster: FakeCluster) -> None:
    cluster.answers["/apis/storage"] = None
    assert refusal().startswith(f"settings.cluster.context: 'mine' ({cluster.url}) does not answer (")


def test_a_certificate_of_another_ca_is_not_trusted(tmp_path: Path, kubeconfig: Path) -> None:
    certificate, other = self_signed(tmp_path), self_signed(tmp_path, "other")
    with running(certificate) as cluster:
        write(kubeconfig, cluster.url, authority=other)
        assert refusal() == (
            f"settings.cluster.context: 'mine' ({cluster.url}) has a certificate that the kubeconfig's CA does not "
            "vouch for: get new credentials, for example with gcloud container clusters get-credentials"
        )
        # With the right one, it answers.
        write(kubeconfig, cluster.url, authority=certificate)
        assert ask().missing_rights == ()


# the way by kubeconfig


def test_a_kubeconfig_of_the_settings_goes_before_that_of_the_environment(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    found = ask(cluster={"context": "mine", "kubeconfig": str(kubeconfig)})
    assert found.access == Access(title="mine", context="mine", provider_kubeconfig=str(kubeconfig))


@pytest.mark.parametrize("in_settings", [True, False])
def test_a_home_directory_is_found(kubeconfig: Path, in_settings: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    home = kubeconfig.parent
    (home / ".kube").mkdir()
    kubeconfig.rename(home / ".kube/config")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("KUBECONFIG")
    more = {"kubeconfig": "~/.kube/config"} if in_settings else {}
    expected = str(home / ".kube/config") if in_settings else None
    assert ask(cluster={"context": "mine", **more}).access.provider_kubeconfig == expected


def test_the_context_is_never_the_current_one_unasked(kubeconfig: Path, cluster: FakeCluster) -> None:
    assert yaml.safe_load(kubeconfig.read_text())["current-context"] == "other"
    assert ask().access.context == "mine"
    assert cluster.asked


@pytest.mark.parametrize("by", ["settings", "environment", "nobody"])
def test_a_kubeconfig_that_is_not_there_is_missed(by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    if by == "environment":
        monkeypatch.setenv("KUBECONFIG", "/nowhere/config")
    more = {"kubeconfig": "/nowhere/config"} if by == "settings" else {}
    path = "~/.kube/config" if by == "nobody" else "/nowhere/config"
    assert refusal(cluster={"context": "mine", **more}) == (
        f"settings.cluster.kubeconfig: '{path}' is not there: name the file, or make one, for example with gcloud "
        "container clusters get-credentials"
    )


@pytest.mark.parametrize("by", ["settings", "environment", "a link into it", "a link out of it", "the program"])
def test_a_kubeconfig_of_the_checkout_is_refused_in_a_pipeline(
    by: str, kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "builds" / "project"
    checkout.mkdir(parents=True)
    inside, link = checkout / "kubeconfig", tmp_path / "link"
    inside.write_text(kubeconfig.read_text())
    link.symlink_to(inside)
    wanted = link if by == "a link into it" else inside
    if by == "a link out of it":
        inside.unlink()
        inside.symlink_to(kubeconfig)
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("CI_PROJECT_DIR", str(tmp_path / "other" if by == "the program" else checkout))
    if by == "the program":
        monkeypatch.chdir(checkout)
    if by == "environment":
        monkeypatch.setenv("KUBECONFIG", str(wanted))
    more = {} if by == "environment" else {"kubeconfig": str(wanted)}
    assert refusal(cluster={"context": "mine", **more}) == (
        f"settings.cluster.kubeconfig: '{wanted}' is in the checkout {checkout}, and a kubeconfig can name programs to "
        "run: whoever writes a merge request would run them with the pipeline's credentials; keep it in a CI/CD "
        "variable of type file, KUBECONFIG"
    )


@pytest.mark.usefixtures("cluster")
def test_a_variable_of_type_file_is_beside_the_checkout_and_taken(
    kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "builds" / "project.tmp" / "KUBECONFIG"
    file.parent.mkdir(parents=True)
    file.write_text(kubeconfig.read_text())
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("CI_PROJECT_DIR", str(tmp_path / "builds" / "project"))
    assert ask(cluster={"context": "mine", "kubeconfig": str(file)}).access.context == "mine"


def test_several_kubeconfigs_are_too_many_for_the_provider(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = f"{kubeconfig}:{kubeconfig}.other"
    monkeypatch.setenv("KUBECONFIG", both)
    assert refusal() == (
        f"settings.cluster.kubeconfig: '{both}' are several files, and Pulumi's provider takes one: name that with the "
        "context"
    )


@pytest.mark.parametrize("content", ["", "[]", "a: b", "a: [", "contexts: 5", "\0", "\x80", "contexts: [{}]"])
def test_a_file_that_is_no_kubeconfig_is_refused(kubeconfig: Path, content: str) -> None:
    kubeconfig.write_bytes(content.encode("latin-1"))
    message = refusal()
    assert message.startswith(f"settings.cluster.kubeconfig: '{kubeconfig}' is no kubeconfig (")
    assert message.endswith("): name another file")
    assert "\n" not in message


@pytest.mark.usefixtures("cluster")
def test_a_context_that_is_not_in_the_kubeconfig_is_refused_with_those_that_are(kubeconfig: Path) -> None:
    assert refusal(cluster={"context": "min"}) == (
        f"settings.cluster.context: 'min' is not in {kubeconfig}: use one of mine, other, or add it, for example with "
        "gcloud container clusters get-credentials"
    )


def test_a_program_that_gives_credentials_is_asked(kubeconfig: Path, cluster: FakeCluster, tmp_path: Path) -> None:
    gives(tmp_path / "plugin", {"token": "from-s3cret-program"})
    write(kubeconfig, cluster.url, {"exec": exec_of(tmp_path / "plugin")})
    ask()
    assert {authorization for _, _, authorization in cluster.asked} == {"Bearer from-s3cret-program"}


def gives(path: Path, status: dict[str, str]) -> None:
    """A program that gives credentials."""
    answer = {"apiVersion": "client.authentication.k8s.io/v1beta1", "kind": "ExecCredential", "status": status}
    program(path, f"echo '{json.dumps(answer)}'")


def exec_of(path: Path) -> dict[str, Any]:
    return {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": str(path),
        "interactiveMode": "Never",
        "provideClusterInfo": False,
    }


def program(path: Path, commands: str) -> None:
    path.write_text(f"#!/bin/sh\n{commands}\n")
    path.chmod(0o755)


def test_a_program_that_gives_no_credentials_is_quoted(kubeconfig: Path, cluster: FakeCluster, tmp_path: Path) -> None:
    program(tmp_path / "plugin", "echo 'run gcloud auth login' >&2; exit 1")
    write(kubeconfig, cluster.url, {"exec": exec_of(tmp_path / "plugin")})
    message = refusal()
    assert message.startswith("settings.cluster.context: 'mine' gives no credentials (")
    assert "process returned 1" in message
    assert message.endswith("): check with kubectl, and renew them, for example with gcloud auth login")
    assert cluster.asked == []


@pytest.mark.usefixtures("cluster", "kubeconfig")
def test_what_others_log_meanwhile_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    load = config.load_kube_config

    def load_while_others_log(*args: Any, **more: Any) -> None:
        logging.getLogger("grpc").error("a connection was reset")
        load(*args, **more)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(config, "load_kube_config", load_while_others_log)
    assert ask() == STANDARD


def test_a_program_that_is_not_there_is_named(kubeconfig: Path, cluster: FakeCluster, tmp_path: Path) -> None:
    write(kubeconfig, cluster.url, {"exec": exec_of(tmp_path / "gke-gcloud-auth-plugin")})
    message = refusal()
    assert message.startswith("settings.cluster.context: 'mine' gives no credentials (")
    assert "gke-gcloud-auth-plugin" in message
    assert cluster.asked == []


def test_a_program_that_does_not_answer_is_given_up(
    kubeconfig: Path, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "CREDENTIALS_SECONDS", 0.3)
    program(tmp_path / "plugin", "exec sleep 3")
    write(kubeconfig, cluster.url, {"exec": exec_of(tmp_path / "plugin")})
    begun = time.monotonic()
    assert refusal() == (
        "settings.cluster.context: 'mine' gives no credentials (no credentials within 0.3 s): check with kubectl, and "
        "renew them, for example with gcloud auth login"
    )
    assert time.monotonic() - begun < 2.8


def test_no_message_shows_a_token(kubeconfig: Path, cluster: FakeCluster) -> None:
    cluster.refuse("/", 401)
    refused = refusal()
    write(kubeconfig, "http://127.0.0.1:1")
    assert TOKEN not in refused + refusal()


# the way by Google Cloud

GKE: dict[str, str] = {"project": "p", "location": "europe-west3", "name": "ci"}


@pytest.fixture(name="gcloud")
def _gcloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is all of PATH before the system's, with gcloud and its plugin, which gives a token."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    gives(directory / "gke-gcloud-auth-plugin", {"token": "from-google"})
    return directory


def describes(directory: Path, answer: object) -> None:
    """A gcloud that answers this, and says in `asked` how it was called."""
    program(directory / "gcloud", f'echo "$*" > {directory}/asked\ncat <<"EOF"\n{json.dumps(answer)}\nEOF')


def described(endpoint: object, certificate: bytes = b"a CA") -> dict[str, Any]:
    authority = base64.b64encode(certificate).decode()
    return {"endpoint": endpoint, "masterAuth": {"clusterCaCertificate": authority}}


def test_a_cluster_in_google_cloud_is_reached_with_the_credentials_of_gcloud(gcloud: Path, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    with running(certificate) as cluster:
        describes(gcloud, described(cluster.url.removeprefix("https://"), certificate.read_bytes()))
        access = ask(cluster=GKE).access
    assert (gcloud / "asked").read_text() == (
        "container clusters describe ci --project=p --location=europe-west3 "
        "--format=json(endpoint,masterAuth.clusterCaCertificate)\n"
    )
    assert {authorization for _, _, authorization in cluster.asked} == {"Bearer from-google"}
    assert (access.title, access.context) == ("p/europe-west3/ci", None)
    kubeconfig = json.loads(access.provider_kubeconfig or "")
    assert kubeconfig["clusters"] == [
        {
            "name": "gke_p_europe-west3_ci",
            "cluster": {
                "server": cluster.url,
                "certificate-authority-data": base64.b64encode(certificate.read_bytes()).decode(),
            },
        }
    ]
    # It is in the stack's state, so that it must not hold a token.
    assert "from-google" not in json.dumps(kubeconfig)
    assert kubeconfig["users"][0]["user"]["exec"]["command"] == "gke-gcloud-auth-plugin"


@pytest.mark.parametrize(
    ("missing", "remedy"),
    [
        ("gcloud", "gcloud, which is not on PATH: install gcloud: https://cloud.google.com/sdk/docs/install"),
        (
            "gke-gcloud-auth-plugin",
            "gke-gcloud-auth-plugin, which is not on PATH: install it with: gcloud components install "
            "gke-gcloud-auth-plugin",
        ),
    ],
)
def test_a_program_of_google_cloud_that_is_missing_is_named(
    gcloud: Path, missing: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    describes(gcloud, described("127.0.0.1"))
    (gcloud / missing).unlink()
    monkeypatch.setenv("PATH", str(gcloud))
    assert refusal(cluster=GKE) == (f"settings.cluster.name: 'ci' needs {remedy}; or name a context of a kubeconfig")


NOT_FOUND = "settings.cluster.name: 'ci' is not found in project p, location europe-west3"
CHECK = "check the three with gcloud container clusters list, and gcloud auth list"


@pytest.mark.parametrize(
    ("commands", "reason"),
    [
        (
            "echo 'ERROR: (gcloud.container.clusters.describe)' >&2; echo 'code=404, message=Not found' >&2; exit 1",
            "ERROR: (gcloud.container.clusters.describe) code=404, message=Not found",
        ),
        ("exit 3", "gcloud ended with exit code 3"),
        ("echo '{}'", "no 'endpoint' in gcloud's answer"),
        ("""echo '{"endpoint": "10.0.0.2", "masterAuth": {}}'""", "no 'clusterCaCertificate' in gcloud's answer"),
        (
            """echo '{"endpoint": "", "masterAuth": {"clusterCaCertificate": "eA=="}}'""",
            "it has no endpoint by IP address",
        ),
    ],
)
def test_a_cluster_that_gcloud_does_not_find_is_said_in_its_words(gcloud: Path, commands: str, reason: str) -> None:
    program(gcloud / "gcloud", commands)
    assert refusal(cluster=GKE) == f"{NOT_FOUND} ({reason}): {CHECK}"


@pytest.mark.parametrize("answer", ["", "no JSON", "[]", "null", '{"endpoint": "a", "masterAuth": null}'])
def test_an_answer_of_gcloud_that_makes_no_sense_is_refused(gcloud: Path, answer: str) -> None:
    program(gcloud / "gcloud", f"echo '{answer}'")
    message = refusal(cluster=GKE)
    assert message.startswith(f"{NOT_FOUND} (")
    assert message.endswith(f"): {CHECK}")


def test_a_gcloud_that_does_not_answer_is_given_up(gcloud: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "CREDENTIALS_SECONDS", 0.3)
    program(gcloud / "gcloud", "exec sleep 3")
    assert refusal(cluster=GKE) == (
        "settings.cluster.name: 'ci' cannot be looked up, as gcloud does not answer within 0.3 s: check it with gcloud "
        "container clusters list"
    )


def test_a_plugin_of_gcloud_that_gives_no_credentials_is_quoted(gcloud: Path) -> None:
    describes(gcloud, described("127.0.0.1:1"))
    program(gcloud / "gke-gcloud-auth-plugin", "exit 1")
    assert refusal(cluster=GKE).startswith("settings.cluster.name: 'ci' gives no credentials (")


def test_a_cluster_in_google_cloud_that_does_not_answer_is_named_by_all_three(gcloud: Path, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    describes(gcloud, described("127.0.0.1:1", certificate.read_bytes()))
    assert refusal(cluster=GKE).startswith(
        "settings.cluster.name: 'p/europe-west3/ci' (https://127.0.0.1:1) does not answer ("
    )
