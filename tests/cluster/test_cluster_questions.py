"""What the GKE target asks a cluster and refuses, and that a real API server takes what the target makes."""

from __future__ import annotations

import base64
import json
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from components.kubernetes.runner import JOB_RULES
from components.labels import kubernetes_labels as labels
from stacks.gke.cluster import Facts, check_cluster, fitted, warnings_about_cluster
from stacks.gke.questions import MANAGED, MANAGING, WATCHED, WATCHING, ask_cluster
from stacks.gke.settings import GkeSettings
from stacks.settings.mistakes import SettingsError
from stacks.targets import build
from tests.cluster.api import ApiError, Cluster
from tests.cluster.control_plane import ControlPlane
from tests.engine.world import unique, wait_for
from tests.unit.recording import Recording, Secret, run
from tests.unit.samples import API_TOKEN, LOOKUPS, gke_settings, runner, stack_of

STACK = "dev"
GONE_SECONDS = 120
EFFECT_SECONDS = 30
"""How long the API server may take to heed a new policy, or to forget an old one."""

RBAC = "rbac.authorization.k8s.io"
ADMISSION = "admissionregistration.k8s.io/v1"
CSI_DRIVER = "pd.csi.storage.gke.io"
PLAIN_ONLY: dict[str, Any] = {"runners": [runner(kind="plain")]}


class World:
    """The API server, and what one test has made there."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.api = Cluster(plane.client(), "default")
        self.namespaces: list[dict[str, Any]] = []
        self._made: list[dict[str, Any]] = []

    def make(self, *objects: dict[str, Any]) -> None:
        """Make objects, strictly checked; they go with the test."""
        for each in objects:
            self._made.append(each)
            self.api.apply(each, manager="test")

    def leave(self, *objects: dict[str, Any]) -> None:
        """What somebody else makes goes with the test as well."""
        self._made += objects

    def namespace(self, *, own: str = "", **more: str) -> str:
        """A new namespace. own: the prefix of the stack that it belongs to. more: labels, with _ for the rest."""
        name = own or unique("q")
        found = {**(labels(own, STACK, "namespace") if own else {}), **more}
        self.make(thing("Namespace", name, labels=found))
        return name

    def user(self, *rules: Mapping[str, Sequence[str]], namespace: str | None = None) -> Path:
        """The kubeconfig of a user who has these rights, and no others."""
        name = unique("u")
        kind = "Role" if namespace else "ClusterRole"
        for each in (f"{kind}Binding", kind):
            self._made.append(thing(each, f"test-{name}", f"{RBAC}/v1", namespace=namespace))
        return self.plane.add_user(name, *rules, namespace=namespace)

    def clean(self) -> None:
        """Delete what was made, the latest first; of namespaces, only ask for it."""
        for each in reversed(self._made):
            try:
                self.api.delete(each, "Background")
            except ApiError as error:
                if not error.is_not_found:
                    raise
            if each["kind"] == "Namespace":
                self.namespaces.append(each)
        self._made.clear()

    def wait_until_gone(self) -> None:
        """Wait for the namespaces of all tests."""
        wait_for("the tests' namespaces to go", GONE_SECONDS, self._are_gone)

    def wait_for_account(self, namespace: str) -> None:
        """Wait for the account as which its pods run unless they say otherwise: without it, they are refused."""
        account = thing("ServiceAccount", "default", namespace=namespace)
        wait_for(f"the account of namespace {namespace}", EFFECT_SECONDS, lambda: self.api.get(account))

    def _are_gone(self) -> bool | None:
        return None if any(self.api.get(each) for each in self.namespaces) else True


@pytest.fixture(scope="module", name="worlds")
def _worlds(control_plane: ControlPlane) -> Iterator[World]:
    world = World(control_plane)
    yield world
    world.wait_until_gone()


@pytest.fixture(name="world")
def _world(worlds: World) -> Iterator[World]:
    yield worlds
    worlds.clean()


def thing(
    kind: str, name: str, version: str = "v1", *, namespace: str | None = None, body: Any = None, **metadata: Any
) -> dict[str, Any]:
    """An object of Kubernetes. body: everything but its metadata."""
    place = {"namespace": namespace} if namespace else {}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **place, **metadata}, **(body or {})}


def storage_class(name: str, *, driver: str = "kubernetes.io/host-path") -> Any:
    """The cluster's default class."""
    about = {"storageclass.kubernetes.io/is-default-class": "true"}
    return thing("StorageClass", name, "storage.k8s.io/v1", body={"provisioner": driver}, annotations=about)


