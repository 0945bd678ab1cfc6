"""GitLab Runner's config.toml: parsed again and compared with what each kind, transport and executor needs."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from components.config_toml import render
from components.defaults import CLIENT_IMAGE, DAEMON_IMAGE
from components.job_pods import JobPods
from components.tables import merge
from stacks.targets import parse
from tests.unit.samples import TOKEN, WITH_CLIENT, changed, gke_settings, plain, runner

SOCKET = "unix:///var/run/docker.sock"
TLS_HOST = {"host": "tcp://docker:2376", "tls_verify": True, "tls_cert_path": "/certs/client"}
TLS_ENVIRONMENT = ["DOCKER_HOST=tcp://docker:2376", "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=/certs/client"]
TCP_ENVIRONMENT = ["DOCKER_HOST=tcp://docker:2375", "DOCKER_TLS_CERTDIR="]
GATEWAY = {"extra_hosts": ["docker:host-gateway"]}
JOB_DAEMON = {
    "services": [{"name": DAEMON_IMAGE, "alias": "docker"}],
    "services_privileged": True,
    "allowed_privileged_services": [DAEMON_IMAGE],
}
HOSTS: dict[str, dict[str, Any]] = {
    "tls": TLS_HOST,
    "tcp": {"host": "tcp://docker:2375"},
    "socket": {"host": "unix:///run/dind/docker.sock"},
}


def rendered(**settings: Any) -> dict[str, Any]:
    """The parsed config.toml of a stack with these settings."""
    parsed = parse(plain(**settings))
    return tomllib.loads(render(parsed.spec(), {runner.name: f"glrt-{runner.name}" for runner in parsed.runners}))


def entry(**settings: Any) -> dict[str, Any]:
    """The one `[[runners]]` entry of a stack with this runner; `daemon` is the stack's."""
    daemon = settings.pop("daemon", {})
    (only,) = rendered(daemon=daemon, runner_image=WITH_CLIENT, runners=[runner(**settings)])["runners"]
    assert isinstance(only, dict)
    return only


def test_the_whole_file_of_the_smallest_stack_is_as_documented() -> None:
    assert rendered() == {
        "concurrent": 4,
        "check_interval": 3,
        "log_level": "info",
        "runners": [
            {
                "name": "docker",
                "url": "https://gitlab.example.com",
                "token": "glrt-docker",
                "executor": "docker",
                "limit": 0,
                "request_concurrency": 2,
                "environment": TLS_ENVIRONMENT,
                "feature_flags": {"FF_DISABLE_AUTOMATIC_TOKEN_ROTATION": True},
                "docker": {
                    **TLS_HOST,
                    **GATEWAY,
                    "image": CLIENT_IMAGE,
                    "privileged": False,
                    "pull_policy": "always",
                    "volumes": ["/cache", "/certs/client:/certs/client:ro"],
                },
            }
        ],
    }


@pytest.mark.parametrize(
    ("kind", "transport", "environment", "volumes", "others"),
    [
        ("dind", "tls", TLS_ENVIRONMENT, ["/certs/client:/certs/client:ro"], GATEWAY),
        ("dind", "tcp", TCP_ENVIRONMENT, [], GATEWAY),
        ("dind", "socket", [f"DOCKER_HOST={SOCKET}"], ["/run/dind/docker.sock:/var/run/docker.sock"], {}),
        *(
            ("job-dind", transport, ["DOCKER_TLS_CERTDIR=/certs", *TLS_ENVIRONMENT], ["/certs/client"], JOB_DAEMON)
            for transport in HOSTS
        ),
        *(("plain", transport, [], [], {}) for transport in HOSTS),
    ],
)
def test_jobs_of_each_kind_find_their_daemon_over_each_transport(
    kind: str, transport: str, environment: list[str], volumes: list[str], others: dict[str, Any]
) -> None:
    only = entry(kind=kind, daemon={"transport": transport})
    assert only["environment"] == environment
    assert only["docker"] == {
        **HOSTS[transport],
        **others,
        "image": CLIENT_IMAGE,
        "privileged": False,
        "pull_policy": "always",
        "volumes": ["/cache", *volumes],
    }


