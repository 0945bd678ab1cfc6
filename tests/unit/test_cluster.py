"""A cluster: what does not fit it, word for word, what is left to it, and what is warned of."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any

import pytest

from components.labels import kubernetes_labels as labels
from stacks.gke.cluster import (
    Access,
    ClaimFound,
    Namespace,
    StorageClass,
    check_cluster,
    check_prefix,
    fitted,
    warnings_about_cluster,
)
from stacks.settings.mistakes import SettingsError
from tests.unit.samples import STANDARD, facts, gke_settings, runner

PREFIX, STACK = "ci-dev", "dev"
OWN = labels(PREFIX, STACK, "namespace")
ENFORCE = "pod-security.kubernetes.io/enforce"
NO_CSI = StorageClass(name="standard", is_csi=False)
RWOP, RWO = "ReadWriteOncePod", "ReadWriteOnce"
IN_IT = {"create_namespace": False, "namespace": "ci"}
PLAIN = {"runners": [runner(kind="plain")]}
WARDEN = (
    'admission webhook "warden-validating.common-webhooks.networking.gke.io" denied the request: GKE Warden rejected '
    'the request because it violates one or more constraints. Violations details: {"[denied by '
    'autogke-disallow-privilege]":["container dind is privileged; not allowed in Autopilot"]}'
)


def claim(**more: Any) -> ClaimFound:
    """The stack's own claim of 100 GiB, with `more` laid over it."""
    usual: dict[str, Any] = {"name": f"{PREFIX}-dind-data", "size_gib": 100, "access_modes": (RWO,), "stack": STACK}
    return ClaimFound(**usual | {"storage_class": STANDARD.name} | more)


def mistakes(settings: dict[str, Any] | None = None, **found: Any) -> list[str]:
    """What does not fit a cluster with these facts, a line each."""
    try:
        check_cluster(gke_settings(**settings or {}), facts(**found), PREFIX, STACK)
    except SettingsError as error:
        return str(error).splitlines()
    return []


# its version


def test_a_kubernetes_that_has_no_such_cron_jobs_is_refused_where_the_stack_makes_one() -> None:
    assert mistakes(version="1.20.15") == [
        "settings.cluster: 'mine' runs Kubernetes 1.20.15, which has no CronJob of batch/v1, as prune needs it: "
        "upgrade it to 1.21 or newer, or set prune: null"
    ]
    assert mistakes({"prune": None}, version="1.20.15") == []
    assert mistakes(PLAIN, version="1.20.15") == []


def test_a_kubernetes_that_knows_no_claims_for_one_pod_is_refused_where_one_is_asked_for() -> None:
    wanted = {"daemon": {"claim": {"access_mode": RWOP}}}
    assert mistakes(wanted, version="1.26.15-gke.4901000") == [
        "settings.daemon.claim.access_mode: 'ReadWriteOncePod' is not known to Kubernetes 1.26.15-gke.4901000: upgrade "
        "it to 1.27 or newer, or use ReadWriteOnce"
    ]
    for version in ("1.27.0", "1.34.4-gke.1193000", "2.0.0", "", "unknown"):
        assert mistakes(wanted, version=version) == []
    # There it is known, unasked or not.
    assert mistakes(wanted, version="1.26.15", claim=claim(access_modes=(RWOP,))) == []


@pytest.mark.parametrize(("version", "mode"), [("1.26.15", RWO), ("1.27.0", RWOP), ("", RWOP)])
def test_a_claim_for_one_pod_is_chosen_where_kubernetes_knows_it(version: str, mode: str) -> None:
    assert fitted(gke_settings(), facts(version=version)).daemon.claim.access_mode == mode


# names


@pytest.mark.parametrize("prefix", ["a", "ci", "ci-1", "a" * 40, "gitlab-dind-runners-dev"])
@pytest.mark.parametrize("stack", ["dev", "Dev_2.x", "9", "a" * 63])
def test_names_that_kubernetes_takes_are_taken(prefix: str, stack: str) -> None:
    check_prefix(prefix, stack)