def csi_driver() -> Any:
    return thing("CSIDriver", CSI_DRIVER, "storage.k8s.io/v1", body={"spec": {}})


def claim(name: str, namespace: str, *, of_class: str) -> Any:
    resources = {"requests": {"storage": "100Gi"}}
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": of_class, "resources": resources}
    return thing("PersistentVolumeClaim", name, namespace=namespace, body={"spec": spec})


def settings_for(world: World, kubeconfig: Path | None = None, **more: Any) -> GkeSettings:
    where = {"context": world.plane.context, "kubeconfig": str(kubeconfig or world.plane.kubeconfig)}
    return gke_settings(**{"cluster": where, **more})


def ask(world: World, prefix: str = "stack", kubeconfig: Path | None = None, **more: Any) -> tuple[GkeSettings, Facts]:
    """The settings completed by the cluster, and what it said. Raises SettingsError as a stack would."""
    settings = settings_for(world, kubeconfig, **more)
    facts = ask_cluster(settings, prefix)
    check_cluster(settings, facts, prefix, STACK)
    return fitted(settings, facts), facts


def refusal(world: World, prefix: str = "stack", kubeconfig: Path | None = None, **more: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        ask(world, prefix, kubeconfig, **more)
    return str(caught.value)


def written(directory: Path, text: str | bytes) -> Path:
    """A kubeconfig of this content."""
    file = directory / "kubeconfig"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def changed_kubeconfig(world: World, directory: Path, *, user: Mapping[str, str] | None = None, **cluster: str) -> Path:
    """The administrator's kubeconfig with another user, or with another address or CA of the cluster."""
    content = yaml.safe_load(world.plane.kubeconfig.read_text())
    content["clusters"][0]["cluster"] |= {key.replace("_", "-"): value for key, value in cluster.items()}
    if user is not None:
        content["users"][0]["user"] = dict(user)
    return written(directory, yaml.safe_dump(content))


GET_CREDENTIALS = "gcloud container clusters get-credentials"


def address(world: World, url: str = "") -> str:
    """How messages call the cluster."""
    return f"settings.cluster.context: '{world.plane.context}' ({url or world.plane.url})"


@pytest.mark.parametrize(("user", "status"), [({"token": "wrong"}, 401), ({}, 403)], ids=["wrong token", "nobody"])
def test_credentials_that_the_cluster_does_not_know_are_told_as_such(
    world: World, tmp_path: Path, user: dict[str, str], status: int
) -> None:
    assert refusal(world, kubeconfig=changed_kubeconfig(world, tmp_path, user=user)) == (
        f"{address(world)} does not accept these credentials (status {status}): renew them, for example with gcloud "
        f"auth login, or {GET_CREDENTIALS}"
    )


def test_a_kubeconfig_that_waives_verification_is_not_warned_about_sixty_times(
    world: World, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    world.make(storage_class("plain"))
    content = yaml.safe_load(world.plane.kubeconfig.read_text())
    content["clusters"][0]["cluster"] = {"server": world.plane.url, "insecure-skip-tls-verify": True}
    ask(world, kubeconfig=written(tmp_path, yaml.safe_dump(content)))
    assert [str(one.message) for one in recwarn] == []


def missing_rights(world: World, namespace: str, rights: str) -> str:
    return (
        f"settings.cluster: '{world.plane.context}' does not let these credentials do in namespace {namespace} what "
        f"the stack needs: {rights}. Have somebody grant it, for example by the role roles/container.admin in Google "
        "Cloud, or by a RoleBinding to ClusterRole admin"
    )


def rules(*without: tuple[str, str]) -> list[dict[str, Sequence[str]]]:
    """All that the stack does in its namespace, but for some rights, each a resource and a verb."""
    wanted = [(group, kind, verb) for group, kind in MANAGED for verb in MANAGING]
    wanted += [(group, kind, verb) for group, kind in WATCHED for verb in WATCHING]
    wanted += [("", kind, verb) for kinds, verbs in JOB_RULES for kind in kinds for verb in verbs]
    return [
        {"apiGroups": [group], "resources": [kind], "verbs": [verb]}
        for group, kind, verb in dict.fromkeys(wanted)
        if (kind, verb) not in without
    ]


def on_namespaces(*verbs: str) -> dict[str, Sequence[str]]:
    return {"apiGroups": [""], "resources": ["namespaces"], "verbs": verbs}


def test_a_user_is_told_exactly_what_is_missing(world: World) -> None:
    some = rules(("statefulsets", "patch"), ("pods/exec", "create"))
    user = world.user(*some, on_namespaces(*MANAGING))
    told = missing_rights(world, "elsewhere", "patch statefulsets.apps, create pods/exec")
    assert refusal(world, namespace="elsewhere", kubeconfig=user) == told


def test_of_what_a_user_may_not_list_nothing_is_said(world: World) -> None:
    """Rights in the namespace alone: no storage classes, no daemonsets of other namespaces, no nodes."""
    namespace = world.namespace()
    user = world.user(*rules(), on_namespaces("get"), namespace=namespace)
    found, facts = ask(world, kubeconfig=user, namespace=namespace, create_namespace=False)
    assert (facts.storage_classes, facts.enforcers, facts.pod_ranges, facts.refusal) == (None, None, (), None)
    assert found.daemon.claim.access_mode == "ReadWriteOnce"
    assert list(warnings_about_cluster(found, facts)) == [
        f"settings.network.policy: {world.plane.context} does not say whether it enforces NetworkPolicy, without which "
        "every pod of the cluster reaches the daemon's port, where only the client's certificate keeps it out. On GKE, "
        "use Dataplane V2, or see https://cloud.google.com/kubernetes-engine/docs/how-to/network-policy"
    ]


def test_clusterrole_admin_in_its_namespace_is_enough_for_a_stack_that_makes_none(world: World) -> None:
    """ClusterRole admin is the sum of three, which only another controller adds up."""
    namespace = world.namespace()
    user = world.user(on_namespaces("watch"), namespace=namespace)
    name = user.stem
    for part in ("admin", "edit", "view"):
        world.make(
            thing(
                "RoleBinding",
                part,
                f"{RBAC}/v1",
                namespace=namespace,
                body={
                    "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": f"system:aggregate-to-{part}"},
                    "subjects": [{"apiGroup": RBAC, "kind": "User", "name": name}],
                },
            )
        )
    _, facts = ask(world, kubeconfig=user, namespace=namespace, create_namespace=False)
    assert facts.missing_rights == ()
    assert facts.namespace is not None


def test_a_namespace_that_a_user_may_not_look_at_is_not_taken_for_one_that_is_not_there(world: World) -> None:
    namespace = world.namespace()
    user = world.user(*rules(), namespace=namespace)
    told = missing_rights(world, namespace, "get namespaces")
    assert refusal(world, kubeconfig=user, namespace=namespace, create_namespace=False) == told


@contextmanager
def policy(world: World, namespace: str, message: str) -> Iterator[str]:
    """The name of an admission policy that refuses privileged pods in a namespace, from when to when it is heeded."""
    name = unique("policy")
    no_privilege = (
        "!object.spec.containers.exists(c, has(c.securityContext) && has(c.securityContext.privileged) && "
        "c.securityContext.privileged)"
    )
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": no_privilege, "message": message, "reason": "Forbidden"}],
    }
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    binding = {"policyName": name, "validationActions": ["Deny"], "matchResources": here}

    def refuses() -> bool:
        return ask_cluster(settings_for(world, namespace=namespace), "stack").refusal is not None

    world.make(
        thing("ValidatingAdmissionPolicy", name, ADMISSION, body={"spec": spec}),
        thing("ValidatingAdmissionPolicyBinding", name, ADMISSION, body={"spec": binding}),
    )
    wait_for("the policy to be heeded", EFFECT_SECONDS, lambda: refuses() or None)
    try:
        yield name
    finally:
        world.clean()
        wait_for("the policy to be forgotten", EFFECT_SECONDS, lambda: None if refuses() else True)