@pytest.mark.parametrize("transport", HOSTS)
def test_host_docker_jobs_get_the_hosts_socket_whatever_the_transport(transport: str) -> None:
    runners = [runner(kind="host-docker")]
    settings = parse(plain(daemon={"transport": transport}, runners=runners, host_socket="/run/podman.sock"))
    (only,) = tomllib.loads(render(settings.spec(), {"docker": TOKEN}))["runners"]
    assert only["environment"] == [f"DOCKER_HOST={SOCKET}"]
    assert only["docker"]["host"] == SOCKET
    assert only["docker"]["volumes"] == ["/cache", "/run/podman.sock:/var/run/docker.sock"]
    assert not {"tls_verify", "tls_cert_path", "extra_hosts", "services"} & set(only["docker"])


@pytest.mark.parametrize(
    ("kind", "transport", "environment"),
    [
        ("plain", "tls", []),
        ("plain", "tcp", []),
        ("plain", "socket", []),
        ("dind", "tls", TLS_ENVIRONMENT),
        ("dind", "tcp", TCP_ENVIRONMENT),
    ],
)
def test_the_shell_has_no_docker_table_and_builds_with_the_daemon_by_variables(
    kind: str, transport: str, environment: list[str]
) -> None:
    only = entry(kind=kind, executor="shell", daemon={"transport": transport})
    assert only["executor"] == "shell"
    assert only["environment"] == environment
    assert "docker" not in only


@pytest.mark.parametrize("transport", HOSTS)
@pytest.mark.parametrize("executor", ["docker", "shell"])
def test_nothing_of_a_daemon_leaks_into_plain_jobs(transport: str, executor: str) -> None:
    only = entry(kind="plain", executor=executor, daemon={"transport": transport})
    # Which daemon runs the containers is the runner's own business; everything else is the job's.
    seen = {key: value for key, value in only.get("docker", {}).items() if not key.startswith(("host", "tls_"))}
    told = str([only["environment"], seen])
    assert not [word for word in ("DOCKER", "certs", "sock", "dind", "2375", "2376", "gateway") if word in told]


def test_the_daemons_other_name_is_used_everywhere() -> None:
    only = entry(daemon={"endpoint": "tcp://builder:2376"})
    assert only["environment"][0] == "DOCKER_HOST=tcp://builder:2376"
    assert only["docker"]["host"] == "tcp://builder:2376"
    assert only["docker"]["extra_hosts"] == ["builder:host-gateway"]
    # The daemon of a job is a service with a name of its own.
    assert (
        "DOCKER_HOST=tcp://docker:2376"
        in entry(kind="job-dind", daemon={"endpoint": "tcp://builder:2376"})["environment"]
    )


@pytest.mark.parametrize(
    ("setting", "value", "key", "expected"),
    [
        ("image", "alpine:3.22", "image", "alpine:3.22"),
        ("helper_image", "helper:1", "helper_image", "helper:1"),
        ("privileged", True, "privileged", True),
        ("pull_policy", "never", "pull_policy", "never"),
        ("pull_policy", ["always", "if-not-present"], "pull_policy", ["always", "if-not-present"]),
        ("shm_size_mib", 64, "shm_size", 67108864),
        ("network_mode", "host", "network_mode", "host"),
        ("cpus", 1.5, "cpus", "1.5"),
        ("cpus", 1.5, "service_cpus", "1.5"),
        ("cpus", 2, "cpus", "2"),
        ("cpus", 1023.9, "cpus", "1023.9"),
        ("memory_mib", 512, "memory", "512m"),
        ("memory_mib", 512, "service_memory", "512m"),
        ("volumes", ["/a:/b:ro"], "volumes", ["/cache", "/certs/client:/certs/client:ro", "/a:/b:ro"]),
    ],
)
def test_a_setting_of_job_containers_arrives_in_the_docker_table(
    setting: str, value: object, key: str, expected: object
) -> None:
    assert entry(**{setting: value})["docker"][key] == expected