@pytest.mark.parametrize("prefix", ["", "1ci", "-ci", "ci-", "Ci", "ci.dev", "ci_dev", "a" * 41, "ci\n"])
def test_a_prefix_that_no_service_can_have_needs_another_name(prefix: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_prefix(prefix, STACK)
    assert str(caught.value) == (
        f"settings.name: is needed, as {prefix!r}, with which the stack's objects would begin, is no name for "
        "Kubernetes: choose one of up to 40 lower-case letters, digits and dashes that begins with a letter and does "
        "not end with a dash"
    )


@pytest.mark.parametrize("stack", ["-dev", "dev.", "_", "a" * 64, "größe"])
def test_a_stack_whose_name_is_no_label_is_refused(stack: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_prefix(PREFIX, stack)
    assert str(caught.value) == (
        f"the stack's name {stack!r} is no label in Kubernetes: make a stack whose name has at most 63 letters, "
        "digits, - . _"
    )


# rights


def test_all_missing_rights_are_named_at_once() -> None:
    rights = ("create secrets", "patch deployments.apps")
    for settings, namespace in [({}, PREFIX), ({"namespace": "ci"}, "ci")]:
        assert mistakes(settings, missing_rights=rights) == [
            f"settings.cluster: 'mine' does not let these credentials do in namespace {namespace} what the stack "
            "needs: create secrets, patch deployments.apps. Have somebody grant it, for example by the role "
            "roles/container.admin in Google Cloud, or by a RoleBinding to ClusterRole admin"
        ]


# namespace


@pytest.mark.parametrize(
    ("settings", "namespace"),
    [
        ({}, None),
        ({}, Namespace(labels=OWN)),
        ({"namespace": "ci"}, Namespace(labels=OWN | {"more": "x"})),
        (IN_IT, Namespace(labels={})),
        (IN_IT, Namespace(labels=OWN)),
        (IN_IT, Namespace(labels={ENFORCE: "privileged"})),
        (IN_IT, Namespace(labels={"pod-security.kubernetes.io/warn": "restricted"})),
        # Its own, which an update gives the label that allows them.
        ({}, Namespace(labels=OWN | {ENFORCE: "restricted"})),
    ],
)
def test_a_namespace_of_the_stacks_own_or_one_that_allows_privileged_pods_is_taken(
    settings: dict[str, Any], namespace: Namespace | None
) -> None:
    assert mistakes(settings, namespace=namespace) == []


@pytest.mark.parametrize(
    "found",
    [
        {},
        labels("other", STACK, "namespace"),
        labels(PREFIX, "other", "namespace"),
        labels(PREFIX, STACK, "daemon"),
        {key: text for key, text in OWN.items() if key != "app.kubernetes.io/managed-by"},
    ],
)
@pytest.mark.parametrize(("settings", "name"), [({}, PREFIX), ({"namespace": "default"}, "default")])
def test_the_stack_takes_over_no_namespace_of_something_else(
    settings: dict[str, Any], name: str, found: dict[str, str]
) -> None:
    assert mistakes(settings, namespace=Namespace(labels=found)) == [
        f"settings.namespace: {name!r} is there already and belongs to something else: choose another, or set "
        "create_namespace: false to live in it"
    ]


def test_a_namespace_that_should_be_there_and_is_not_is_missed() -> None:
    assert mistakes(IN_IT) == ["settings.namespace: 'ci' is not there: create it, or set create_namespace: true"]


@pytest.mark.parametrize(("settings", "name"), [({}, PREFIX), (IN_IT, "ci")])
def test_a_namespace_that_is_being_deleted_has_to_be_gone_first(settings: dict[str, Any], name: str) -> None:
    assert mistakes(settings, namespace=Namespace(labels=OWN, is_ending=True)) == [
        f"settings.namespace: {name!r} is being deleted: wait until it is gone (kubectl get namespaces)"
    ]


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_a_namespace_that_refuses_privileged_pods_has_no_daemon(level: str) -> None:
    namespace = Namespace(labels={ENFORCE: level})
    assert mistakes(IN_IT, namespace=namespace) == [
        f"settings.namespace: 'ci' refuses privileged pods ({ENFORCE}={level}), and the daemon is one: run kubectl "
        f"label --overwrite namespace ci {ENFORCE}=privileged, or choose another"
    ]


def test_a_namespace_may_refuse_privileged_pods_where_there_is_no_daemon() -> None:
    assert mistakes(IN_IT | PLAIN, namespace=Namespace(labels={ENFORCE: "baseline"})) == []


# privileged pods


@pytest.mark.parametrize("refusal", [WARDEN, "denied by autogke-no-host-port", "not allowed on Autopilot clusters"])
def test_autopilot_is_refused(refusal: str) -> None:
    access = Access(title="p/europe-west3/ci", context=None, provider_kubeconfig="{}")
    assert mistakes(refusal=refusal, access=access) == [
        "settings.cluster: 'p/europe-west3/ci' is a GKE Autopilot cluster, which refuses privileged pods, and a Docker "
        "daemon needs one: use a Standard cluster"
    ]


@pytest.mark.parametrize(
    "refusal",
    [
        'admission webhook "validation.gatekeeper.sh" denied the request: no privileged containers',
        # Of a Standard cluster, where it guards other things.
        "GKE Warden rejected the request because it violates one or more constraints",
    ],
)
def test_another_policy_is_quoted(refusal: str) -> None:
    assert mistakes(refusal=refusal) == [
        f"settings.cluster: 'mine' refuses a privileged pod, and a Docker daemon needs one ({refusal}): have the "
        "stack's namespace exempted from that policy"
    ]


# the daemon's networks


@pytest.mark.parametrize(
    ("subnet", "ranges", "overlapped"),
    [
        ("172.29.0.0/16", ["10.4.0.0/24", "172.29.8.0/24", "172.29.9.0/24"], "172.29.8.0/24"),
        ("10.64.0.0/16", ["10.0.0.0/8"], "10.0.0.0/8"),
    ],
)
def test_the_daemons_networks_must_not_be_those_of_pods(subnet: str, ranges: list[str], overlapped: str) -> None:
    networks = tuple(map(ipaddress.IPv4Network, ranges))
    assert mistakes({"daemon": {"subnet": subnet}}, pod_ranges=networks) == [
        f"settings.daemon.subnet: '{subnet}' overlaps {overlapped}, where the cluster's pods are, which the daemon "
        "would then not reach: choose another"
    ]


def test_networks_beside_those_of_pods_are_taken() -> None:
    assert mistakes(pod_ranges=(ipaddress.IPv4Network("10.4.0.0/14"), ipaddress.IPv4Network("172.28.0.0/16"))) == []


# a claim that the stack makes


@pytest.mark.parametrize(
    ("wanted", "classes"),
    [
        ({}, (STANDARD,)),
        ({}, None),
        ({"storage_class": "fast", "access_mode": RWOP}, None),
        ({"storage_class": "standard"}, (NO_CSI,)),
        ({"storage_class": "standard", "access_mode": RWO}, (STANDARD, NO_CSI)),
        ({"access_mode": RWOP}, (NO_CSI, STANDARD)),
    ],
)
def test_a_class_that_is_there_or_that_nobody_may_ask_for_is_taken(
    wanted: dict[str, Any], classes: tuple[StorageClass, ...] | None
) -> None:
    assert mistakes({"daemon": {"claim": wanted}}, storage_classes=classes) == []


@pytest.mark.parametrize(
    ("wanted", "classes", "message"),
    [
        (
            {"storage_class": "fast"},
            (STANDARD, NO_CSI),
            "settings.daemon.claim.storage_class: 'fast' is no class of the cluster: use one of standard, standard-rwo",
        ),
        (
            {"storage_class": "fast"},
            (),
            "settings.daemon.claim.storage_class: 'fast' is no class of the cluster: make one first",
        ),
        (
            {},
            (NO_CSI,),
            "settings.daemon.claim.storage_class: none is needed, as the cluster has no default class: use one of "
            "standard",
        ),
        (
            {},
            (),
            "settings.daemon.claim.storage_class: none is needed, as the cluster has no default class: make one first",
        ),
        (
            {"storage_class": "standard", "access_mode": RWOP},
            (STANDARD, NO_CSI),
            "settings.daemon.claim.access_mode: 'ReadWriteOncePod' cannot be had of class standard, which no CSI "
            "driver serves: use ReadWriteOnce, or another class",
        ),
        (
            {"access_mode": RWOP},
            (dataclasses.replace(NO_CSI, is_default=True),),
            "settings.daemon.claim.access_mode: 'ReadWriteOncePod' cannot be had of class standard, which no CSI "
            "driver serves: use ReadWriteOnce, or another class",
        ),
    ],
)
def test_a_class_that_does_not_fit_is_refused(
    wanted: dict[str, Any], classes: tuple[StorageClass, ...], message: str
) -> None:
    assert mistakes({"daemon": {"claim": wanted}}, storage_classes=classes) == [message]


@pytest.mark.parametrize(
    ("wanted", "found", "classes"),
    [
        ({}, {}, (STANDARD,)),
        ({"size_gib": 200}, {}, (STANDARD,)),
        ({"size_gib": 200}, {}, None),
        ({"size_gib": 100}, {}, (dataclasses.replace(STANDARD, can_grow=False),)),
        ({"access_mode": RWO}, {}, (STANDARD,)),
        ({"storage_class": STANDARD.name}, {}, (STANDARD,)),
    ],
)
def test_a_claim_that_is_there_may_stay_as_it_is_or_grow(
    wanted: dict[str, Any], found: dict[str, Any], classes: tuple[StorageClass, ...] | None
) -> None:
    assert mistakes({"daemon": {"claim": wanted}}, claim=claim(**found), storage_classes=classes) == []


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            {"size_gib": 50},
            f"settings.daemon.claim.size_gib: 50 is less than the 100 GiB that claim {PREFIX}-dind-data has, and no "
            "claim shrinks: keep 100",
        ),
        (
            {"size_gib": 200},
            f"settings.daemon.claim.size_gib: 200 is more than the 100 GiB that claim {PREFIX}-dind-data has, and its "
            "class standard-rwo lets no claim grow (allowVolumeExpansion): keep 100",
        ),
    ],
)
def test_a_claim_that_is_there_does_not_shrink_and_grows_only_where_its_class_allows_that(
    wanted: dict[str, Any], message: str
) -> None:
    classes = (dataclasses.replace(STANDARD, can_grow=False),)
    assert mistakes({"daemon": {"claim": wanted}}, claim=claim(), storage_classes=classes) == [message]