def test_autopilot_is_told_as_such(world: World) -> None:
    warden = (
        "GKE Warden rejected the request because it violates one or more constraints. Violations details: "
        '{"[denied by autogke-disallow-privilege]":["container dind is privileged; not allowed in Autopilot"]}'
    )
    world.make(storage_class("plain"))
    # As the stack's own namespace is not there yet, another has to do.
    with policy(world, "default", warden):
        assert refusal(world) == (
            f"settings.cluster: '{world.plane.context}' is a GKE Autopilot cluster, which refuses privileged pods, and "
            "a Docker daemon needs one: use a Standard cluster"
        )
        ask(world, **PLAIN_ONLY)


def test_another_policy_against_privileged_pods_is_told_in_its_own_words(world: World) -> None:
    world.make(storage_class("plain"))
    namespace = world.namespace(own=unique("q"))
    with policy(world, namespace, "privileged pods are for others") as name:
        assert refusal(world, namespace) == (
            f"settings.cluster: '{world.plane.context}' refuses a privileged pod, and a Docker daemon needs one (pods "
            f"\"dindrunner-check\" is forbidden: ValidatingAdmissionPolicy '{name}' with binding '{name}' denied "
            "request: privileged pods are for others): have the stack's namespace exempted from that policy"
        )


def test_a_quota_that_the_daemon_fits_is_no_refusal(world: World) -> None:
    world.make(storage_class("plain"))
    namespace = world.namespace()
    hard = {"requests.cpu": "8", "requests.memory": "16Gi"}
    world.make(thing("ResourceQuota", "all", namespace=namespace, body={"spec": {"hard": hard}}))
    # What a controller would do that does not run here.
    status = json.dumps({"status": {"hard": hard, "used": dict.fromkeys(hard, "0")}})
    patch = ["resourcequota", "all", f"--namespace={namespace}", "--subresource=status", "--type=merge"]
    world.plane.kubectl("patch", *patch, f"--patch={status}")
    _, facts = ask(world, namespace=namespace, create_namespace=False)
    assert facts.refusal is None


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_a_namespace_that_refuses_privileged_pods_is_told_with_the_command(world: World, level: str) -> None:
    world.make(storage_class("plain"))
    label = "pod-security.kubernetes.io/enforce"
    namespace = world.namespace(**{label: level})
    settings: dict[str, Any] = {"namespace": namespace, "create_namespace": False}
    assert refusal(world, **settings) == (
        f"settings.namespace: '{namespace}' refuses privileged pods ({label}={level}), and the daemon is one: run "
        f"kubectl label --overwrite namespace {namespace} {label}=privileged, or choose another"
    )
    world.plane.kubectl("label", "--overwrite", "namespace", namespace, f"{label}=privileged")
    ask(world, **settings)