@pytest.mark.parametrize(
    "key",
    [
        "helper_image",
        "shm_size",
        "network_mode",
        "services",
        "services_privileged",
        "allowed_privileged_services",
        "cpus",
        "service_cpus",
        "memory",
        "service_memory",
    ],
)
def test_what_is_not_set_is_left_to_the_runner(key: str) -> None:
    assert key not in entry()["docker"]


@pytest.mark.parametrize("kind", ["plain", "dind", "host-docker", "job-dind"])
def test_jobs_of_every_kind_and_their_services_have_their_limits(kind: str) -> None:
    table = entry(kind=kind, cpus=0.5, memory_mib=64)["docker"]
    assert {key: table[key] for key in table if key.endswith(("cpus", "memory"))} == {
        "cpus": "0.5",
        "service_cpus": "0.5",
        "memory": "64m",
        "service_memory": "64m",
    }


def test_the_job_daemon_is_the_only_privileged_container_of_its_job() -> None:
    table = entry(kind="job-dind", job_daemon_image="mine/dind:1")["docker"]
    assert table["services"] == [{"name": "mine/dind:1", "alias": "docker"}]
    assert (table["privileged"], table["services_privileged"]) == (False, True)
    assert table["allowed_privileged_services"] == ["mine/dind:1"]


@pytest.mark.parametrize("executor", ["docker", "shell"])
def test_every_runner_trusts_the_ca_of_a_gitlab_of_ones_own(executor: str) -> None:
    runners = [runner(name=name, kind="plain", executor=executor) for name in ("a", "b")]
    settings = parse(changed("gitlab.ca_file", "not/read/here.pem", runners=runners))
    config = tomllib.loads(render(settings.spec(), {"a": TOKEN, "b": TOKEN}))
    assert [each["tls-ca-file"] for each in config["runners"]] == ["/etc/gitlab-runner/certs/gitlab-ca.pem"] * 2


def test_limits_cache_and_variables_arrive_in_the_runners_entry() -> None:
    only = entry(
        limit=2, request_concurrency=3, cache={"Type": "s3", "s3": {"BucketName": "b"}}, environment={"A": "ü="}
    )
    assert (only["limit"], only["request_concurrency"]) == (2, 3)
    assert only["cache"] == {"Type": "s3", "s3": {"BucketName": "b"}}
    assert only["environment"] == [*TLS_ENVIRONMENT, "A=ü="]


def test_a_runners_own_variable_wins_over_the_injected_one() -> None:
    assert entry(environment={"DOCKER_HOST": "tcp://else:1"})["environment"] == [
        "DOCKER_HOST=tcp://else:1",
        *TLS_ENVIRONMENT[1:],
    ]


def test_global_settings_arrive_at_the_top() -> None:
    config = rendered(concurrent=7, check_interval=9, log_level="warn", metrics_address=":9252")
    config.pop("runners")
    assert config == {"concurrent": 7, "check_interval": 9, "log_level": "warn", "listen_address": ":9252"}


def test_every_runner_keeps_its_own_token_and_its_place() -> None:
    runners = [runner(name="b"), runner(name="a", kind="plain"), runner(name="c", executor="shell")]
    config = rendered(runner_image=WITH_CLIENT, runners=runners)
    assert [(each["name"], each["token"]) for each in config["runners"]] == [
        ("b", "glrt-b"),
        ("a", "glrt-a"),
        ("c", "glrt-c"),
    ]