@pytest.mark.parametrize(
    ("wanted", "found", "message"),
    [
        (
            {"storage_class": "standard"},
            {},
            "settings.daemon.claim.storage_class: 'standard' cannot be had any more, as claim ci-dev-dind-data is "
            "there with standard-rwo",
        ),
        (
            {"access_mode": RWOP},
            {},
            "settings.daemon.claim.access_mode: 'ReadWriteOncePod' cannot be had any more, as claim ci-dev-dind-data "
            "is there with ReadWriteOnce",
        ),
        (
            {"access_mode": RWO},
            {"access_modes": (RWOP,)},
            "settings.daemon.claim.access_mode: 'ReadWriteOnce' cannot be had any more, as claim ci-dev-dind-data is "
            "there with ReadWriteOncePod",
        ),
    ],
)
def test_a_claim_that_is_there_changes_neither_class_nor_access_mode(
    wanted: dict[str, Any], found: dict[str, Any], message: str
) -> None:
    daemon = {"claim": wanted}
    assert mistakes({"daemon": daemon}, claim=claim(**found), storage_classes=(STANDARD, NO_CSI)) == [
        f"{message}: keep that, or delete the claim first (daemon.claim.protect: false, make up, make down)"
    ]


@pytest.mark.parametrize(
    "classes", [(), (dataclasses.replace(STANDARD, is_default=False),), (dataclasses.replace(STANDARD, name="new"),)]
)
def test_a_claim_that_is_there_needs_no_default_class_any_more(classes: tuple[StorageClass, ...]) -> None:
    assert mistakes(claim=claim(), storage_classes=classes) == []