IN_GOOGLE_CLOUD = {"project": "shop", "location": "europe-west1", "name": "builds"}


class GoogleCloud:
    """The only programs on PATH: a `gcloud` that describes the cluster, and a plugin with the administrator's token."""

    def __init__(self, directory: Path, plane: ControlPlane) -> None:
        self.directory = directory
        content = yaml.safe_load(plane.kubeconfig.read_text())
        authority = content["clusters"][0]["cluster"]["certificate-authority-data"]
        self.endpoint = {"endpoint": f"127.0.0.1:{plane.port}", "masterAuth": {"clusterCaCertificate": authority}}
        self.program("gcloud", f'echo "$*" > {directory}/asked; /bin/cat {self.file("describe", self.endpoint)}')
        token = {"token": content["users"][0]["user"]["token"]}
        api = "client.authentication.k8s.io/v1beta1"
        credential = self.file("credential", {"apiVersion": api, "kind": "ExecCredential", "status": token})
        self.program(
            "gke-gcloud-auth-plugin", f'echo "$KUBERNETES_EXEC_INFO" > {directory}/told; /bin/cat {credential}'
        )

    def program(self, name: str, script: str) -> None:
        file = self.directory / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(stat.S_IRWXU)

    def file(self, name: str, content: Any) -> Path:
        """A file of JSON."""
        file = self.directory / f"{name}.json"
        file.write_text(json.dumps(content))
        return file