def test_extra_is_laid_over_the_file_and_over_a_runner_last() -> None:
    config = rendered(
        extra={"session_server": {"listen_address": ":8093"}},
        runners=[
            runner(memory_mib=64, extra={"docker": {"dns": ["9.9.9.9"], "service_memory": "1g"}, "output_limit": 8192})
        ],
    )
    (only,) = config["runners"]
    assert config["session_server"] == {"listen_address": ":8093"}
    assert only["output_limit"] == 8192
    assert only["docker"]["dns"] == ["9.9.9.9"]
    assert (only["docker"]["memory"], only["docker"]["service_memory"]) == ("64m", "1g")
    assert only["docker"]["host"] == "tcp://docker:2376"


@pytest.mark.parametrize(
    ("base", "extra", "merged"),
    [
        ({}, {}, {}),
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": {"b": 1, "c": {"d": 1}}}, {"a": {"c": {"e": 2}}}, {"a": {"b": 1, "c": {"d": 1, "e": 2}}}),
        ({"a": [1, 2]}, {"a": [3, 2]}, {"a": [1, 2, 3]}),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, {"a": [{"b": 1}, {"b": 2}]}),
        ({"a": [{"b": 1}]}, {"a": []}, {"a": [{"b": 1}]}),
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
    ],
)
def test_tables_are_merged_lists_joined_and_anything_else_is_replaced(
    base: dict[str, Any], extra: dict[str, Any], merged: dict[str, Any]
) -> None:
    before = repr((base, extra))
    assert merge(base, extra, join_lists=True) == merged
    assert repr((base, extra)) == before


def test_a_runner_without_a_token_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(KeyError, match="docker"):
        render(parse(plain()).spec(), {})


@pytest.mark.parametrize("value", ['quote " and \\', "line\nend", "größe 🏃", "'''", '"""', "#", "\x7f"])
def test_any_text_survives_the_way_through_toml(value: str) -> None:
    only = entry(environment={"A": value}, extra={"pre_build_script": value})
    assert only["environment"][-1] == f"A={value}"
    assert only["pre_build_script"] == value


# executor kubernetes

LABELS = {"app.kubernetes.io/instance": "ci-dev", "dindrunner.stack": "dev"}
CLIENT = {"dindrunner.client": "true"}
STAYS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
POD_TLS_ENVIRONMENT = ["DOCKER_HOST=tcp://ci-dev-dind:2376", *TLS_ENVIRONMENT[1:]]
POD_TCP_ENVIRONMENT = ["DOCKER_HOST=tcp://ci-dev-dind:2375", "DOCKER_TLS_CERTDIR="]
POD_TLS_VOLUMES = {
    "volumes": {"secret": [{"name": "ci-dev-dind-client", "mount_path": "/certs/client", "read_only": True}]}
}


def pod_entry(transport: str = "tls", **settings: Any) -> dict[str, Any]:
    """The one `[[runners]]` entry of a stack on a cluster with this runner."""
    pods = JobPods(
        namespace="ci",
        service_account="ci-dev-job",
        client_secret="ci-dev-dind-client" if transport == "tls" else None,
        labels=LABELS,
        client_labels=CLIENT,
        annotations=STAYS,
    )
    parsed = gke_settings(daemon={"transport": transport}, runners=[runner(**settings)])
    (only,) = tomllib.loads(render(parsed.spec("ci-dev-dind"), {"docker": "glrt-docker"}, pods))["runners"]
    assert isinstance(only, dict)
    return only