@pytest.mark.parametrize("stack", [None, "other"])
def test_a_claim_of_the_stacks_name_that_is_not_its_own_is_left_alone(stack: str | None) -> None:
    # Nothing else is said of it: to shrink or to grow it is not this stack's business.
    assert mistakes({"daemon": {"claim": {"size_gib": 50}}}, claim=claim(stack=stack)) == [
        f"settings.daemon.claim: '{PREFIX}-dind-data' is there already and belongs to something else: name it in "
        "daemon.existing_claim to use it, or choose another name for the stack"
    ]


# a claim that the settings name

NAMESPACE = Namespace(labels={})


def adopting(**daemon: Any) -> dict[str, Any]:
    return IN_IT | {"daemon": {"existing_claim": "cache"} | daemon}


@pytest.mark.parametrize("modes", [(RWO,), (RWOP,), ("ReadOnlyMany", RWO)])
@pytest.mark.parametrize("phase", ["Bound", "Pending"])
@pytest.mark.parametrize("stack", [None, "other"])
def test_a_claim_that_is_the_daemons_alone_is_taken_whoever_made_it(
    modes: tuple[str, ...], phase: str, stack: str | None
) -> None:
    found = claim(name="cache", access_modes=modes, phase=phase, stack=stack)
    # Neither class nor size of the claim that the stack would make matter.
    assert mistakes(adopting(), namespace=NAMESPACE, claim=found, storage_classes=()) == []