@pytest.fixture(name="google")
def _google(tmp_path: Path, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> GoogleCloud:
    monkeypatch.setenv("PATH", str(tmp_path))
    return GoogleCloud(tmp_path, control_plane)


def test_a_cluster_in_google_cloud_is_reached_with_the_credentials_of_gcloud(world: World, google: GoogleCloud) -> None:
    facts = ask_cluster(gke_settings(cluster=IN_GOOGLE_CLOUD), "stack")
    assert facts.missing_rights == ()
    assert (facts.access.title, facts.access.context) == ("shop/europe-west1/builds", None)
    assert (google.directory / "asked").read_text() == (
        "container clusters describe builds --project=shop --location=europe-west1 "
        "--format=json(endpoint,masterAuth.clusterCaCertificate)\n"
    )
    told = json.loads((google.directory / "told").read_text())
    assert told["spec"]["cluster"]["server"] == world.plane.url
    content = facts.access.provider_kubeconfig
    assert content is not None
    assert json.loads(content)["users"][0]["user"]["exec"]["command"] == "gke-gcloud-auth-plugin"
    secret = yaml.safe_load(world.plane.kubeconfig.read_text())["users"][0]["user"]["token"]
    assert secret not in content
    world.api.get(thing("Namespace", "default"))
    done = world.plane.kubectl("get", "namespace", "default", kubeconfig=google.file("kubeconfig", json.loads(content)))
    assert "default" in done.stdout, "kubectl, and so the provider, takes it as well"


SPARE: dict[str, Any] = {
    "node_selector": {"pool": "ci"},
    "tolerations": [{"key": "ci"}, {"key": "x", "value": "y", "effect": "NoExecute"}],
}
STACKS: dict[str, dict[str, Any]] = {
    "tls": {},
    "tcp": {"daemon": {"transport": "tcp"}},
    "existing claim": {"daemon": {"existing_claim": "mine"}, "create_namespace": False},
    "dedicated node": {"daemon": {"dedicated_node": {"ci": "docker"}, **SPARE}, "runners": [runner(**SPARE)]},
    "limits": {
        "daemon": {"cpus": 1.5, "memory_mib": 3000, "certificate_names": ["ci.example.com", "192.0.2.1"]},
        "runners": [runner(cpus=0.5, memory_mib=512, cpu_request=0.1, memory_request_mib=64)],
        "runner_cpus": 0.5,
        "runner_memory_mib": 256,
    },
    "no prune, policy or metrics": {"prune": None, "network": {"policy": False}, "metrics_address": None},
    "plain only": PLAIN_ONLY,
    "two kinds": {"runners": [runner(), runner(name="second", tags=["second"], kind="plain")]},
    "own ca": {"gitlab": {}},
}


def stack_settings(name: str, ca: Path) -> dict[str, Any]:
    """Settings of one of STACKS."""
    found = dict(STACKS[name])
    if "gitlab" in found:
        base = gke_settings().gitlab
        found["gitlab"] = {"url": base.url, "scope": "project", "project": "demo/app", "ca_file": str(ca)}
    return found


def recorded(world: World, prefix: str, **settings: Any) -> Recording:
    """What a stack with these settings makes."""
    if settings.get("create_namespace", True) is False:
        settings["namespace"] = prefix
    found, facts = ask(world, prefix, name=prefix, **settings)

    def program() -> dict[str, Any]:
        token = pulumi.Output.secret(API_TOKEN)
        return build(stack_of(found, facts, gitlab_token=token, name=STACK))

    return run(program, stack=STACK, calls=LOOKUPS)


def plain(value: Any) -> Any:
    """A recorded value as the provider sends it."""
    match value:
        case Secret():
            return plain(value.value)
        case float() if value.is_integer():
            return int(value)
        case Mapping():
            return {key: plain(below) for key, below in value.items()}
        case list():
            return [plain(below) for below in value]
    return value


def objects(recording: Recording) -> list[dict[str, Any]]:
    """The objects of Kubernetes that it makes, in the order in which they were asked for."""
    return [plain(one.inputs) for one in recording.resources if one.type.startswith("kubernetes:")]


@pytest.fixture(name="ca")
def _ca(tmp_path: Path, control_plane: ControlPlane) -> Path:
    ca = tmp_path / "ca.pem"
    ca.write_bytes((control_plane.directory / "ca.pem").read_bytes())
    return ca


@pytest.mark.parametrize("name", STACKS)
def test_the_api_server_takes_every_object_of_a_stack_without_a_field_that_it_does_not_know(
    world: World, ca: Path, name: str
) -> None:
    prefix = unique("q")
    world.make(csi_driver(), storage_class("fast", driver=CSI_DRIVER))
    settings = stack_settings(name, ca)
    if settings.get("create_namespace", True) is False:
        world.namespace(own=prefix)
        world.make(claim("mine", prefix, of_class="fast"))
    recording = recorded(world, prefix, **settings)
    made = objects(recording)
    world.make(*made)
    assert {each["metadata"].get("namespace", prefix) for each in made} == {prefix}
    for each in made:
        found = world.api.get(each)
        assert found is not None
        assert found["metadata"]["labels"]["app.kubernetes.io/instance"] == prefix
    world.wait_for_account(prefix)
    workloads = [
        one.name for one in recording.resources if one.type.endswith((":StatefulSet", ":Deployment", ":CronJob"))
    ]
    pods = [pod_of(recording, workload, prefix) for workload in workloads]
    assert [admission(world, pod) for pod in [*pods, job_pod(recording, prefix)]] == [""] * (len(workloads) + 1)
    _, facts = ask(world, prefix, name=prefix, **({"namespace": prefix} | settings))
    assert facts.namespace is not None, "a second update is taken as well"


def test_the_rights_that_a_stack_asks_for_are_enough_to_make_it_and_take_it_away(world: World) -> None:
    """Among them to hand out those of the runner, which nobody can who does not have them."""
    world.make(storage_class("plain"))
    prefix = unique("q")
    made = objects(recorded(world, prefix))
    user = world.user(*rules(), on_namespaces(*MANAGING))
    as_user = Cluster(world.plane.client(user), prefix)
    world.leave(*made)
    for each in made:
        as_user.apply(each, manager="user")
    assert all(as_user.get(each) for each in made)
    for each in reversed(made):
        as_user.delete(each, "Background")


def pod_of(recording: Recording, name: str, namespace: str) -> dict[str, Any]:
    """A pod as the controller of a recorded workload would make it."""
    made = plain(recording.one(name).inputs)
    spec = made["spec"]["jobTemplate"]["spec"] if made["kind"] == "CronJob" else made["spec"]
    template = spec["template"]
    return thing("Pod", "tried", namespace=namespace, body={"spec": template["spec"]}, **template["metadata"])


def job_pod(recording: Recording, namespace: str) -> dict[str, Any]:
    """A pod as GitLab Runner makes one by the recorded config.toml: of a helper, the job, and a service."""
    content = plain(recording.one("runner-config").inputs)["data"]["config.toml"]
    wanted = tomllib.loads(base64.b64decode(content).decode())["runners"][0]["kubernetes"]
    secrets = wanted.get("volumes", {}).get("secret", [])
    mounts = [{"name": one["name"], "mountPath": one["mount_path"], "readOnly": one["read_only"]} for one in secrets]
    security = {"privileged": wanted["privileged"]}
    containers = [
        {"name": name, "image": wanted["image"], "volumeMounts": mounts, "securityContext": security}
        for name in ("helper", "build", "svc-0")
    ]
    spec = {
        "serviceAccountName": wanted["service_account"],
        "automountServiceAccountToken": wanted["automount_service_account_token"],
        "restartPolicy": "Never",
        "containers": containers,
        "volumes": [{"name": one["name"], "secret": {"secretName": one["name"]}} for one in secrets],
    }
    about = {"labels": wanted["pod_labels"], "annotations": wanted["pod_annotations"]}
    return thing("Pod", "tried", namespace=namespace, body={"spec": spec}, **about)


LEVELS = ("privileged", "baseline", "restricted")


@pytest.fixture(scope="module", name="levels")
def _levels(worlds: World) -> Iterator[dict[str, str]]:
    """A namespace for each level of Pod Security, with the accounts that pods of a stack run as."""
    kept = World(worlds.plane)
    found = {}
    for level in LEVELS:
        found[level] = kept.namespace(**{"pod-security.kubernetes.io/enforce": level})
        for account in ("stack-runner", "stack-job"):
            kept.make(thing("ServiceAccount", account, namespace=found[level]))
        kept.wait_for_account(found[level])
    yield found
    kept.clean()
    kept.wait_until_gone()


@pytest.mark.parametrize(
    ("pod", "settings", "most"),
    [
        ("dind-statefulset", {}, "privileged"),
        ("runner-deployment", {}, "restricted"),
        ("prune-cronjob", {}, "restricted"),
        ("job", {}, "baseline"),
        ("job", {"runners": [runner(privileged=True)]}, "privileged"),
    ],
    ids=["daemon", "runner", "prune", "job", "privileged job"],
)
def test_each_pod_is_admitted_up_to_its_level_of_pod_security(
    world: World, levels: dict[str, str], pod: str, settings: dict[str, Any], most: str
) -> None:
    world.make(storage_class("plain"))
    recording = recorded(world, "stack", **settings)
    admitted = []
    for level, namespace in levels.items():
        made = job_pod(recording, namespace) if pod == "job" else pod_of(recording, pod, namespace)
        told = admission(world, made)
        admitted += [level] if told == "" else []
        assert told == "" or told.startswith(f'pods "tried" is forbidden: violates PodSecurity "{level}:latest": ')
    assert admitted == list(LEVELS[: LEVELS.index(most) + 1])


def admission(world: World, pod: dict[str, Any]) -> str:
    """Why the cluster refuses a pod; nothing where it takes it."""
    try:
        world.api.apply(pod, manager="test", dry_run=True)
    except ApiError as error:
        return str(error)
    return ""


def test_pod_security_names_the_daemons_privilege_where_it_refuses_it(world: World, levels: dict[str, str]) -> None:
    world.make(storage_class("plain"))
    assert admission(world, pod_of(recorded(world, "stack"), "dind-statefulset", levels["baseline"])) == (
        'pods "tried" is forbidden: violates PodSecurity "baseline:latest": privileged (container "dind" must not set '
        "securityContext.privileged=true)"
    )


Rights = set[tuple[str, str, str]]


def rights_of(world: World, namespace: str, account: str, where: str) -> Rights:
    """What a service account may do in a namespace, as group, kind and verb."""
    user = f"--as=system:serviceaccount:{namespace}:{account}"
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": where},
    }
    options = [user, *(f"--as-group={group}" for group in groups), "--validate=false", "--filename=-", "--output=json"]
    done = world.plane.kubectl("create", *options, input=json.dumps(review))
    status = json.loads(done.stdout)["status"]
    assert status["incomplete"] is False
    return {
        (group, kind, verb)
        for rule in status["resourceRules"]
        for group in rule["apiGroups"]
        for kind in rule["resources"]
        for verb in rule["verbs"]
    }


