"""`python -m tools adopt`: from a config.toml to settings that the program reads, with nothing lost in silence."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import yaml

from components.defaults import DAEMON_IMAGE
from stacks.settings.common import Common
from stacks.settings.places import leaves, written
from stacks.targets import parse
from tests.unit.samples import WITH_CLIENT, gke, pi, plain, runner
from tools import adopt_keys as keys
from tools.__main__ import main
from tools.adopt import adopted
from tools.adopt_check import Finding, findings, rendered
from tools.adopt_draft import Verdict
from tools.adopt_file import AdoptError, MisusedError, parsed
from tools.adopt_rules import Wanted, draft_of
from tools.stack_files import SETTINGS_KEY

URL = "https://gitlab.example.com"
KEPT = "glrt-0123456789abcdef"
TLS = {"host": "tcp://docker:2376", "tls_verify": True, "tls_cert_path": "/certs/client"}
SOCKET = "/var/run/docker.sock:/var/run/docker.sock"


def entry(docker: Mapping[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """A `[[runners]]` entry as `gitlab-runner register` writes it, with `keys` laid over it."""
    usual = {"name": "docker", "url": URL, "token": KEPT, "executor": "docker"} | keys
    return usual | ({"docker": docker} if docker is not None else {})


def file(*runners: Mapping[str, Any], **keys: Any) -> dict[str, Any]:
    """A config.toml, through TOML and back."""
    return parsed(tomli_w.dumps({**keys, "runners": list(runners)}).encode(), "config.toml")


def adopt(tables: Mapping[str, Any], **wanted: Any) -> dict[str, Any]:
    """The plain settings that are printed, which the program has to accept."""
    whole = yaml.safe_load(adopted(tables, Wanted(**{"project": "demo/app"} | wanted)))
    settings: dict[str, Any] = whole["config"][SETTINGS_KEY]
    parse(settings)
    return settings


def told(tables: Mapping[str, Any], **wanted: Any) -> dict[str, Finding]:
    """What is said of each value of the file."""
    draft = draft_of(tables, Wanted(**wanted))
    return {written(path): each for path, each in findings(tables, draft, draft.settle()).items()}


def listed(tables: Mapping[str, Any], verdict: Verdict, **wanted: Any) -> dict[str, str]:
    """What is said of the values in one list."""
    return {path: finding.text for path, finding in told(tables, **wanted).items() if finding.verdict is verdict}


STACKS: list[dict[str, Any]] = [
    plain(),
    plain(concurrent=7, check_interval=9, log_level="debug", metrics_address=":9252", extra={"log_format": "json"}),
    plain(gitlab={"url": URL, "scope": "project", "project": "demo/app", "ca_file": "/etc/ssl/certs/ca.pem"}),
    plain(daemon={"endpoint": "tcp://builder:2376"}, runners=[runner(), runner(name="lint", kind="plain")]),
    plain(daemon={"transport": "socket"}, runners=[runner(), runner(name="lint", kind="plain")]),
    plain(host_socket="/run/user/1000/podman.sock", runners=[runner(kind="host-docker", volumes=["/srv:/srv:ro"])]),
    plain(runners=[runner(kind="job-dind", job_daemon_image="docker:27.5.1-dind")]),
    plain(runners=[runner(kind="plain", executor="shell", environment={"A": "b"})]),
    plain(runner_image=WITH_CLIENT, runners=[runner(executor="shell")]),
    plain(runner_image=WITH_CLIENT, daemon={"endpoint": "tcp://builder:2376"}, runners=[runner(executor="shell")]),
    plain(
        runners=[
            runner(
                image="alpine:3.22",
                helper_image="helper:1",
                limit=3,
                request_concurrency=2,
                pull_policy=["always", "if-not-present"],
                volumes=["/data", "/a:/b:ro", "pip:/root/.cache"],
                environment={"LC_ALL": "en_US.UTF-8", "EMPTY": "", "WORDS": "a b=c"},
                cpus=1.5,
                memory_mib=512,
                shm_size_mib=128,
                network_mode="host",
                cache={"Type": "s3", "Shared": True, "s3": {"BucketName": "ci", "SecretKey": "x"}},
                extra={
                    "output_limit": 8192,
                    "pre_build_script": "set -e\necho hello\n",
                    "feature_flags": {"FF_NETWORK_PER_BUILD": True, "FF_USE_FASTZIP": False},
                    "docker": {
                        "dns": ["9.9.9.9"],
                        "service_memory": "1g",
                        "allowed_images": ["ruby:*"],
                        "sysctls": {"net.ipv4.ip_forward": "1"},
                        "services": [{"name": "postgres:16", "alias": "db", "command": ["-c", "fsync=off"]}],
                    },
                },
            )
        ]
    ),
    pi(),
    pi(runners=[runner(pull_policy=["always"]), runner(name="own", kind="host-docker")]),
    gke(),
    gke(namespace="ci", create_namespace=False, runners=[runner(kind="plain")]),
    gke(
        namespace="ci",
        create_namespace=False,
        runners=[
            runner(
                cpus=2,
                memory_mib=4096,
                cpu_request=0.5,
                memory_request_mib=512,
                image="alpine:3.22",
                node_selector={"cloud.google.com/gke-spot": "true"},
                tolerations=[
                    {"key": "spot", "value": "true", "effect": "NoSchedule"},
                    {"key": "any", "effect": "NoSchedule"},
                    {"key": "any", "effect": "NoExecute"},
                ],
                extra={
                    "kubernetes": {
                        "helper_memory_limit": "256Mi",
                        "volumes": {"pvc": [{"name": "a", "mount_path": "/a"}]},
                    }
                },
            )
        ],
    ),
]
"""Settings whose every value is in config.toml, but for those of GitLab and of the daemon itself."""

NOT_IN_CONFIG_TOML = ("gitlab", "docker_host", "cluster", "runner_image", "tags", "token", "ca_file", "namespace")


def comparable(settings: Common) -> dict[str, Any]:
    """The settings without what the file does not say."""
    plain_settings = settings.model_dump(mode="json", exclude=set(NOT_IN_CONFIG_TOML) | {"create_namespace"})
    plain_settings["runners"] = [
        {key: value for key, value in each.items() if key not in (*NOT_IN_CONFIG_TOML, "description")}
        for each in plain_settings["runners"]
    ]
    return plain_settings


@pytest.mark.parametrize("stack", STACKS, ids=range(len(STACKS)))
def test_the_settings_of_the_programs_own_file_are_found_again(stack: dict[str, Any]) -> None:
    settings = parse(stack)
    again = parse(adopt(rendered(settings), target=stack["target"]) | _as_printed(stack))
    expected = comparable(settings)
    if stack.get("concurrent") is None:
        # The file has the number, where the settings left it open.
        expected["concurrent"] = settings.jobs_at_once
    for each in expected["runners"]:
        each["limit"] = each["limit"] or 0
    assert comparable(again) == expected


def _as_printed(stack: Mapping[str, Any]) -> dict[str, Any]:
    """Placeholders with the values that only the person who adopts knows; secrets set again."""
    known = {key: stack[key] for key in ("cluster", "runner_image") if key in stack}
    if "SecretKey" not in str(stack):
        return known
    tables = rendered(parse(stack))
    entries = adopt(tables, target=stack["target"])["runners"]
    entries[0]["cache"]["s3"]["SecretKey"] = "x"
    return known | {"runners": entries}


@pytest.mark.parametrize("stack", STACKS, ids=range(len(STACKS)))
def test_the_file_that_the_adopted_settings_make_is_the_one_they_come_from(stack: dict[str, Any]) -> None:
    tables = rendered(parse(stack))
    draft = draft_of(tables, Wanted(target=stack["target"]))
    again = rendered(draft.settle())
    assert again == tables
    for verdict in (Verdict.UNSUPPORTED, Verdict.CHANGED):
        assert listed(tables, verdict, target=stack["target"]) == {}


def test_every_value_is_in_exactly_one_list_and_what_is_taken_over_is_rendered_again() -> None:
    tables = file(
        entry(
            {"image": "alpine", "privileged": True, "devices": ["/dev/kvm"], "shm_size": 0}, environment=["A=1", "B"]
        ),
        entry({"image": "alpine:3.22"}, name="other", mystery={"deep": [1, {"er": True}]}),
        concurrent=5,
        user="ci",
    )
    found = told(tables)
    assert set(found) == {written(path) for path, _ in leaves(tables)}
    printed = adopted(tables, Wanted())
    for verdict in Verdict:
        count = sum(finding.verdict is verdict for finding in found.values())
        assert f"# {verdict} ({count} of {len(found)} values of config.toml)" in printed
    assert {path for path, finding in found.items() if finding.verdict is Verdict.UNSUPPORTED} == {
        "runners[0].environment[1]",
        "runners[1].mystery.deep[0]",
        "runners[1].mystery.deep[1].er",
        "user",
    }


def test_a_value_that_would_come_out_otherwise_is_never_called_taken_over() -> None:
    tables = file(entry({"image": "alpine:3.22", "memory": "8m"}, limit=-1), check_interval=5)
    found = told(tables)
    assert found["runners[0].limit"].verdict is Verdict.UNSUPPORTED
    assert found["runners[0].limit"].text == "-1 is not accepted: Input should be greater than or equal to 0".replace(
        "Input ", ""
    )
    assert found["check_interval"].verdict is Verdict.TAKEN
    assert adopt(tables)["runners"][0]["extra"] == {"docker": {"memory": "8m"}}


@pytest.mark.parametrize(
    ("docker", "keys", "kind"),
    [
        ({"image": "alpine:3.22"}, {}, "plain"),
        ({"volumes": [SOCKET]}, {}, "host-docker"),
        ({"volumes": ["/run/docker.sock:/var/run/docker.sock:ro"], "privileged": True}, {}, "host-docker"),
        ({"privileged": True}, {}, "dind"),
        ({"privileged": True, "volumes": ["/certs/client", "/cache"]}, {}, "dind"),
        ({"privileged": True, "services": [{"name": "docker:27.5-dind"}]}, {}, "job-dind"),
        ({"host": "tcp://dind:2375"}, {}, "dind"),
        (TLS, {}, "plain"),
        (TLS, {"environment": ["DOCKER_HOST=tcp://docker:2376"]}, "dind"),
        (TLS | {"volumes": ["/certs/client:/certs/client:ro"]}, {}, "dind"),
        ({"host": "unix:///run/dind/docker.sock"}, {}, "plain"),
        (
            {"host": "unix:///run/dind/docker.sock", "volumes": ["/run/dind/docker.sock:/var/run/docker.sock"]},
            {},
            "dind",
        ),
        (None, {"executor": "shell"}, "plain"),
        (None, {"executor": "shell", "environment": ["DOCKER_HOST=tcp://docker:2376"]}, "dind"),
    ],
)
def test_the_kind_is_told_by_what_the_jobs_are_given(docker: Any, keys: dict[str, Any], kind: str) -> None:
    assert adopt(file(entry(docker, **keys)))["runners"][0]["kind"] == kind


@pytest.mark.parametrize(
    ("kubernetes", "kind"),
    [
        ({"image": "alpine:3.22"}, "plain"),
        ({"privileged": True}, "dind"),
        (
            {"volumes": {"host_path": [{"name": "docker", "mount_path": "/d", "host_path": "/var/run/docker.sock"}]}},
            "dind",
        ),
        ({"volumes": {"host_path": [{"name": "docker", "mount_path": "/var/run/docker.sock"}]}}, "dind"),
        ({"services": [{"name": "docker:27-dind"}]}, "dind"),
    ],
)
def test_on_a_cluster_every_way_to_build_becomes_the_stacks_daemon(kubernetes: Any, kind: str) -> None:
    settings = adopt(file(entry(executor="kubernetes", kubernetes=kubernetes)))
    assert settings["target"] == "gke"
    assert settings["runners"][0]["kind"] == kind
    assert not {"privileged", "extra"} & set(settings["runners"][0])


@pytest.mark.parametrize(
    ("docker", "path", "text"),
    [
        (
            {"host": "tcp://dind:2375"},
            "host",
            "the stack makes a daemon of its own, tcp://dind:2376: it was plaintext, and whoever reached it was root "
            "in it",
        ),
        (
            {"host": "tcp://192.0.2.7:2376", "tls_verify": True},
            "host",
            "the stack makes a daemon of its own, tcp://docker:2376: with mutual TLS",
        ),
        (
            {"image": "docker:latest"},
            "image",
            f"'docker:latest' is not pinned: name a version tag or a digest, for example {DAEMON_IMAGE}. Until "
            "you do, the default holds",
        ),
        (
            {"privileged": True},
            "privileged",
            "false: jobs build with the stack's daemon and need no privileges: remove docker:dind from the services of "
            ".gitlab-ci.yml. Set privileged where jobs cannot do without",
        ),
        (
            {"pull_policy": "never"},
            "pull_policy",
            "always, or a job could use an image of another project just because it is there: set pull_policy where "
            "images are made on this machine and nowhere else",
        ),
        (
            {"pull_policy": ["if-not-present", "always"]},
            "pull_policy[0]",
            "always, or a job could use an image of another project just because it is there: set pull_policy where "
            "images are made on this machine and nowhere else",
        ),
        (
            {"services": [{"name": "docker:dind"}], "privileged": True},
            "services[0].name",
            f"{DAEMON_IMAGE}, as the one that is there is not pinned",
        ),
        (
            {"cap_add": ["SYS_ADMIN"]},
            "cap_add[0]",
            "left out, as it makes the wall around a job lower: write it in extra.docker.cap_add where jobs need it",
        ),
    ],
)
def test_what_is_unsafe_is_changed_and_told(docker: dict[str, Any], path: str, text: str) -> None:
    tables = file(entry(docker))
    assert listed(tables, Verdict.CHANGED)[f"runners[0].docker.{path}"] == text
    settings = adopt(tables)
    assert settings.get("daemon", {}).get("transport", "tls") == "tls"
    assert not {"privileged", "pull_policy", "image", "extra"} & set(settings["runners"][0])


@pytest.mark.parametrize(
    ("keys", "path", "text"),
    [
        (
            {"docker": {"volumes": ["/srv/cache:/cache"]}},
            "docker.volumes[0]",
            "its source is a path of the host, and jobs run inside the stack's own daemon: use a named volume, an "
            "image that has the files, or kind host-docker",
        ),
        (
            {"docker": {"gpus": "all"}},
            "docker.gpus",
            "it names something of the host, and jobs run in the stack's own daemon",
        ),
        (
            {"docker": {"Image": "alpine:3.22"}},
            "docker.Image",
            "GitLab Runner documents it as image: correct that, and adopt the file again",
        ),
        (
            {"docker": {"imge": "alpine:3.22"}},
            "docker.imge",
            "no key that this command knows: it may be misspelt or too old; else write it in extra",
        ),
        ({"tls-cert-file": "/x"}, "tls-cert-file", "the runner's container has no certificate of a client for GitLab"),
        (
            {"executor": "shell", "docker": {"image": "a:1"}},
            "docker.image",
            "executor shell does not read [runners.docker]",
        ),
        (
            {"environment": ["A=1", "A=2"]},
            "environment[0]",
            "the same name is there once more, and the last one counts",
        ),
        (
            {"cache": {"Type": "gcs", "gcs": {"BucketName": "b", "CredentialsFile": "/key.json"}}},
            "cache.gcs.CredentialsFile",
            "the runner's container has no such file",
        ),
        (
            {"output_limit": float("nan")},
            "output_limit",
            "a stack file cannot hold such a value: TOML's dates, nan, inf, and a key `secure`",
        ),
        (
            {"docker": {"network_mode": "host"}},
            "docker.network_mode",
            "that network is the host's, and jobs run inside the stack's own daemon",
        ),
        (
            {"docker": {"privileged": True, "services": [{"name": "docker:28.5.2-dind", "command": ["--debug"]}]}},
            "docker.services[0].command[0]",
            "the daemon of kind job-dind takes no options: use kind dind, and daemon",
        ),
        (
            {"docker": {"services": [{"name": "docker:28.5.2-dind"}, {"name": "docker:27.5.1-dind"}]}},
            "docker.services[1].name",
            "kind job-dind has no use for a daemon beside the job",
        ),
        (
            {"executor": "kubernetes", "kubernetes": {"namespace": "ci", "host": "https://192.0.2.1"}},
            "kubernetes.host",
            "the runner is a pod of the cluster, with an account of its own: see cluster",
        ),
        (
            {"executor": "kubernetes", "kubernetes": {"namespace": "ci", "namespace_per_job": True}},
            "kubernetes.namespace_per_job",
            "the jobs' pods run in the stack's namespace, where they reach the daemon",
        ),
        (
            {"executor": "kubernetes", "kubernetes": {"namespace": "$CI_NAMESPACE"}},
            "kubernetes.namespace",
            "it is no name of a namespace: set namespace",
        ),
        (
            {"executor": "kubernetes", "kubernetes": {"pod_labels": {"app.kubernetes.io/name": "x"}}},
            'kubernetes.pod_labels["app.kubernetes.io/name"]',
            "the stack sets it itself, and tells its pods by it",
        ),
        ({"unhealthy_interval": 2020}, "", ""),
    ],
)
def test_what_has_no_place_in_the_settings_is_told(keys: dict[str, Any], path: str, text: str) -> None:
    assert listed(file(entry(**keys)), Verdict.UNSUPPORTED) == ({f"runners[0].{path}": text} if path else {})


@pytest.mark.parametrize(
    ("first", "second", "path", "text"),
    [
        (
            {"docker": {"volumes": ["/var/run/docker.sock:/var/run/docker.sock"]}},
            {"docker": {"volumes": ["/run/user/1000/docker.sock:/var/run/docker.sock"]}},
            "docker.volumes[0]",
            "all runners of a stack have one socket, and /var/run/docker.sock was taken: use --only",
        ),
        (
            {"docker": {"host": "tcp://one:2376", "tls_verify": True}},
            {"docker": {"host": "tcp://two:2376", "tls_verify": True}},
            "docker.host",
            "a stack has one daemon, and that of tcp://one:2376 was taken: use --only",
        ),
        (
            {"executor": "kubernetes", "kubernetes": {"namespace": "one"}},
            {"executor": "kubernetes", "kubernetes": {"namespace": "two"}},
            "kubernetes.namespace",
            "all jobs of a stack run in its one namespace",
        ),
    ],
)
def test_what_a_stack_has_once_is_taken_from_the_first_runner_that_has_it(
    first: dict[str, Any], second: dict[str, Any], path: str, text: str
) -> None:
    tables = file(entry(name="a", **first), entry(name="b", **second), concurrent=2)
    assert listed(tables, Verdict.UNSUPPORTED) == {f"runners[1].{path}": text}


def test_fewer_jobs_than_runners_become_one_for_each() -> None:
    tables = file(entry(name="a"), entry(name="b"), concurrent=1)
    assert adopt(tables)["concurrent"] == 2
    assert listed(tables, Verdict.CHANGED) == {
        "concurrent": "2, the number of runners, or some of them would starve",
    }


def test_old_spellings_are_written_as_they_are_called_now() -> None:
    tables = file(entry(pre_clone_script="git config --global a.b c"), log_level="warning")
    settings = adopt(tables)
    assert settings["log_level"] == "warn"
    assert settings["runners"][0]["extra"] == {"pre_get_sources_script": "git config --global a.b c"}
    assert (
        told(tables)["runners[0].pre_clone_script"].text
        == "runners[0].extra.pre_get_sources_script, as it is called now"
    )


def test_own_hosts_of_the_jobs_come_beside_the_daemons() -> None:
    settings = adopt(file(entry(TLS | {"volumes": ["/certs/client"], "extra_hosts": ["a:192.0.2.1"]})))
    assert settings["runners"][0]["extra"]["docker"]["extra_hosts"] == ["docker:host-gateway", "a:192.0.2.1"]


SECRETS: dict[str, Any] = {
    "token": KEPT,
    "environment": [
        "DB_PASSWORD=hunter2secret",
        "PLAIN_LOOKING=s3cr3tvalue",
        "LC_ALL=C",
        "URL=https://u:pw9x@h/p",
        "MAVEN_OPTS=-Dpw=plantedmvn",
        "AWS_REGION=eu-west-1",
    ],
    "pre_build_script": "docker login -u me -p pl4ntedpw registry.example.com",
    "cache": {
        "Type": "s3",
        "s3": {"AccessKey": "AKIAPLANTEDPLANTED00", "SecretKey": "plantedsecretkey", "BucketName": "b"},
    },
    "docker": {
        "services": [
            {"name": "postgres:16", "environment": ["POSTGRES_PASSWORD=plantedpg"]},
            {"name": "redis:7.2", "command": ["--port", "6380", "--requirepass", "plantedredis"]},
        ]
    },
    "ssh": {"password": "plantedssh"},
    "mystery": "plantedmystery",
}


def test_no_secret_of_the_file_is_printed_and_each_is_asked_for_as_a_secret(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(tomli_w.dumps(file(entry(**SECRETS), sentry_dsn="https://0123456789abcdef@sentry.example.com/1")))
    assert main(["adopt", str(path)]) == 0
    out = "".join(capsys.readouterr())
    for secret in (KEPT, "hunter2", "s3cr3t", "pw9x", "pl4nted", "PLANTED", "planted", "0123456789abcdef"):
        assert secret not in out, secret
    for setting in (
        "runners[0].token",
        "runners[0].environment.DB_PASSWORD",
        "runners[0].environment.PLAIN_LOOKING",
        "runners[0].environment.URL",
        "runners[0].extra.pre_build_script",
        "runners[0].environment.MAVEN_OPTS",
        "runners[0].extra.docker.services[0].environment[0]",
        "runners[0].extra.docker.services[1].command[3]",
        "runners[0].cache.s3.AccessKey",
        "runners[0].cache.s3.SecretKey",
        "extra.sentry_dsn",
    ):
        assert f"#     pulumi config set --secret --path 'gitlab-dind-runners:settings.{setting}'\n" in out
    settings = yaml.safe_load(out)["config"][SETTINGS_KEY]
    assert settings["runners"][0]["token"] == "glrt-REPLACE-ME"
    assert settings["runners"][0]["environment"]["LC_ALL"] == "C"
    assert settings["runners"][0]["environment"]["AWS_REGION"] == "eu-west-1"
    first, second = settings["runners"][0]["extra"]["docker"]["services"]
    assert first["environment"] == ["POSTGRES_PASSWORD=REPLACE-ME"]
    assert second["command"] == ["--port", "6380", "--requirepass", "REPLACE-ME"]


def test_the_labels_that_an_affinity_names_are_no_secrets() -> None:
    expression = {"key": "cloud.google.com/gke-nodepool", "operator": "In", "values": ["ci"]}
    term = {"topology_key": "kubernetes.io/hostname", "label_selector": {"match_expressions": [expression]}}
    affinity = {"pod_affinity": {"required_during_scheduling_ignored_during_execution": [term]}}
    settings = adopt(file(entry(executor="kubernetes", kubernetes={"affinity": affinity})))
    assert settings["runners"][0]["extra"]["kubernetes"]["affinity"] == affinity


@pytest.mark.parametrize("value", ["never", "if-not-present", ["if-not-present", "always"]])
def test_a_board_keeps_its_pull_policy(value: Any) -> None:
    tables = file(entry({"image": "alpine:3.22", "pull_policy": value}))
    assert not [path for path in listed(tables, Verdict.CHANGED, target="raspberry-pi") if "pull_policy" in path]


@pytest.mark.parametrize("token", ["glrtr-abcdefgh", "abcdefghijklmnopqrst", "GR1348941abcdefghijkl", "${TOKEN}", ""])
def test_a_runner_whose_token_cannot_be_kept_is_registered_anew_with_a_tag_of_its_own(token: str) -> None:
    tables = file(entry(token=token, name="Build Box 1"))
    (only,) = adopt(tables)["runners"]
    assert (only["name"], only["description"], only["tags"]) == ("build-box-1", "Build Box 1", ["build-box-1"])
    assert "token" not in only
    assert told(tables)["runners[0].token"].text == (
        "registered anew, as only a runner authentication token (glrt-...) can be kept: remove the old runner in "
        "GitLab once it is idle"
    )


def test_names_become_names_of_settings_and_stay_apart() -> None:
    runners = [entry({"image": "a:1"}, name=name) for name in ("A b", "a_b", "", "x" * 60)]
    assert [each["name"] for each in adopt(file(*runners))["runners"]] == ["a-b", "a-b-2", "runner-3", "x" * 40]


@pytest.mark.parametrize(
    ("tables", "wanted", "target"),
    [
        (file(entry()), {}, "docker-host"),
        (file(entry(executor="shell")), {}, "docker-host"),
        (file(entry(executor="kubernetes")), {}, "gke"),
        (file(entry()), {"target": "raspberry-pi"}, "raspberry-pi"),
        (file(entry(), entry(name="pods", executor="kubernetes")), {"only": ["pods"]}, "gke"),
    ],
)
def test_the_target_is_the_one_that_has_the_executors(tables: Any, wanted: Any, target: str) -> None:
    assert adopt(tables, **wanted)["target"] == target


@pytest.mark.parametrize(
    ("tables", "wanted", "message"),
    [
        (
            file(entry(), entry(name="pods", executor="kubernetes")),
            {},
            "the runners have executors docker and kubernetes, which need two targets, and a stack has one: adopt them "
            'into one stack each, for example --only "docker"',
        ),
        (
            file(entry(executor="ssh"), entry(executor="docker+machine", name="b")),
            {},
            "none of the runners can be adopted: executor ssh, executor docker+machine is not supported, only docker, "
            "shell and kubernetes are: register such a runner anew, or keep it as it is",
        ),
        (
            file(entry(executor=["docker"])),
            {},
            "none of the runners can be adopted: a runner without an executor is not supported, only docker, shell and "
            "kubernetes are: register such a runner anew, or keep it as it is",
        ),
        (
            file(entry(), entry(name="sh", executor="shell")),
            {},
            "runner sh (executor shell) cannot share a stack with docker, because its jobs would have that one's "
            'daemon: adopt them into one stack each, for example --only "sh"',
        ),
        (
            file(entry(), entry(name="b", url="https://other.example.com")),
            {},
            "the runners docker and b serve more than one GitLab, and a stack serves one: adopt them into one stack "
            "each with --only NAME, or say with --url which it is",
        ),
        (
            file(entry(url="$GITLAB_URL")),
            {},
            "no runner has the URL of its GitLab: say it with --url, for example --url https://gitlab.com",
        ),
        (file(entry()), {"target": "gke"}, "--target gke: has no executor docker: use docker-host or raspberry-pi"),
        (file(entry()), {"only": ["x"]}, "--only x: there is no such runner: use one of docker"),
        (
            file(entry()),
            {"project": "nogroup"},
            "--url, --project or --group: settings.gitlab.project: 'nogroup' is no full path: write it as "
            "group/project, or give the numeric ID",
        ),
    ],
)
def test_what_one_stack_cannot_hold_is_refused_with_a_remedy(tables: Any, wanted: Any, message: str) -> None:
    with pytest.raises(AdoptError) as caught:
        adopt(tables, **wanted)
    assert str(caught.value) == message
    assert isinstance(caught.value, MisusedError) == message.startswith("--")


def test_runners_left_out_by_only_are_listed_and_not_lost() -> None:
    tables = file(entry(name="a"), entry(name="b", privileged=False))
    found = told(tables, only=["a"])
    gone = {path for path, finding in found.items() if finding.verdict is Verdict.UNSUPPORTED}
    assert gone == {path for path in found if path.startswith("runners[1]")}
    assert found["runners[1].token"].text == "left out by --only: adopt it into a stack of its own"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "c: has no [[runners]], so there is nothing to adopt: name the runner's config.toml"),
        (
            b"concurrent = 1\nrunners = []\n",
            "c: has no [[runners]], so there is nothing to adopt: name the runner's config.toml",
        ),
        (
            b"[runners]\nname = 'x'\n",
            "c: runners is one table, so no runner is found: write [[runners]], with two brackets",
        ),
        (b"runners = [1]\n", "c: runners is no list of tables, so no runner is found: write [[runners]]"),
        (b"a = 1\ntoken = glrt-sec\n", "c: is no TOML: line 2, column 9: Invalid value: correct that place"),
        (b"a = 1\na = 2\n", "c: is no TOML: line 2, column 6: Cannot overwrite a value: correct that place"),
        (b"a 1\n", "c: is no TOML: line 1, column 3: Expected '=' after a key in a key/value pair: correct that place"),
        (b"\x7fELF\x02\x01\x01\x00\xff", "c: is no text (byte 8 is not UTF-8): name the runner's config.toml"),
        (b"#" * (1024**2 + 1), "c: is larger than 1024 KiB, so it is no config.toml: name another file"),
        (b"a = " + b"[" * 100_000, "c: is no TOML that a runner reads: a number or a nesting is too large"),
        (b"a = " + b"9" * 5000, "c: is no TOML that a runner reads: a number or a nesting is too large"),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line_that_quotes_no_value(content: bytes, message: str) -> None:
    with pytest.raises(AdoptError) as caught:
        parsed(content, "c")
    assert str(caught.value) == message


def test_the_exit_status_tells_a_file_that_is_missing_from_one_that_is_wrong(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["adopt", str(tmp_path / "none.toml")]) == 2
    assert main(["adopt", str(tmp_path)]) == 2
    wrong = tmp_path / "config.toml"
    wrong.write_text("no toml")
    assert main(["adopt", str(wrong)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"adopt: {tmp_path}/none.toml: cannot be read (No such file or directory): name the runner's config.toml, "
        "mostly /etc/gitlab-runner/config.toml, or - for standard input",
        f"adopt: {tmp_path}: cannot be read (Is a directory): name the runner's config.toml, mostly "
        "/etc/gitlab-runner/config.toml, or - for standard input",
        f"adopt: {wrong}: is no TOML: line 1, column 4: Expected '=' after a key in a key/value pair: correct that "
        "place",
    ]


ODD: list[Any] = [
    *(True, False, 0, -1, 2**40, 1.5, float("nan"), "", "a:b", "tcp://[::1", "tcp://:99999", "128m", "500m", "/a:/b"),
    *("docker:dind", "unix:///x.sock", "glrt-0123456789", "\x7f\u2028", [], [1, [2, []]], ["A=b", "A=c", "=", "x"]),
    *(
        ["/certs/client", "/run/docker.sock:/x"],
        [{}],
        [{"name": "docker:dind"}],
        {},
        {"secure": "x"},
        {"a=b": "", "c": "x"},
    ),
    *(
        {"host_path": [{"host_path": "/x"}], "pvc": [{"name": 1}], "q": 1},
        datetime(2020, 1, 1),
        {"k": {"l": [{"m": 1}]}},
    ),
]


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_in_the_tables_nothing_breaks_and_nothing_is_lost(seed: int) -> None:
    choose = random.Random(seed)

    def some(known: Iterable[str], most: int) -> dict[str, Any]:
        return {key: choose.choice(ODD) for key in choose.sample(sorted(known), choose.randint(0, most))}

    docker = keys.DOCKER_SETTINGS | keys.DOCKER_EXTRA | keys.DOCKER_UNSAFE | keys.DOCKER_OF_ITS_MACHINE | {"odd"}
    pods = keys.KUBERNETES_SETTINGS | keys.KUBERNETES_EXTRA | keys.KUBERNETES_UNSAFE | {"odd"}
    others = keys.RUNNER_EXTRA | keys.RUNNER_SETTINGS | {*keys.RUNNER_GONE, *keys.RENAMED, "odd"}
    executor = choose.choice(["docker", "docker", "kubernetes", "shell"])
    runners = [
        entry(**some(others - {"url", "executor", "docker", "kubernetes"}, 6), executor=executor)
        | {"docker": some(docker, 10), "kubernetes": some(pods, 10)}
        for _ in range(2)
    ]
    tables = file(*runners, **some({"concurrent", "listen_address", "log_level", *keys.GLOBAL_EXTRA, "user"}, 4))
    adopt(tables)
    found = told(tables, project="demo/app")
    assert set(found) == {written(path) for path, _ in leaves(tables)}


def test_empty_tables_say_nothing_even_where_the_stack_fills_them() -> None:
    tables = file(
        entry(executor="kubernetes", kubernetes={"privileged": True, "volumes": {}}, environment=[], cache={})
    )
    assert listed(tables, Verdict.UNSUPPORTED) == {}
    assert rendered(draft_of(tables, Wanted()).settle())["runners"][0]["kubernetes"]["volumes"] != {}


def test_limits_of_services_stay_apart_from_those_of_jobs() -> None:
    tables = file(entry({"memory": "1g", "service_memory": "256m", "cpus": "0.25", "memory_swap": "2g"}))
    (only,) = adopt(tables)["runners"]
    assert only["memory_mib"] == 1024
    assert only["extra"]["docker"] == {"service_memory": "256m", "cpus": "0.25", "memory_swap": "2g"}
    assert set(listed(tables, Verdict.TAKEN)) >= {"runners[0].docker.service_memory", "runners[0].docker.cpus"}


def test_the_file_can_come_from_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(tomli_w.dumps(file(entry())).encode())))
    assert main(["adopt", "-", "--group", "my-group", "--url", "https://other.example.com"]) == 0
    gitlab = yaml.safe_load(capsys.readouterr().out)["config"][SETTINGS_KEY]["gitlab"]
    assert gitlab == {"url": "https://other.example.com", "scope": "group", "group": "my-group"}


def test_it_runs_as_a_command_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(tomli_w.dumps(file(entry({"volumes": [SOCKET]}, name="ev\x1bil\n- x: y"))))
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tools", "adopt", str(path), "--project", "a/b"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\x1b" not in done.stdout
    settings = yaml.safe_load(done.stdout)["config"][SETTINGS_KEY]
    assert settings["gitlab"] == {"url": URL, "scope": "project", "project": "a/b"}
    assert [each["name"] for each in settings["runners"]] == ["ev-il-x-y"]


def test_texts_survive_yaml_whatever_is_in_them() -> None:
    odd = [
        "yes",
        "0x1f",
        "1e3",
        "2020-01-01",
        "a: b",
        "a #b",
        "- a",
        "é\n\t\"'\\",
        "{{x}}",
        "🦊",
        "~",
        "null",
        " a ",
        "=",
        "1:30",
    ]
    environment = [f"V{index}={text}" for index, text in enumerate(odd)]
    (only,) = adopt(file(entry(environment=environment)))["runners"]
    assert list(only["environment"].values()) == odd


def test_the_whole_text_for_a_runner_as_it_is_registered_today() -> None:
    text = """