def test_a_claim_that_is_not_there_is_missed() -> None:
    assert mistakes(adopting(), namespace=NAMESPACE) == [
        "settings.daemon.existing_claim: 'cache' is not there in namespace ci: create it, or remove the setting"
    ]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"phase": "Lost"}, "has lost its volume: use another claim, or remove the setting"),
        (
            {"access_modes": ("ReadWriteMany", "ReadOnlyMany")},
            "has access mode ReadWriteMany, ReadOnlyMany, and a daemon needs its disk for itself: use a claim with "
            "ReadWriteOncePod or ReadWriteOnce",
        ),
        (
            {"users": ("backup", "web-0")},
            "is in use by pod backup, web-0, and two would corrupt it: stop that, or use another",
        ),
    ],
)
def test_a_claim_that_the_daemon_cannot_have_for_itself_is_refused(found: dict[str, Any], message: str) -> None:
    assert mistakes(adopting(), namespace=NAMESPACE, claim=claim(name="cache", **found)) == [
        f"settings.daemon.existing_claim: 'cache' {message}"
    ]


@pytest.mark.parametrize(
    ("size", "budget", "right"), [(100, 91, 60), (10, 10, 6), (1, 1, 1)], ids=["100 GiB", "10 GiB", "1 GiB"]
)
def test_a_cache_has_to_leave_room_on_the_claim_that_the_settings_name(size: int, budget: int, right: int) -> None:
    found = claim(name="cache", size_gib=size)
    assert mistakes(adopting(cache_budget_gib=budget), namespace=NAMESPACE, claim=found) == [
        f"settings.daemon.cache_budget_gib: {budget} leaves too little of claim cache of {size} GiB for images and "
        f"containers: use {right} or less"
    ]


def test_a_cache_that_leaves_a_tenth_of_the_claim_is_taken() -> None:
    found = claim(name="cache", size_gib=500)
    assert mistakes(adopting(cache_budget_gib=450), namespace=NAMESPACE, claim=found) == []


# all at once


def test_everything_that_does_not_fit_is_said_at_once() -> None:
    lines = mistakes(
        {"daemon": {"claim": {"size_gib": 50}}},
        missing_rights=("create secrets",),
        namespace=Namespace(labels={}),
        refusal=WARDEN,
        pod_ranges=(ipaddress.IPv4Network("172.29.0.0/24"),),
        claim=claim(),
    )
    assert [line.split()[0] for line in lines] == [
        "settings.cluster:",
        "settings.namespace:",
        "settings.cluster:",
        "settings.daemon.subnet:",
        "settings.daemon.claim.size_gib:",
    ]


def test_a_default_class_that_is_missing_hides_no_other_mistake() -> None:
    lines = mistakes(missing_rights=("create secrets",), storage_classes=(NO_CSI,))
    assert [line.split()[0] for line in lines] == ["settings.cluster:", "settings.daemon.claim.storage_class:"]


def test_nothing_of_the_daemon_matters_where_there_is_none() -> None:
    found: dict[str, Any] = {
        "refusal": WARDEN,
        "pod_ranges": (ipaddress.IPv4Network("172.29.0.0/24"),),
        "claim": claim(),
    }
    settings = {"daemon": {"claim": {"size_gib": 50}}}
    assert len(mistakes(settings, **found)) == 3
    assert mistakes(settings | PLAIN, **found) == []


# what is left to the cluster


@pytest.mark.parametrize(
    ("wanted", "classes", "mode"),
    [
        ({}, (STANDARD,), RWOP),
        ({}, (dataclasses.replace(NO_CSI, is_default=True), STANDARD), RWO),
        ({"storage_class": "standard"}, (STANDARD, NO_CSI), RWO),
        ({}, None, RWO),
        ({"access_mode": RWO}, (STANDARD,), RWO),
        ({"access_mode": RWOP}, None, RWOP),
    ],
)
def test_a_claim_serves_one_pod_where_a_csi_driver_can_see_to_that(
    wanted: dict[str, Any], classes: tuple[StorageClass, ...] | None, mode: str
) -> None:
    settings = gke_settings(daemon={"claim": wanted})
    assert fitted(settings, facts(storage_classes=classes)).daemon.claim.access_mode == mode


