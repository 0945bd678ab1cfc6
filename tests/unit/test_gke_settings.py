"""Target gke: what its settings take, what they default to, and what is said about each that is wrong."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from components.defaults import cache_budget_gib
from components.kinds import Executor, Kind
from components.transport import Transport
from stacks.gke.settings import Claim, Prune
from stacks.settings.mistakes import SettingsError
from stacks.targets import parse
from tests.unit.samples import TOKEN, gke, gke_settings, pi, plain, runner

TOP_LEVEL = (
    "check_interval, cluster, concurrent, create_namespace, daemon, drain_seconds, extra, extra_unchecked, gitlab, "
    "log_level, metrics_address, name, namespace, network, prune, runner_cpus, runner_image, runner_memory_mib, "
    "runners, target"
)
IN_GOOGLE_CLOUD = {"project": "p", "location": "europe-west3", "name": "ci"}
WHICH_CONTEXT = (
    "settings.cluster.context: none is needed: name a context of the kubeconfig (kubectl config get-contexts), or give "
    "project, location and name of the cluster"
)
NO_NAME = "is no name in Kubernetes: use up to 63 lower-case letters, digits and dashes, no dash first or last"
NO_OBJECT = (
    "is no name in Kubernetes: use up to 253 lower-case letters, digits, dashes and dots, a letter or digit first and "
    "last"
)
NO_SCHEDULE = 'is no schedule: write five fields as for cron, for example "0 0 * * 0" for Sunday at midnight, UTC'
NO_LABEL_VALUE = "a value that no label has: use up to 63 letters, digits, - . _, in quotes"


def mistakes(raw: object) -> str:
    """The text of the error that `raw` gives."""
    with pytest.raises(SettingsError) as caught:
        parse(raw)
    return str(caught.value)


def pod_of(owner: str, **pod: Any) -> dict[str, Any]:
    """Settings with these of the daemon's pod, or of the jobs' pods."""
    return {"daemon": pod} if owner == "daemon" else {"runners": [runner(**pod)]}


LIMITS: list[tuple[dict[str, Any], str]] = [
    ({"cpus": 1, "cpu_request": 2}, "cpu_request: 2.0 is more than the limit 1"),
    ({"cpus": 0.5, "cpu_request": 0.6}, "cpu_request: 0.6 is more than the limit 0.5"),
    ({"memory_mib": 1024, "memory_request_mib": 1025}, "memory_request_mib: 1025 is more than the limit 1024"),
    (
        {"memory_mib": 2**21, "memory_request_mib": 2**21 + 1},
        "memory_request_mib: 2097153 is more than the limit 2097152",
    ),
]
REQUESTS: list[tuple[dict[str, Any], str]] = [
    ({"cpu_request": 0}, "cpu_request: 0 is not accepted: should be greater than or equal to 0.1"),
    ({"cpu_request": 0.25}, "cpu_request: 0.25 is too fine: use tenths, for example 0.2"),
    ({"memory_request_mib": 63}, "memory_request_mib: 63 is not accepted: should be greater than or equal to 64"),
    ({"memory_request_mib": "1Gi"}, "memory_request_mib: '1Gi' is not accepted: should be a valid integer"),
]

WRONG: list[tuple[dict[str, Any], str]] = [
    # keys
    ({"bogus": 1}, f"settings.bogus: is no setting: use one of {TOP_LEVEL}"),
    ({"namespaces": "ci"}, "settings.namespaces: is no setting: did you mean namespace?"),
    *(
        ({name: value}, f"settings.{name}: is no setting: use one of {TOP_LEVEL}")
        for name, value in [("docker_host", "unix:///x"), ("host_socket", "/x"), ("ssh", {}), ("swarm", {}),
                            ("platform", "linux/arm64"), ("orchestrator", "docker")]
    ),
    ({"daemon": {"claim": {"size": 5}}}, "settings.daemon.claim.size: is no setting: did you mean size_gib?"),
    ({"prune": {"hours": 1}}, "settings.prune.hours: is no setting: use one of schedule, unused_hours"),
    ({"daemon": {"tolerations": [{"key": "a", "operator": "Exists"}]}}, "settings.daemon.tolerations[0].operator: is "
     "no setting: use one of effect, key, value"),
    # the cluster
    ({"cluster": None}, "settings.cluster: none must be a table"),
    ({"cluster": "mine"}, "settings.cluster: 'mine' must be a table"),
    ({"cluster": {"contxt": "mine"}}, "settings.cluster.contxt: is no setting: did you mean context?"),
    *(({"cluster": cluster}, WHICH_CONTEXT) for cluster in [{}, {"context": None}, {"kubeconfig": "~/.kube/config"}]),
    *(
        ({"cluster": {name: ""} | more}, f"settings.cluster.{name}: '' is not accepted: String should have at least 1 "
         "character")
        for name, more in [("context", {}), ("kubeconfig", {"context": "mine"}), ("name", {}), ("project", {}),
                           ("location", {})]
    ),
    *(
        ({"cluster": IN_GOOGLE_CLOUD | {name: value}}, f"settings.cluster.{name}: {value!r} {remedy}")
        for name, values, remedy in [
            ("project", ["--impersonate-service-account=x", "-p", "My-Project", "a b", "p/q", "p\n"],
             "is no ID of a project in Google Cloud: write it as gcloud projects list shows it, for example "
             "my-project-123"),
            ("location", ["--quiet", "europe", "Europe-West3", "europe-west3-", "europe-west3;x", "-"],
             "is no zone or region of Google Cloud: write for example europe-west3, or europe-west3-a"),
            ("name", ["--flags-file=/etc/passwd", "-x", "CI", "1ci", "ci-", "a" * 41, "a b", "a.b"],
             "is no name of a cluster in Google Cloud: use up to 40 lower-case letters, digits and dashes, a letter "
             "first, no dash last"),
        ]
        for value in values
    ),
    ({"cluster": {"context": 5}}, "settings.cluster.context: 5 is not accepted: should be a valid string"),
    *(
        ({"cluster": {key: value for key, value in IN_GOOGLE_CLOUD.items() if key != missing}},
         f"settings.cluster.{missing}: none is needed to find the cluster in Google Cloud: give project, location and "
         "name")
        for missing in IN_GOOGLE_CLOUD
    ),
    *(
        ({"cluster": IN_GOOGLE_CLOUD | {name: "mine"}}, f"settings.cluster.{name}: 'mine' does not go with project, "
         "location and name: give one or the other")
        for name in ("context", "kubeconfig")
    ),
    # the namespace
    *(
        ({"namespace": name}, f"settings.namespace: {name!r} {NO_NAME}")
        for name in ["", "Big", "-a", "a-", "a_b", "a.b", "a" * 64, "a\n", "größe"]
    ),
    ({"create_namespace": "no"}, "settings.create_namespace: 'no' is not accepted: should be a valid boolean"),
    ({"create_namespace": False}, "settings.namespace: none is needed with create_namespace: false: name the one that "
     "is there"),
    *(
        ({"daemon": {"existing_claim": "cache"}} | more, "settings.create_namespace: true does not go with "
         "daemon.existing_claim cache, whose namespace is there already: set create_namespace: false, and namespace")
        for more in ({}, {"namespace": "ci", "create_namespace": True})
    ),
    # the network
    ({"network": {"subnet": "10.0.0.0/24"}}, "settings.network.subnet: '10.0.0.0/24' does not go with target gke: pods "
     "get their addresses from the cluster; remove it"),
    ({"network": {"mtu": 9001}}, "settings.network.mtu: 9001 is not accepted: should be less than or equal to 9000"),
    ({"network": {"policy": "yes"}}, "settings.network.policy: 'yes' is not accepted: should be a valid boolean"),
    # the daemon
    ({"daemon": {"transport": "socket"}}, "settings.daemon.transport: 'socket' does not go with target gke, as pods "
     "share no socket: use tls"),
    ({"daemon": {"endpoint": "tcp://docker:2376"}}, "settings.daemon.endpoint: 'tcp://docker:2376' does not go with "
     "target gke: the Service has its name from the stack; remove it"),
    ({"daemon": {"data_path": "/mnt/ssd"}}, "settings.daemon.data_path: '/mnt/ssd' does not go with target gke: the "
     "layer cache is on a claim: use claim.storage_class; remove it"),
    *(
        ({"daemon": {"keep_cache": keep}}, f"settings.daemon.keep_cache: {str(keep).lower()} does not go with target "
         "gke: the claim says so itself: use claim.protect; remove it")
        for keep in (True, False)
    ),
    ({"daemon": {"certificate_names": ["ci.internal"], "transport": "tcp"}}, "settings.daemon.certificate_names: "
     "['ci.internal'] has no use with transport tcp: remove it"),
    ({"daemon": {"subnet": "172.29.0.0/24"}}, "settings.daemon.subnet: '172.29.0.0/24' is too small for a network a "
     "job: use /20 or larger"),
    *(
        ({"daemon": {"claim": {"size_gib": size}, "cache_budget_gib": budget}}, f"settings.daemon.cache_budget_gib: "
         f"{budget} leaves too little of a claim of {size} GiB for images and containers: use {right} or less, or "
         "raise claim.size_gib")
        for size, budget, right in [(100, 91, 60), (10, 10, 6), (5, 5, 3)]
    ),
    # its claim
    ({"daemon": {"claim": None}}, "settings.daemon.claim: none must be a table"),
    ({"daemon": {"claim": {"size_gib": 4}}}, "settings.daemon.claim.size_gib: 4 is not accepted: should be greater "
     "than or equal to 5"),
    ({"daemon": {"claim": {"size_gib": 65537}}}, "settings.daemon.claim.size_gib: 65537 is not accepted: should be "
     "less than or equal to 65536"),
    ({"daemon": {"claim": {"size_gib": "100Gi"}}}, "settings.daemon.claim.size_gib: '100Gi' is not accepted: should be "
     "a valid integer"),
    ({"daemon": {"claim": {"storage_class": "Premium"}}}, "settings.daemon.claim.storage_class: 'Premium' "
     f"{NO_OBJECT}"),
    ({"daemon": {"claim": {"access_mode": "ReadWriteMany"}}}, "settings.daemon.claim.access_mode: 'ReadWriteMany' is "
     "not accepted: should be 'ReadWriteOncePod' or 'ReadWriteOnce'"),
    ({"daemon": {"claim": {"protect": "no"}}}, "settings.daemon.claim.protect: 'no' is not accepted: should be a valid "
     "boolean"),
    ({"daemon": {"existing_claim": "My_Cache"}}, f"settings.daemon.existing_claim: 'My_Cache' {NO_OBJECT}"),
    ({"daemon": {"existing_claim": "cache", "claim": {"size_gib": 50}}}, "settings.daemon.claim: a table has no use "
     "with existing_claim, which is taken as it is: remove one of them"),
    # its limits, and those of the jobs
    *(
        (pod_of(owner, **pod), f"settings.{owner}.{text}: lower it, or raise the limit")
        for owner in ("daemon", "runners[0]")
        for pod, text in LIMITS
    ),
    *(
        (pod_of(owner, **pod), f"settings.{owner}.{text}")
        for owner in ("daemon", "runners[0]")
        for pod, text in REQUESTS
    ),
    ({"runner_cpus": 0}, "settings.runner_cpus: 0 is not accepted: should be greater than or equal to 0.1"),
    ({"runner_memory_mib": 63}, "settings.runner_memory_mib: 63 is not accepted: should be greater than or equal to "
     "64"),
    ({"runner_memory_mib": None}, "settings.runner_memory_mib: none is not accepted: should be a valid integer"),
    # which nodes
    *(
        ({"daemon": {name: value}}, f"settings.daemon.{name}: {text}")
        for name in ("node_selector", "dedicated_node")
        for value, text in [("pool=ci", "'pool=ci' must be a table"), ([], "[] must be a table"),
                            ({"-pool": "ci"}, "a table has '-pool', which is no label's key: write for example "
                             "cloud.google.com/gke-nodepool"),
                            ({"Pool.Example/x": "ci"}, "a table has 'Pool.Example/x', which is no label's key: write "
                             "for example cloud.google.com/gke-nodepool"),
                            ({5: "ci"}, "a table has 5, which is no label's key: write for example "
                             "cloud.google.com/gke-nodepool"),
                            ({"pool": 1}, f"a table gives pool {NO_LABEL_VALUE}"),
                            ({"pool": None}, f"a table gives pool {NO_LABEL_VALUE}"),
                            ({"pool": "c i"}, f"a table gives pool {NO_LABEL_VALUE}"),
                            ({"pool": "a" * 64}, f"a table gives pool {NO_LABEL_VALUE}")]
    ),
    ({"daemon": {"dedicated_node": {"a": "b", "c": "d"}}}, "settings.daemon.dedicated_node: 'a, c' has more than one "
     "label: give the node pool's own"),
    ({"runners": [runner(node_selector={"pool": True})]}, f"settings.runners[0].node_selector: a table gives pool "
     f"{NO_LABEL_VALUE}"),
    *(
        (pod_of(owner, tolerations=value), f"settings.{owner}.tolerations{text}")
        for owner in ("daemon", "runners[0]")
        for value, text in [({"key": "ci"}, ": a table must be a list"),
                            ([{}], "[0].key: is missing: set it"),
                            ([{"key": ""}], "[0].key: '' is not accepted: String should have at least 1 character"),
                            ([{"key": "ci", "effect": "No"}], "[0].effect: 'No' is not accepted: should be "
                             "'NoSchedule', 'PreferNoSchedule' or 'NoExecute'")]
    ),
    # jobs
    *(
        ({"runners": [runner(executor=executor)]}, f"settings.runners[0].executor: {executor!r} does not go with this "
         "target: use kubernetes")
        for executor in ("docker", "shell")
    ),
    ({"runners": [runner(kind="host-docker")]}, "settings.runners[0].kind: 'host-docker' does not go with target gke, "
     "whose nodes run no Docker: use dind"),
    ({"runners": [runner(kind="job-dind")]}, "settings.runners[0].kind: 'job-dind' would start a privileged daemon for "
     "every job, with an empty cache: use dind"),
    ({"runners": [runner(job_daemon_image="docker:28.5.2-dind")]}, "settings.runners[0].job_daemon_image: "
     "'docker:28.5.2-dind' does not go with target gke: no job has a daemon of its own; remove it"),
    *(
        ({"runners": [runner(**{name: value})]}, f"settings.runners[0].{name}: {shown} does not go with target gke: "
         "jobs are pods: write [runners.kubernetes] in extra; remove it")
        for name, value, shown in [("volumes", ["/cache"], "['/cache']"), ("volumes", [], "[]"),
                                   ("shm_size_mib", 64, "64"), ("network_mode", "host", "'host'")]
    ),
    # prune
    *(
        ({"prune": {"schedule": schedule}}, f"settings.prune.schedule: {schedule!r} {NO_SCHEDULE}")
        for schedule in ["", "weekly", "0 0 * *", "* * * * * *", "0 0 * * 0\n", "@reboot", "CRON_TZ=UTC 0 0 * * 0"]
    ),
    ({"prune": {"unused_hours": 0}}, "settings.prune.unused_hours: 0 is not accepted: should be greater than or equal "
     "to 1"),
    ({"prune": {"unused_hours": 8761}}, "settings.prune.unused_hours: 8761 is not accepted: should be less than or "
     "equal to 8760"),
    ({"prune": False}, "settings.prune: false must be a table"),
    # what it shares with the other targets
    ({"metrics_address": "9252"}, "settings.metrics_address: '9252' is no address to listen on: write host:port or "
     ":port, for example :9252"),
    ({"runners": []}, "settings.runners: must not be empty"),
    ({"runners": [runner(), runner(name="two")], "concurrent": 1}, "settings.concurrent: 1 is below the number of "
     "runners, so jobs would starve: set it to 2 or more"),
    ({"daemon": {"cpus": 0.25}}, "settings.daemon.cpus: 0.25 is too fine: use tenths, for example 0.2"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "message"), WRONG, ids=lambda part: str(part)[:70])
def test_a_wrong_setting_is_refused_with_path_value_and_remedy(settings: dict[str, Any], message: str) -> None:
    assert mistakes(gke(**settings)) == message


def test_a_cluster_has_to_be_named() -> None:
    assert mistakes({key: value for key, value in gke().items() if key != "cluster"}) == (
        "settings.cluster: is missing: set it"
    )


def test_mistakes_of_the_cluster_and_of_the_rest_are_reported_at_once() -> None:
    wrong = {"cluster": {}, "namespace": "Big", "daemon": {"transport": "socket"}, "runners": [runner(kind="job-dind")]}
    assert [line.split()[0] for line in mistakes(gke(**wrong)).splitlines()] == [
        "settings.daemon.transport:",
        "settings.runners[0].kind:",
        "settings.cluster.context:",
        "settings.namespace:",
    ]


ONLY_FOR_GKE = [
    ("cluster", {"cluster": {"context": "mine"}}),
    ("namespace", {"namespace": "ci"}),
    ("create_namespace", {"create_namespace": True}),
    ("prune", {"prune": None}),
    ("network.policy", {"network": {"policy": True}}),
    ("daemon.claim", {"daemon": {"claim": {}}}),
    ("daemon.existing_claim", {"daemon": {"existing_claim": "cache"}}),
    ("daemon.dedicated_node", {"daemon": {"dedicated_node": {"pool": "ci"}}}),
    ("runners[0].cpu_request", {"runners": [runner(cpu_request=1)]}),
    ("runners[0].node_selector", {"runners": [runner(node_selector={})]}),
    ("runners[0].tolerations", {"runners": [runner(tolerations=[])]}),
]


@pytest.mark.parametrize("settings_of", [plain, pi], ids=["docker-host", "raspberry-pi"])
@pytest.mark.parametrize(("path", "settings"), ONLY_FOR_GKE, ids=[path for path, _ in ONLY_FOR_GKE])
def test_what_only_a_cluster_has_is_no_setting_of_the_other_targets(
    path: str, settings: dict[str, Any], settings_of: Any
) -> None:
    assert mistakes(settings_of(**settings)).startswith(f"settings.{path}: is no setting: ")


def test_defaults_are_for_a_cluster_that_keeps_the_cache_and_lets_nobody_else_in() -> None:
    settings = gke_settings()
    daemon, only = settings.daemon, settings.runners[0]
    assert (settings.namespace, settings.create_namespace, settings.name) == (None, True, None)
    assert (settings.network.policy, settings.network.mtu, settings.network.subnet) == (True, 1400, None)
    assert (settings.metrics_address, settings.runner_cpus, settings.runner_memory_mib) == (":9252", None, 512)
    assert settings.prune == Prune(schedule="0 0 * * 0", unused_hours=168)
    assert daemon.transport is Transport.TLS
    assert daemon.claim == Claim(size_gib=100, storage_class=None, access_mode=None, protect=True)
    assert (daemon.existing_claim, daemon.cache_budget_gib) == (None, 60)
    assert (daemon.cpus, daemon.memory_mib, daemon.cpu_request, daemon.memory_request_mib) == (None, None, 1.0, 2048)
    assert (daemon.node_selector, daemon.tolerations, daemon.dedicated_node) == ({}, (), {})
    assert (only.kind, only.executor, only.pull_policy) == (Kind.DIND, Executor.KUBERNETES, ("always",))
    assert (only.cpus, only.memory_mib, only.cpu_request, only.memory_request_mib) == (None, None, None, None)
    assert (only.node_selector, only.tolerations, only.privileged) == ({}, (), False)


def test_the_daemons_networks_lie_outside_those_that_google_cuts_nodes_and_pods_from() -> None:
    subnet = gke_settings().daemon.subnet
    assert subnet == ipaddress.IPv4Network("172.29.0.0/16")
    assert not subnet.overlaps(ipaddress.IPv4Network("10.0.0.0/8"))


def test_all_other_defaults_are_those_of_a_docker_host() -> None:
    cluster, host = gke_settings(), parse(plain())
    daemon = set(type(host.daemon).model_fields) - {"cache_budget_gib", "subnet"}
    assert cluster.daemon.model_dump(include=daemon) == host.daemon.model_dump(include=daemon)
    only = set(type(host.runners[0]).model_fields) - {"executor"}
    assert cluster.runners[0].model_dump(include=only) == host.runners[0].model_dump(include=only)
    others = {"name", "gitlab", "runner_image", "concurrent", "check_interval", "log_level", "drain_seconds", "extra"}
    assert cluster.model_dump(include=others) == host.model_dump(include=others)
    assert cluster.jobs_at_once == host.jobs_at_once == 4


@pytest.mark.parametrize(
    "settings",
    [
        {"cluster": {"context": "mine", "kubeconfig": "~/größe/config"}},
        {"cluster": IN_GOOGLE_CLOUD},
        {"cluster": {"project": "example.com:my-project", "location": "northamerica-northeast1-b", "name": "ci-1"}},
        {"cluster": {"project": "123456789012", "location": "me-central2", "name": "a" * 40}},
        {"namespace": "1-ci"},
        {"namespace": "a" * 63},
        {"namespace": "ci", "create_namespace": False},
        {
            "namespace": "ci",
            "create_namespace": False,
            "daemon": {"existing_claim": "my.cache", "cache_budget_gib": 500},
        },
        {"daemon": {"transport": "tcp"}},
        {"daemon": {"certificate_names": ["ci.internal", "10.0.0.2"]}},
        {"daemon": {"cache_budget_gib": 90}},
        {"daemon": {"subnet": "10.64.0.0/16"}},
        # Below the default requests, for which nobody has asked.
        {"daemon": {"cpus": 0.5, "memory_mib": 1024}},
        {"daemon": {"claim": {"size_gib": 5, "storage_class": "premium-rwo", "access_mode": "ReadWriteOnce"}}},
        {"daemon": {"claim": {"storage_class": "fast.example.com"}}},
        {"daemon": {"node_selector": {"cloud.google.com/gke-nodepool": "ci", "a": ""}}},
        {"daemon": {"dedicated_node": {"dedicated": "dind"}, "tolerations": [{"key": "ci", "value": ""}]}},
        {"runners": [runner(kind="plain", tolerations=[{"key": "ci", "effect": "NoExecute"}])]},
        {"runners": [runner(cpus=1, cpu_request=1, memory_mib=512, memory_request_mib=64)]},
        {"runners": [runner(extra={"kubernetes": {"volumes": {"empty_dir": [{"name": "a"}]}}})]},
        {"runners": [{"name": "mine", "token": TOKEN}]},
        {"prune": None},
        {"prune": {"schedule": "@weekly"}},
        {"prune": {"schedule": "*/30 1-5 1,15 JAN-MAR ?"}},
        {"metrics_address": None},
        {"metrics_address": "[::]:9252"},
        {"network": {"mtu": None, "policy": False}},
        {"runner_cpus": 0.5, "runner_memory_mib": 64},
    ],
    ids=str,
)
def test_settings_that_are_right_are_taken(settings: dict[str, Any]) -> None:
    assert gke_settings(**settings).target == "gke"


@pytest.mark.parametrize(("size", "budget"), [(1, 1), (5, 3), (100, 60), (65536, 39321)])
def test_the_cache_gets_six_tenths_of_a_claim(size: int, budget: int) -> None:
    assert cache_budget_gib(size) == budget


@pytest.mark.parametrize(
    ("kinds", "needed"), [(["dind"], True), (["plain"], False), (["plain", "dind"], True), (["plain", "plain"], False)]
)
def test_only_kind_dind_needs_the_daemon_as_all_jobs_are_pods(kinds: list[str], needed: bool) -> None:
    runners = [runner(name=f"r{index}", kind=kind) for index, kind in enumerate(kinds)]
    assert gke_settings(runners=runners).needs_daemon is needed