concurrent = 1
check_interval = 0
shutdown_timeout = 0
[session_server]
  session_timeout = 1800
[[runners]]
  name = "ci"
  url = "https://gitlab.com"
  id = 7
  token = "glrt-abcdefgh12345678"
  executor = "docker"
  [runners.cache]
    MaxUploadedArchiveSize = 0
    [runners.cache.s3]
  [runners.docker]
    tls_verify = false
    image = "docker:28.5.2-cli"
    privileged = false
    volumes = ["/var/run/docker.sock:/var/run/docker.sock", "/cache"]
    shm_size = 0
    network_mtu = 0
"""
    assert adopted(tomllib.loads(text), Wanted(project="demo/app")) == (
        """\
# From a runner's config.toml. What became of its values, and what is left to do, is at the end.
config:
  gitlab-dind-runners:settings:
    target: docker-host
    gitlab:
      url: https://gitlab.com
      scope: project
      project: demo/app
    runners:
      - name: ci
        # Every job is root on the host, as before. Kind dind builds without that.
        kind: host-docker
        executor: docker
        image: docker:28.5.2-cli
        # Keeps the runner that is there, with its tags and rights; GitLab has those.
        token: glrt-REPLACE-ME
    concurrent: 1

# Taken over (17 of 18 values of config.toml)
#   concurrent: concurrent
#   check_interval: the stack does the same by itself
#   shutdown_timeout: says nothing, as GitLab Runner's default is the same
#   session_server.session_timeout: means nothing without listen_address
#   runners[0].name: runners[0].name, ci
#   runners[0].url: gitlab.url
#   runners[0].token: runners[0].token, once it is set as a secret
#   runners[0].executor: runners[0].executor
#   runners[0].cache.MaxUploadedArchiveSize: says nothing, as GitLab Runner's default is the same
#   runners[0].cache.s3: says nothing, as GitLab Runner's default is the same
#   runners[0].docker.tls_verify: says nothing, as GitLab Runner's default is the same
#   runners[0].docker.image: runners[0].image
#   runners[0].docker.privileged: the stack does the same by itself
#   runners[0].docker.volumes[0]: kind host-docker
#   runners[0].docker.volumes[1]: the stack does the same by itself
#   runners[0].docker.shm_size: says nothing, as GitLab Runner's default is the same
#   runners[0].docker.network_mtu: says nothing, as GitLab Runner's default is the same

# Changed for safety (0 of 18 values of config.toml)

# Not supported (1 of 18 values of config.toml)
#   runners[0].id: the registration's own note, which nothing reads

# Left to do before `pulumi up`
#   1. Give runner ci its token, the one in config.toml:
#     pulumi config set --secret --path 'gitlab-dind-runners:settings.runners[0].token'
#   2. Read the settings for what else nobody else should read, then run: pulumi preview"""
    )