@pytest.mark.parametrize("mode", [RWO, RWOP])
def test_a_claim_that_is_there_keeps_its_access_mode(mode: str) -> None:
    completed = fitted(gke_settings(), facts(claim=claim(access_modes=(mode,))))
    assert completed.daemon.claim.access_mode == mode


@pytest.mark.parametrize(
    ("daemon", "found", "budget"),
    [
        ({}, None, 60),
        ({"claim": {"size_gib": 500}}, None, 300),
        ({"claim": {"size_gib": 5}}, None, 3),
        ({"claim": {"size_gib": 500}}, claim(), 300),
        ({"cache_budget_gib": 5}, None, 5),
        ({"cache_budget_gib": 60, "claim": {"size_gib": 500}}, None, 60),
        ({"existing_claim": "cache"}, claim(name="cache", size_gib=1000), 600),
        ({"existing_claim": "cache", "cache_budget_gib": 7}, claim(name="cache", size_gib=1000), 7),
    ],
)
def test_the_cache_gets_its_share_of_the_claim_unless_the_settings_say_more(
    daemon: dict[str, Any], found: ClaimFound | None, budget: int
) -> None:
    more = IN_IT if "existing_claim" in daemon else {}
    assert fitted(gke_settings(daemon=daemon, **more), facts(claim=found)).daemon.cache_budget_gib == budget


def test_nothing_else_is_left_to_the_cluster() -> None:
    settings = gke_settings(daemon={"claim": {"size_gib": 500}})
    before, after = settings.model_dump(), fitted(settings, facts()).model_dump()
    after["daemon"]["cache_budget_gib"] = before["daemon"]["cache_budget_gib"]
    after["daemon"]["claim"]["access_mode"] = None
    assert after == before


# warnings

NEED = (
    "NetworkPolicy, without which every pod of the cluster reaches the daemon's port, where only the client's "
    "certificate keeps it out. On GKE, use Dataplane V2, or see "
    "https://cloud.google.com/kubernetes-engine/docs/how-to/network-policy"
)
NEED_WITHOUT_TLS = (
    "NetworkPolicy, without which every pod of the cluster reaches the daemon's port, and is root in the daemon. On "
    "GKE, use Dataplane V2, or see https://cloud.google.com/kubernetes-engine/docs/how-to/network-policy"
)


@pytest.mark.parametrize(
    ("settings", "enforcers", "warnings"),
    [
        ({}, ("anetd",), []),
        ({}, ("calico-node", "cilium"), []),
        ({}, (), [f"settings.network.policy: mine does not seem to enforce {NEED}"]),
        ({}, None, [f"settings.network.policy: mine does not say whether it enforces {NEED}"]),
        (
            {"daemon": {"transport": "tcp"}},
            (),
            [f"settings.network.policy: mine does not seem to enforce {NEED_WITHOUT_TLS}"],
        ),
        ({"network": {"policy": False}}, (), []),
        (PLAIN, (), []),
    ],
)
def test_a_cluster_that_may_not_enforce_the_policy_is_warned_of(
    settings: dict[str, Any], enforcers: tuple[str, ...] | None, warnings: list[str]
) -> None:
    assert list(warnings_about_cluster(gke_settings(**settings), facts(enforcers=enforcers))) == warnings


@pytest.mark.parametrize(
    ("daemon", "warnings"),
    [
        ({"cpu_request": 2.0, "memory_request_mib": 4096}, []),
        (
            {"cpu_request": 2.1},
            [
                "settings.daemon.cpu_request: 2.1 is more than any node of mine has for pods (2): the daemon waits "
                "until there is one that has it"
            ],
        ),
        (
            {"memory_request_mib": 4097},
            [
                "settings.daemon.memory_request_mib: 4097 is more than any node of mine has for pods (4096): the "
                "daemon waits until there is one that has it"
            ],
        ),
    ],
)
def test_a_daemon_that_no_node_has_room_for_is_warned_of(daemon: dict[str, Any], warnings: list[str]) -> None:
    found = facts(enforcers=("anetd",), most_cpus=2.0, most_memory_mib=4096)
    assert list(warnings_about_cluster(gke_settings(daemon=daemon), found)) == warnings