def may(world: World, user: str, verb: str, kind: str, namespace: str | None) -> bool:
    where = f"--namespace={namespace}" if namespace else "--all-namespaces"
    return world.plane.kubectl("auth", "can-i", verb, kind, where, f"--as={user}", check=False).returncode == 0


def test_the_runner_may_do_for_its_jobs_what_it_has_to_in_its_namespace_alone_and_the_jobs_nothing(
    world: World,
) -> None:
    world.make(storage_class("plain"))
    prefix, elsewhere = unique("q"), world.namespace()
    world.make(*objects(recorded(world, prefix)))
    everybodys = rights_of(world, prefix, "default", prefix)
    wanted = {("", kind, verb) for kinds, verbs in JOB_RULES for kind in kinds for verb in verbs}
    assert rights_of(world, prefix, f"{prefix}-runner", prefix) == everybodys | wanted
    assert rights_of(world, prefix, f"{prefix}-runner", elsewhere) == everybodys
    assert rights_of(world, prefix, f"{prefix}-job", prefix) == everybodys
    assert rights_of(world, prefix, f"{prefix}-job", elsewhere) == everybodys
    account = f"system:serviceaccount:{prefix}:{prefix}-runner"
    assert may(world, account, "create", "pods", prefix)
    assert not may(world, account, "create", "pods", elsewhere)
    assert not may(world, account, "list", "nodes", None)
    assert not may(world, account, "create", "roles", prefix)