@pytest.mark.parametrize(
    ("kind", "transport", "environment", "labels", "others"),
    [
        ("dind", "tls", POD_TLS_ENVIRONMENT, LABELS | CLIENT, POD_TLS_VOLUMES),
        ("dind", "tcp", POD_TCP_ENVIRONMENT, LABELS | CLIENT, {}),
        ("plain", "tls", [], LABELS, {}),
        ("plain", "tcp", [], LABELS, {}),
    ],
)
def test_jobs_in_pods_of_each_kind_find_their_daemon_over_each_transport(
    kind: str, transport: str, environment: list[str], labels: dict[str, str], others: dict[str, Any]
) -> None:
    assert pod_entry(transport, kind=kind) == {
        "name": "docker",
        "url": "https://gitlab.example.com",
        "token": "glrt-docker",
        "executor": "kubernetes",
        "limit": 0,
        "request_concurrency": 2,
        "environment": environment,
        "feature_flags": {"FF_DISABLE_AUTOMATIC_TOKEN_ROTATION": True},
        "kubernetes": {
            "namespace": "ci",
            "image": CLIENT_IMAGE,
            "pull_policy": "always",
            "privileged": False,
            "service_account": "ci-dev-job",
            "automount_service_account_token": False,
            "poll_timeout": 600,
            "pod_labels": labels,
            "pod_annotations": STAYS,
            **others,
        },
    }


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"image": "alpine:3.22"}, {"image": "alpine:3.22"}),
        ({"helper_image": "helper:1"}, {"helper_image": "helper:1"}),
        ({"privileged": True}, {"privileged": True}),
        ({"pull_policy": "never"}, {"pull_policy": "never"}),
        ({"pull_policy": ["always", "never"]}, {"pull_policy": ["always", "never"]}),
        ({"node_selector": {"pool": "ci"}}, {"node_selector": {"pool": "ci"}}),
        ({"tolerations": [{"key": "ci"}]}, {"node_tolerations": {"ci": "NoSchedule"}}),
        (
            {"tolerations": [{"key": "ci", "value": "yes", "effect": "NoExecute"}, {"key": "spot", "value": ""}]},
            {"node_tolerations": {"ci=yes": "NoExecute", "spot=": "NoSchedule"}},
        ),
        # The runner knows one effect a taint, or any.
        (
            {"tolerations": [{"key": "ci"}, {"key": "ci", "effect": "NoExecute"}, {"key": "ci"}]},
            {"node_tolerations": {"ci": ""}},
        ),
        ({"tolerations": [{"key": "ci"}, {"key": "ci"}]}, {"node_tolerations": {"ci": "NoSchedule"}}),
        ({"extra": {"kubernetes": {"poll_timeout": 900}}}, {"poll_timeout": 900}),
        ({"extra": {"kubernetes": {"pod_labels": {"a": "b"}}}}, {"pod_labels": LABELS | CLIENT | {"a": "b"}}),
    ],
    ids=str,
)
def test_a_setting_of_jobs_in_pods_arrives_in_the_kubernetes_table(
    settings: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert pod_entry(**settings)["kubernetes"] == pod_entry()["kubernetes"] | expected


@pytest.mark.parametrize(
    ("settings", "limits", "requests"),
    [
        ({"cpus": 1.5}, {"cpu": "1.5"}, {"cpu": "1.5"}),
        ({"memory_mib": 512}, {"memory": "512Mi"}, {"memory": "512Mi"}),
        ({"cpu_request": 0.5, "memory_request_mib": 256}, {}, {"cpu": "0.5", "memory": "256Mi"}),
        (
            {"cpus": 2, "memory_mib": 4096, "cpu_request": 0.5, "memory_request_mib": 1024},
            {"cpu": "2", "memory": "4096Mi"},
            {"cpu": "0.5", "memory": "1024Mi"},
        ),
        ({}, {}, {}),
    ],
)
def test_jobs_in_pods_and_their_services_have_their_limits_and_requests(
    settings: dict[str, Any], limits: dict[str, str], requests: dict[str, str]
) -> None:
    table = pod_entry(**settings)["kubernetes"]
    found = {key: amount for key, amount in table.items() if key.endswith(("_limit", "_request"))}
    assert found == {
        f"{owner}{what}_{kind}": amount
        for owner in ("", "service_")
        for kind, amounts in (("limit", limits), ("request", requests))
        for what, amount in amounts.items()
    }
