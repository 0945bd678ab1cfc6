"""What settings are taken, what they default to, and what is said about each that is wrong."""

from __future__ import annotations

import ipaddress
import math
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import components.config_toml
import components.daemon_json
import components.docker.spelling
import components.docker_client
import components.job_pods
import components.kinds
import components.kubernetes.names
import components.kubernetes.spelling
import components.labels
import components.paths
import components.quantities
import components.specs
import components.tables
import components.transport
import stacks.gke.cluster
import stacks.gke.settings
import stacks.on_docker.no_answer
import stacks.on_docker.settings
import stacks.raspberry_pi.board
import stacks.raspberry_pi.platforms
import stacks.raspberry_pi.settings
import stacks.settings.common
import stacks.settings.places
import stacks.settings.shared
import stacks.settings.warnings
from components.defaults import CLIENT_IMAGE, DAEMON_IMAGE, RUNNER_IMAGE
from components.kinds import Executor, Kind
from components.transport import Transport
from stacks.docker_host.settings import DockerHostSettings
from stacks.gke.settings import Claim, Cluster, GkeDaemon, GkeNetwork, GkeRunner, GkeSettings, Prune, Toleration
from stacks.raspberry_pi.settings import PiDaemon, PiRunner, RaspberryPiSettings, Ssh, Swarm
from stacks.settings.common import Common, Daemon, GitLab, Network, Runner
from stacks.settings.mistakes import Model, SettingsError, shown
from stacks.targets import parse
from tests.unit.samples import TOKEN, WITH_CLIENT, changed, plain, runner

SECRET = "s3cret"
TOP_LEVEL = (
    "check_interval, concurrent, daemon, docker_host, drain_seconds, extra, extra_unchecked, gitlab, host_socket, "
    "log_level, metrics_address, name, network, runner_cpus, runner_image, runner_memory_mib, runners, target"
)
DIGEST = "@sha256:" + "0" * 64


def mistakes(raw: object) -> str:
    """The text of the error that `raw` gives."""
    with pytest.raises(SettingsError) as caught:
        parse(raw)
    return str(caught.value)


WRONG: list[tuple[str, Any, str]] = [
    # tables, lists and keys
    ("bogus", 1, f"settings.bogus: is no setting: use one of {TOP_LEVEL}"),
    ("int", 1, f"settings.int: is no setting: use one of {TOP_LEVEL}"),
    ("a[b]", 1, f"settings.a[b]: is no setting: use one of {TOP_LEVEL}"),
    ("concurent", 1, "settings.concurent: is no setting: did you mean concurrent?"),
    ("gitlab.uri", "x", "settings.gitlab.uri: is no setting: did you mean url?"),
    ("network.mttu", 1400, "settings.network.mttu: is no setting: did you mean mtu?"),
    ("daemon.imagee", "x", "settings.daemon.imagee: is no setting: did you mean image?"),
    ("runners.0.tag", "x", "settings.runners[0].tag: is no setting: did you mean tags?"),
    ("gitlab", None, "settings.gitlab: none must be a table"),
    ("gitlab", "gitlab.com", "settings.gitlab: 'gitlab.com' must be a table"),
    ("daemon", None, "settings.daemon: none must be a table"),
    ("daemon", [], "settings.daemon: [] must be a table"),
    ("daemon", 3, "settings.daemon: 3 must be a table"),
    ("network", "bridge", "settings.network: 'bridge' must be a table"),
    ("runners", None, "settings.runners: none must be a list"),
    ("runners", {"name": "docker"}, "settings.runners: a table must be a list"),
    ("runners", "docker", "settings.runners: 'docker' must be a list"),
    ("runners", [], "settings.runners: must not be empty"),
    ("runners", [None], "settings.runners[0]: none must be a table"),
    ("runners", [["docker"]], "settings.runners[0]: ['docker'] must be a table"),
    ("runners", [{"tags": ["docker"]}], "settings.runners[0].name: is missing: set it"),
    ("runners.0.tags", "docker", "settings.runners[0].tags: 'docker' must be a list"),
    ("runners.0.tags", None, "settings.runners[0].tags: none must be a list"),
    ("runners.0.environment", ["A=b"], "settings.runners[0].environment: (hidden) must be a table"),
    ("runners.0.cache", "s3", "settings.runners[0].cache: (hidden) must be a table"),
    ("extra", [], "settings.extra: (hidden) must be a table"),
    # gitlab
    ("gitlab", {"scope": "project"}, "settings.gitlab.project: none is needed for scope project: give its full path or "
     "numeric ID"),
    ("gitlab", {"scope": "group"}, "settings.gitlab.group: none is needed for scope group: give its full path or "
     "numeric ID"),
    ("gitlab", {"project": "demo/app"}, "settings.gitlab.scope: is missing: set it"),
    ("gitlab.scope", "everyone", "settings.gitlab.scope: 'everyone' is not accepted: should be 'instance', 'group' or "
     "'project'"),
    ("gitlab.scope", "instance", "settings.gitlab.project: 'demo/app' does not go with scope instance: remove it, or "
     "set scope: project"),
    ("gitlab.group", "demo", "settings.gitlab.group: 'demo' does not go with scope project: remove it, or set scope: "
     "group"),
    ("gitlab.project", "app", "settings.gitlab.project: 'app' is no full path: write it as group/project, or give the "
     "numeric ID"),
    *(
        ("gitlab.project", value, f"settings.gitlab.project: {shown} is no path or ID: give the full path, for example "
         "my-group/my-project, or the numeric ID")
        for value, shown in [
            (0, "0"),
            (-7, "-7"),
            (True, "true"),
            (1.5, "1.5"),
            (10**30, str(10**30)),
            ("", "''"),
            ("/demo/app", "'/demo/app'"),
            ("https://gitlab.com/demo/app", "'https://gitlab.com/demo/app'"),
            ("demo/ünï", "'demo/ünï'"),
            ([], "[]"),
        ]
    ),
    *(
        ("gitlab.url", value, f"settings.gitlab.url: {value!r} is no URL of a GitLab: give its base URL, for example "
         "https://gitlab.com")
        for value in ["", "gitlab.com", "ftp://gitlab.com", "https://", "https://[", "https://h:70000", "https://h x"]
    ),
    ("gitlab.url", "https://h/api/v4/", "settings.gitlab.url: 'https://h/api/v4/' is the API's URL: leave out /api/v4"),
    ("gitlab.ca_file", "", "settings.gitlab.ca_file: '' is not accepted: String should have at least 1 character"),
    ("gitlab.ca_file", 7, "settings.gitlab.ca_file: 7 is not accepted: should be a valid string"),
    ("gitlab.url", 7, "settings.gitlab.url: 7 is not accepted: should be a valid string"),
    # network and daemon
    *(
        (path, value, f"settings.{path}: {shown} is no subnet for containers: give its first address and its length, "
         "for example 10.90.0.0/24")
        for path in ("network.subnet", "daemon.subnet")
        for value, shown in [
            ("10.0.0.1/16", "'10.0.0.1/16'"),
            ("fd00::/64", "'fd00::/64'"),
            ("0.0.0.0/0", "'0.0.0.0/0'"),
            ("127.0.0.0/16", "'127.0.0.0/16'"),
            ("224.0.0.0/16", "'224.0.0.0/16'"),
            (5, "5"),
            ([], "[]"),
        ]
    ),
    ("network.subnet", "10.90.0.0/30", "settings.network.subnet: '10.90.0.0/30' has no room for gateway, daemon and "
     "runner: use /29 or larger"),
    ("network.subnet", "10.199.4.0/24", "settings.network.subnet: '10.199.4.0/24' overlaps daemon.subnet "
     "10.199.0.0/16, which would cut the jobs off: choose another"),
    ("network.mtu", 500, "settings.network.mtu: 500 is not accepted: should be greater than or equal to 576"),
    ("network.mtu", 9001, "settings.network.mtu: 9001 is not accepted: should be less than or equal to 9000"),
    ("daemon.subnet", "10.90.0.0/24", "settings.daemon.subnet: '10.90.0.0/24' is too small for a network a job: use "
     "/20 or larger"),
    ("daemon.transport", "udp", "settings.daemon.transport: 'udp' is not accepted: should be 'tls', 'socket' or 'tcp'"),
    ("daemon.endpoint", "tcp://docker:2375", "settings.daemon.endpoint: 'tcp://docker:2375' has port 2375, which does "
     "not fit transport tls: use 2376"),
    ("daemon.endpoint", "tcp://docker", "settings.daemon.endpoint: 'tcp://docker' has no port, which does not fit "
     "transport tls: use 2376"),
    ("daemon.endpoint", "tcp://docker:2376/x", "settings.daemon.endpoint: 'tcp://docker:2376/x' has more than host and "
     "port: use tcp://docker:2376"),
    *(
        ("daemon.endpoint", value, f"settings.daemon.endpoint: {value!r} does not fit transport tls: use for example "
         "tcp://docker:2376")
        for value in ["", "docker", "unix:///run/dind/docker.sock", "tcp://docker:70000", "tcp://docker:0", "tcp://["]
    ),
    *(
        ("daemon.endpoint", value, f"settings.daemon.endpoint: {value!r} has no host name to give the daemon: use for "
         "example tcp://docker:2376")
        for value in ["tcp://:2376", "tcp://localhost:2376", "tcp://10.0.0.2:2376", "tcp://do_cker:2376"]
    ),
    ("daemon.certificate_names", ["dind"], "settings.daemon.certificate_names: ['dind'] lacks the endpoint's host "
     "docker, so every TLS client would refuse the daemon: add it"),
    ("daemon.certificate_names", [], "settings.daemon.certificate_names: [] lacks the endpoint's host docker, so every "
     "TLS client would refuse the daemon: add it"),
    *(
        ("daemon.certificate_names", ["docker", value], f"settings.daemon.certificate_names[1]: {value!r} is no host "
         "name or IP address: write for example docker")
        for value in ["", "a,IP:10.0.0.1", "a b", "DNS:a", "::::", "ü"]
    ),
    ("daemon.storage_driver", "aufs", "settings.daemon.storage_driver: 'aufs' is not accepted: should be 'overlay2', "
     "'fuse-overlayfs', 'btrfs', 'zfs' or 'vfs'"),
    ("daemon.cpus", 0, "settings.daemon.cpus: 0 is not accepted: should be greater than or equal to 0.1"),
    ("daemon.cpus", math.inf, "settings.daemon.cpus: inf is not accepted: should be less than or equal to 1024"),
    ("daemon.cpus", math.nan, "settings.daemon.cpus: nan is not accepted: should be less than or equal to 1024"),
    ("daemon.cpus", "2", "settings.daemon.cpus: '2' is not accepted: should be a valid number"),
    ("daemon.cpus", 0.25, "settings.daemon.cpus: 0.25 is too fine: use tenths, for example 0.2"),
    ("daemon.memory_mib", 255, "settings.daemon.memory_mib: 255 is not accepted: should be greater than or equal to "
     "256"),
    *(
        ("daemon.data_path", value, f"settings.daemon.data_path: {value!r} is no absolute path of a directory: write "
         "it as /mnt/disk/docker, without spaces, : and ,")
        for value in ["", "/", "docker", "./docker", "~/docker", "/mnt/my disk", "/mnt/a:b", "/mnt/a,b", "/mnt/disk\n"]
    ),
    ("daemon.data_path", 5, "settings.daemon.data_path: 5 is not accepted: should be a valid string"),
    ("runners.0.cpus", 0.05, "settings.runners[0].cpus: 0.05 is not accepted: should be greater than or equal to 0.1"),
    ("runners.0.cpus", 1.25, "settings.runners[0].cpus: 1.25 is too fine: use tenths, for example 1.2"),
    ("runners.0.memory_mib", 15, "settings.runners[0].memory_mib: 15 is not accepted: should be greater than or equal "
     "to 16"),
    ("daemon.dns", "9.9.9.9", "settings.daemon.dns: '9.9.9.9' must be a list"),
    ("daemon.dns", ["dns.example"], "settings.daemon.dns[0]: 'dns.example' is no IP address: write for example "
     "9.9.9.9"),
    ("daemon.dns", [9], "settings.daemon.dns[0]: 9 is no IP address: write for example 9.9.9.9"),
    *(
        ("daemon.registry_mirrors", [value], f"settings.daemon.registry_mirrors: {value!r} is no URL of a mirror: "
         "write it as https://host[:port]")
        for value in ["mirror:5000", "https://", "https://mirror/path"]
    ),
    *(
        ("daemon.insecure_registries", [value], f"settings.daemon.insecure_registries[0]: {value!r} is no registry: "
         "write it as host[:port] or as a subnet")
        for value in ["", "https://registry:5000", "registry:5000/path"]
    ),
    ("daemon.ready_timeout_seconds", 4, "settings.daemon.ready_timeout_seconds: 4 is not accepted: should be greater "
     "than or equal to 5"),
    ("daemon.ready_timeout_seconds", 3601, "settings.daemon.ready_timeout_seconds: 3601 is not accepted: should be "
     "less than or equal to 3600"),
    *(
        ("daemon.existing_volume", value, f"settings.daemon.existing_volume: {value!r} is no name of a Docker volume: "
         "write it as `docker volume ls` shows it, no path")
        for value in ["", "/var/lib/docker", "my volume", "-v", "v"]
    ),
    ("daemon", {"existing_volume": "cache", "data_path": "/mnt/ssd"}, "settings.daemon.data_path: '/mnt/ssd' does not "
     "go with existing_volume, which stays where it is: remove one"),
    ("daemon", {"existing_volume": "cache", "keep_cache": True}, "settings.daemon.keep_cache: true has no use with "
     "existing_volume, which is never deleted: remove it"),
    # images, on every path that takes one
    *(
        (path, value, f"settings.{shown}: {value!r} is not pinned: name a version tag or a digest, for example "
         f"{DAEMON_IMAGE}")
        for path, shown in [
            ("daemon.image", "daemon.image"),
            ("runner_image", "runner_image"),
            ("runners.0.image", "runners[0].image"),
            ("runners.0.helper_image", "runners[0].helper_image"),
            ("runners.0.job_daemon_image", "runners[0].job_daemon_image"),
        ]
        for value in ["docker", "docker:latest", "localhost:5000/docker", "docker:"]
    ),
    *(
        ("daemon.image", value, f"settings.daemon.image: {value!r} is no image: write it as [registry/]name:tag, for "
         f"example {DAEMON_IMAGE}")
        for value in ["", "my docker:1", "docker@sha256:0", "dockér:1", "-docker:1"]
    ),
    ("daemon.image", 28, "settings.daemon.image: 28 is not accepted: should be a valid string"),
    # runners
    *(
        (path, value, f"settings.{shown}: {value!r} is no name: use up to 40 lower-case letters, digits and dashes, "
         "and no dash first")
        for path, shown in [("name", "name"), ("runners.0.name", "runners[0].name")]
        for value in ["", "Docker", "-docker", "do_cker", "döcker", "d" * 41, "docker\n"]
    ),
    *(
        ("runners.0.description", value, f"settings.runners[0].description: {value!r} has characters that are not "
         "seen, such as the end of a line or a colour: leave them out")
        for value in ["a\nb", "\x1b[31mred", "a\u202eb", "a\u200bb"]
    ),
    *(
        ("runners.0.tags", ["one", value], f"settings.runners[0].tags[1]: {value!r} has characters that are not seen, "
         "such as the end of a line or a colour: leave them out")
        for value in ["a\x00", "\x1b[31mred", "a\u202eb", "a\u2060b"]
    ),
    ("runners.0.description", "", "settings.runners[0].description: '' is not accepted: String should have at least 1 "
     "character"),
    ("runners.0.kind", "kaniko", "settings.runners[0].kind: 'kaniko' is not accepted: should be 'plain', 'dind', "
     "'host-docker' or 'job-dind'"),
    ("runners.0.executor", "ssh", "settings.runners[0].executor: 'ssh' is not accepted: should be 'docker', 'shell' or "
     "'kubernetes'"),
    ("runners.0.executor", "kubernetes", "settings.runners[0].executor: 'kubernetes' does not go with this target: use "
     "docker or shell"),
    *(
        ("runners.0.tags", [value], f"settings.runners[0].tags[0]: {value!r} is no tag: use up to 255 characters, no "
         "spaces, no commas")
        for value in ["", "a b", "a,b", "a" * 256]
    ),
    ("runners.0.tags", ["a", "b", "a"], "settings.runners[0].tags: 'a' is there twice: remove one"),
    ("runners.0.tags", [], "settings.runners[0].tags: [] is empty, so no job would ever run: name a tag, or set "
     "run_untagged: true"),
    ("runners.0.access_level", "all", "settings.runners[0].access_level: 'all' is not accepted: should be "
     "'ref_protected' or 'not_protected'"),
    ("runners.0.maximum_timeout", 599, "settings.runners[0].maximum_timeout: 599 is not accepted: should be greater "
     "than or equal to 600"),
    ("runners.0.limit", -1, "settings.runners[0].limit: -1 is not accepted: should be greater than or equal to 0"),
    ("runners.0.request_concurrency", 0, "settings.runners[0].request_concurrency: 0 is not accepted: should be "
     "greater than or equal to 1"),
    ("runners.0.shm_size_mib", 0, "settings.runners[0].shm_size_mib: 0 is not accepted: should be greater than or "
     "equal to 1"),
    ("runners.0.pull_policy", "sometimes", "settings.runners[0].pull_policy[0]: 'sometimes' is not accepted: should be "
     "'always', 'if-not-present' or 'never'"),
    ("runners.0.pull_policy", [], "settings.runners[0].pull_policy: must not be empty"),
    *(
        ("runners.0.volumes", [value], f"settings.runners[0].volumes[0]: {value!r} is no volume: write it as /path, or "
         "as source:/path[:mode]")
        for value in ["", "cache", "/a:b", "/a:/b:ro:z", ":/b"]
    ),
    *(
        ("runners.0.environment", {name: "x"}, f"settings.runners[0].environment: (hidden) has {shown}, which is no "
         "variable's name: use letters, digits and _, no digit first")
        for name, shown in [("", "''"), ("1A", "'1A'"), ("A B", "'A B'"), ("A=s3cret", "'A'"), ("Ü", "'Ü'"), (1, "'1'")]
    ),
    ("runners.0.environment", {"PORT": 8080}, "settings.runners[0].environment: (hidden) gives PORT a value that is "
     "no string: put it into quotes"),
    ("runners.0.cache", {"s3": {"AccessKey": None}}, "settings.runners[0].cache: (hidden) has no value at "
     "s3.AccessKey: give it one or remove it, as TOML has no null"),
    ("runners.0.extra", {"docker": {"dns": ["x", None]}}, "settings.runners[0].extra: (hidden) has no value at "
     "docker.dns[1]: give it one or remove it, as TOML has no null"),
    *(
        ("runners.0.token", value, "settings.runners[0].token: (hidden) is no runner authentication token: those start "
         "with glrt-; create one in GitLab")
        for value in ["", "glrt-", "glpat-s3cret", "glrt-s3 cret", "glrt-s3cret\n"]
    ),
    ("runners.0.token", 3, "settings.runners[0].token: (hidden) is not accepted: should be a valid string"),
    # what all runners share
    ("concurrent", "4", "settings.concurrent: '4' is not accepted: should be a valid integer"),
    ("log_level", "loud", "settings.log_level: 'loud' is not accepted: should be 'debug', 'info', 'warn', 'error', "
     "'fatal' or 'panic'"),
    *(
        ("metrics_address", value, f"settings.metrics_address: {value!r} is no address to listen on: write host:port "
         "or :port, for example :9252")
        for value in ["", "9252", "host", ":0", ":65536", ":٤", "a b:9252", "::1:9252"]
    ),
    ("drain_seconds", -1, "settings.drain_seconds: -1 is not accepted: should be greater than or equal to 0"),
    ("extra", {"runners": []}, "settings.extra: 'runners' would hide the rendered runners: use extra of the runner in "
     "question"),
    *(
        ("docker_host", value, f"settings.docker_host: {value!r} is no Docker engine: write it as unix:///path, "
         "tcp://host:port or ssh://user@host")
        for value in ["", "localhost", "/var/run/docker.sock", "unix://", "http://host:2375", "unix:///run/$(id)",
                      "unix:///run/a;b", "ssh://-oProxyCommand=x", "ssh://-l@h", "ssh://pi@-h", "ssh://pi@h`id`",
                      "ssh://pi@h/a'b", "tcp://h;id:1", "tcp://h:70000", "npipe:////./pipe/$x"]
    ),
    *(
        ("docker_host", value, "settings.docker_host: (hidden) has more than SSH takes: write ssh://user@host or "
         "ssh://user@host:port")
        for value in ["ssh://pi:s3cret@raspberry", "ssh://raspberry?key=s3cret"]
    ),
    *(
        (path, value, f"settings.{path}: {value!r} has characters that are not taken in a path here: use letters, "
         "digits and . _ - @ % + = ~ between the slashes")
        for path in ("host_socket", "daemon.data_path")
        for value in ["/mnt/$(id)", "/mnt/`id`", "/mnt/a;b", "/mnt/a'b", '/mnt/a"b', "/mnt/a\x1bb", "/mnt/a\u202eb"]
    ),
    *(
        ("runners.0.network_mode", value, f"settings.runners[0].network_mode: {value!r} is no network of Docker: write "
         "bridge, host, none, container:name, or the name of a network, of letters, digits and _ . -")
        for value in ["", " host", "host ", "-x", "a/b", "$NET", "container:", "service:x", "a\nb", "größe"]
    ),
    *(
        ("host_socket", value, f"settings.host_socket: {value!r} is no path of a socket: write it as "
         "/var/run/docker.sock, without unix://")
        for value in ["", "docker.sock", "unix:///var/run/docker.sock"]
    ),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "message"), WRONG, ids=lambda part: str(part)[:50])
def test_a_wrong_setting_is_refused_with_path_value_and_remedy(path: str, value: Any, message: str) -> None:
    assert mistakes(changed(path, value)) == message


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (None, "settings: none is no table: write target, gitlab and runners below it"),
        ([], "settings: [] is no table: write target, gitlab and runners below it"),
        ("x", "settings: 'x' is no table: write target, gitlab and runners below it"),
        ({}, "settings.target: none is not known: use one of docker-host, raspberry-pi, gke"),
        ({"target": "swarm"}, "settings.target: 'swarm' is not known: use one of docker-host, raspberry-pi, gke"),
        (
            {"target": ["docker-host"]},
            "settings.target: ['docker-host'] is not known: use one of docker-host, raspberry-pi, gke",
        ),
        (
            {"target": "docker-host"},
            "settings.gitlab: is missing: set it\nsettings.runners: is missing: set it",
        ),
    ],
)
def test_settings_that_are_no_table_or_have_no_known_target_are_refused(raw: object, message: str) -> None:
    assert mistakes(raw) == message


WHOLE_NUMBERS = [
    "concurrent",
    "check_interval",
    "drain_seconds",
    "network.mtu",
    "daemon.memory_mib",
    "daemon.cache_budget_gib",
    "daemon.ready_timeout_seconds",
    "runners.0.memory_mib",
    "runners.0.maximum_timeout",
    "runners.0.limit",
    "runners.0.request_concurrency",
    "runners.0.shm_size_mib",
]
FLAGS = [
    "daemon.keep_cache",
    "runners.0.run_untagged",
    "runners.0.locked",
    "runners.0.paused",
    "runners.0.privileged",
]


@pytest.mark.parametrize("path", WHOLE_NUMBERS)
@pytest.mark.parametrize(
    ("value", "shown"),
    [("7", "'7'"), (True, "true"), (7.0, "7.0"), (math.nan, "nan"), (math.inf, "inf"), ({}, "a table"), ([7], "[7]")],
)
def test_a_whole_number_is_taken_as_nothing_but_a_whole_number(path: str, value: object, shown: str) -> None:
    where = path.replace(".0.", "[0].")
    assert mistakes(changed(path, value)) == f"settings.{where}: {shown} is not accepted: should be a valid integer"


@pytest.mark.parametrize("path", WHOLE_NUMBERS)
def test_a_number_too_big_for_gitlab_or_the_runner_is_refused(path: str) -> None:
    assert f": {10**30} is not accepted: should be less than or equal to " in mistakes(changed(path, 10**30))


@pytest.mark.parametrize("path", FLAGS)
@pytest.mark.parametrize(("value", "shown"), [("yes", "'yes'"), (1, "1"), (None, "none"), ([], "[]")])
def test_a_flag_is_taken_as_nothing_but_true_or_false(path: str, value: object, shown: str) -> None:
    where = path.replace(".0.", "[0].")
    assert mistakes(changed(path, value)) == f"settings.{where}: {shown} is not accepted: should be a valid boolean"


def test_two_runners_of_one_name_are_refused() -> None:
    raw = plain(runners=[runner(name="a"), runner(name="b"), runner(name="a")])
    assert mistakes(raw) == "settings.runners[2].name: 'a' is taken by runners[0]: choose another"


def test_fewer_jobs_at_once_than_runners_are_refused_because_some_would_starve() -> None:
    raw = plain(concurrent=1, runners=[runner(name="a"), runner(name="b")])
    assert mistakes(raw) == (
        "settings.concurrent: 1 is below the number of runners, so jobs would starve: set it to 2 or more"
    )


@pytest.mark.parametrize("kind", ["host-docker", "job-dind"])
def test_kinds_that_need_job_containers_are_refused_with_the_shell(kind: str) -> None:
    raw = plain(runners=[runner(kind=kind, executor="shell")])
    assert mistakes(raw) == (f"settings.runners[0].kind: '{kind}' does not go with executor shell: use executor docker")


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("privileged", True, "true"),
        ("volumes", ["/a:/b"], "['/a:/b']"),
        ("cpus", 1.5, "1.5"),
        ("memory_mib", 512, "512"),
        ("shm_size_mib", 64, "64"),
        ("network_mode", "host", "'host'"),
    ],
)
def test_settings_of_job_containers_are_refused_with_the_shell(name: str, value: object, shown: str) -> None:
    assert mistakes(plain(runners=[runner(executor="shell", **{name: value})])) == (
        f"settings.runners[0].{name}: {shown} has no effect with executor shell: remove it, or use executor docker"
    )


@pytest.mark.parametrize("kind", ["plain", "job-dind"])
@pytest.mark.parametrize(
    "source",
    [
        "/",
        "/var",
        "/run",
        "/run/",
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/run//docker.sock",
        "/run/dind",
        "/run/dind/docker.sock",
        "/certs",
        "/certs/client",
        "/certs/./client/",
        "/certs/client/key.pem",
        "/certs/ca",
        "/certs/server",
        "/proc",
        "/proc/1/root",
        "/srv/../run/docker.sock",
        "//run/docker.sock",
        "//certs",
    ],
)
def test_no_volume_hands_the_daemon_to_jobs_that_are_to_have_none(kind: str, source: str) -> None:
    assert mistakes(plain(runners=[runner(kind=kind, volumes=["/cache", f"{source}:/x:ro"])])) == (
        f"settings.runners[0].volumes: '{source}:/x:ro' hands the daemon to kind {kind}: use kind dind, which is meant "
        "for that"
    )


@pytest.mark.parametrize("kind", ["plain", "job-dind"])
@pytest.mark.parametrize(
    "volume", ["/certs/client", "/run", "certs:/certs/client", "proc:/x", "/run/x:/x", "/certs2:/x", "/data:/run/dind"]
)
def test_a_volume_that_only_looks_like_the_daemons_is_taken(kind: str, volume: str) -> None:
    (only,) = parse(plain(runners=[runner(kind=kind, volumes=[volume])])).runners
    assert only.volumes == (volume,)


@pytest.mark.parametrize("kind", ["dind", "host-docker"])
def test_kinds_that_have_the_daemon_anyway_may_mount_what_leads_to_it(kind: str) -> None:
    (only,) = parse(plain(runners=[runner(kind=kind, volumes=["/var/run/docker.sock:/s"])])).runners
    assert only.volumes == ("/var/run/docker.sock:/s",)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("description", "Mine", "'Mine'"),
        ("run_untagged", True, "true"),
        ("run_untagged", False, "false"),
        ("locked", True, "true"),
        ("access_level", "ref_protected", "'ref_protected'"),
        ("maximum_timeout", 3600, "3600"),
        ("paused", False, "false"),
    ],
)
def test_what_gitlab_keeps_of_a_runner_is_refused_together_with_its_token(name: str, value: object, shown: str) -> None:
    assert mistakes(plain(runners=[runner(token=TOKEN, **{name: value})])) == (
        f"settings.runners[0].{name}: {shown} has no effect with token, as GitLab keeps it: remove it, set it there"
    )


@pytest.mark.parametrize("settings", [{"name": "docker"}, runner(tags=[]), runner()])
def test_a_runner_with_a_token_needs_no_tags_here_because_gitlab_has_them(settings: dict[str, Any]) -> None:
    (only,) = parse(plain(runners=[settings | {"token": TOKEN}])).runners
    assert list(only.tags) == settings.get("tags", [])


@pytest.mark.parametrize("neighbour", ["dind", "plain", "job-dind"])
def test_plain_jobs_in_a_shell_are_refused_beside_runners_that_have_the_daemon(neighbour: str) -> None:
    raw = plain(runners=[runner(kind=neighbour), runner(name="sh", kind="plain", executor="shell")])
    assert mistakes(raw) == (
        "settings.runners[1].executor: 'shell' would give kind plain the certificates that the runner's container has "
        "for the other runners: use executor docker, or a stack of its own"
    )


def test_builds_in_a_shell_are_refused_with_a_runner_image_that_has_no_client() -> None:
    assert mistakes(plain(runners=[runner(), runner(name="sh", executor="shell")])) == (
        f"settings.runner_image: '{RUNNER_IMAGE}' has no Docker client, which runners[1] needs for its jobs with "
        "executor shell: name an image that has one, or use executor docker"
    )


def test_the_shell_is_refused_where_the_daemon_is_reached_by_roots_socket() -> None:
    raw = plain(daemon={"transport": "socket"}, runners=[runner(), runner(name="sh", executor="shell")])
    assert mistakes(raw) == (
        "settings.runners[1].executor: 'shell' cannot open the daemon's socket, which is root's: "
        "use daemon.transport tls, or executor docker"
    )


@pytest.mark.parametrize(
    ("daemon", "message"),
    [
        (
            {"transport": "tcp", "endpoint": "tcp://docker:2376"},
            "settings.daemon.endpoint: 'tcp://docker:2376' has port 2376, which does not fit transport tcp: use 2375",
        ),
        (
            {"transport": "socket", "endpoint": "tcp://docker:2376"},
            "settings.daemon.endpoint: 'tcp://docker:2376' does not fit transport socket: use for example "
            "unix:///run/dind/docker.sock",
        ),
        (
            {"transport": "socket", "endpoint": "unix:///var/run/docker.sock"},
            "settings.daemon.endpoint: 'unix:///var/run/docker.sock' does not fit transport socket: use "
            "unix:///run/dind/docker.sock",
        ),
        (
            {"transport": "tcp", "certificate_names": ["docker"]},
            "settings.daemon.certificate_names: ['docker'] has no use with transport tcp: remove it",
        ),
        (
            {"endpoint": "tcp://dind:2376", "certificate_names": ["docker"]},
            "settings.daemon.certificate_names: ['docker'] lacks the endpoint's host dind, so every TLS client would "
            "refuse the daemon: add it",
        ),
    ],
)
def test_what_does_not_fit_the_transport_is_refused(daemon: dict[str, object], message: str) -> None:
    assert mistakes(plain(daemon=daemon)) == message


def test_all_mistakes_are_reported_at_once_a_line_each() -> None:
    raw = plain(
        concurent=3,
        gitlab={"url": "gitlab.com", "scope": "instance"},
        daemon={"image": "docker", "cpus": "two"},
        runners=[runner(name="A"), {}, runner(token="s3cret")],
    )
    assert mistakes(raw).splitlines() == [
        "settings.gitlab.url: 'gitlab.com' is no URL of a GitLab: give its base URL, for example https://gitlab.com",
        f"settings.daemon.image: 'docker' is not pinned: name a version tag or a digest, for example {DAEMON_IMAGE}",
        "settings.daemon.cpus: 'two' is not accepted: should be a valid number",
        "settings.runners[0].name: 'A' is no name: use up to 40 lower-case letters, digits and dashes, and no dash "
        "first",
        "settings.runners[1].name: is missing: set it",
        "settings.runners[2].token: (hidden) is no runner authentication token: those start with glrt-; create one in "
        "GitLab",
        "settings.concurent: is no setting: did you mean concurrent?",
    ]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("runners.0.token", SECRET),
        ("runners.0.token", [SECRET]),
        ("runners.0.environment", SECRET),
        ("runners.0.environment", {"A": [SECRET]}),
        ("runners.0.environment", {"A B": SECRET}),
        ("runners.0.environment", {f"A={SECRET}": None}),
        ("runners.0.cache", [SECRET]),
        ("runners.0.cache", {"s3": [SECRET, None]}),
        ("runners.0.extra", SECRET),
        ("runners.0.extra", {"a": [SECRET, None]}),
        ("extra", [SECRET]),
        ("extra", {"runners": SECRET}),
        ("enviroment", SECRET),
        ("runners.0.tokken", SECRET),
        ("runners.0", [{"token": SECRET}]),
        ("gitlab.url", f"https://user:{SECRET}@gitlab.com"),
        ("gitlab.url", f"ftp://{SECRET}@gitlab.com"),
        ("gitlab.url", f"https://gitlab.com?private_token={SECRET}"),
        ("gitlab.url", f"https://u:{SECRET}@[gitlab.com"),
        ("daemon.registry_mirrors", [f"https://user:{SECRET}@mirror"]),
    ],
)
def test_no_message_repeats_a_secret(path: str, value: object) -> None:
    message = mistakes(changed(path, value))
    assert message.startswith("settings")
    assert SECRET not in message


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("https://user:s3cret@host/path", "'https://user:(hidden)@host/path'"),
        ("tcp://:s3cret@host:2375", "'tcp://:(hidden)@host:2375'"),
        ("https://user:s3/c@r:et@host", "'https://user:(hidden)@host'"),
        (["ssh://pi:s3cret@board"], "['ssh://pi:(hidden)@board']"),
        ("ssh://pi@board:2222", "'ssh://pi@board:2222'"),
        ("http://registry:5000/image", "'http://registry:5000/image'"),
        ("registry:5000/image@sha256:0", "'registry:5000/image@sha256:0'"),
    ],
)
def test_the_password_in_a_url_is_not_shown(value: object, text: str) -> None:
    assert shown(value) == text


def test_no_secret_is_shown_by_the_settings_themselves() -> None:
    assert TOKEN not in repr(parse(plain(runners=[runner(token=TOKEN)])))


def test_the_defaults_are_the_secure_ones() -> None:
    settings = parse(plain())
    (only,) = settings.runners
    assert (settings.daemon.transport, settings.daemon.names, settings.daemon.alias) == (
        Transport.TLS,
        ("docker",),
        "docker",
    )
    assert (only.kind, only.executor, only.pull_policy) == (Kind.DIND, Executor.DOCKER, ("always",))
    assert (only.privileged, only.run_untagged, only.locked, only.access_level) == (False, False, True, "ref_protected")
    assert (only.image, settings.daemon.image, settings.runner_image) == (CLIENT_IMAGE, DAEMON_IMAGE, RUNNER_IMAGE)
    assert (settings.drain_seconds, only.maximum_timeout, settings.metrics_address) == (3600, 3600, None)
    assert parse({"target": "docker-host", "gitlab": {"scope": "instance"}, "runners": [runner()]}).gitlab.url == (
        "https://gitlab.com"
    )


@pytest.mark.parametrize(("count", "concurrent"), [(1, 4), (4, 4), (6, 6)])
def test_jobs_at_once_default_to_four_or_to_one_a_runner(count: int, concurrent: int) -> None:
    assert parse(plain(runners=[runner(name=f"r{n}") for n in range(count)])).jobs_at_once == concurrent


@pytest.mark.parametrize(
    ("kind", "executor", "needed"),
    [
        ("dind", "docker", True),
        ("dind", "shell", True),
        ("job-dind", "docker", True),
        ("plain", "docker", True),
        ("plain", "shell", False),
        ("host-docker", "docker", False),
    ],
)
def test_only_runners_whose_jobs_use_the_daemon_need_one(kind: str, executor: str, needed: bool) -> None:
    settings = parse(plain(runner_image=WITH_CLIENT, runners=[runner(kind=kind, executor=executor)]))
    assert settings.needs_daemon is needed


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("gitlab.project", 4),
        ("gitlab.ca_file", "certs/größe ca.pem"),
        ("gitlab.url", "http://10.0.0.2:8080/gitlab/"),
        ("daemon.endpoint", "tcp://Dind.internal:2376"),
        ("daemon.certificate_names", ["docker", "*.example.com", "10.0.0.2", "fd00::2"]),
        ("daemon.dns", ["9.9.9.9", "2620:fe::fe"]),
        ("daemon.cpus", 2),
        ("daemon.cpus", 0.3),
        ("daemon.data_path", "/mnt/größe/dind"),
        ("runners.0.cpus", 2),
        ("runners.0.memory_mib", 16),
        ("daemon.image", "docker" + DIGEST),
        ("daemon.image", "localhost:5000/a/docker:28" + DIGEST),
        ("runners.0.helper_image", "registry.example.com/helper:x86_64-${CI_RUNNER_REVISION}"),
        ("runners.0.pull_policy", ["always", "if-not-present"]),
        ("runners.0.volumes", ["/cache", "name:/cache", "$HOME/x:/x:ro,z"]),
        ("runners.0.tags", ["größe", "arm64", "日本"]),
        ("runners.0.description", "Läufer 🏃"),
        ("runners.0.environment", {"_A1": "größe=1\n"}),
        ("daemon.insecure_registries", ["10.0.0.0/8", "registry:5000", "[fd00::2]:5000", "http://10.0.0.1:5000"]),
        ("daemon.registry_mirrors", ["http://mirror:5000/"]),
        ("metrics_address", "[::1]:9252"),
        ("metrics_address", "localhost:1"),
        ("docker_host", "ssh://pi@raspberry"),
        ("docker_host", "ssh://first.last@[fd00::2]:2222/run/user/1000/docker.sock"),
        ("docker_host", "tcp://docker:2376/"),
        ("docker_host", "tcp://[fd00::2]:2376"),
        ("docker_host", "npipe:////./pipe/docker_engine"),
        ("docker_host", "unix:///Users/anna.b/.colima/my-profile/docker.sock"),
        ("host_socket", "/run/user/1000/podman/podman.sock"),
        ("daemon.data_path", "/mnt/@cache/a+b=c~1/50%"),
        ("runners.0.network_mode", "my-project_default"),
        ("runners.0.network_mode", "container:vpn.1"),
        ("runners.0.network_mode", "none"),
        ("drain_seconds", 0),
        ("concurrent", None),
    ],
)
def test_settings_that_look_odd_but_are_right_are_taken(path: str, value: object) -> None:
    assert parse(changed(path, value)).target == "docker-host"


def test_a_network_may_lie_in_the_daemons_subnet_where_there_is_no_daemon() -> None:
    raw = plain(network={"subnet": "10.199.4.0/24"}, runners=[runner(kind="plain", executor="shell")])
    assert parse(raw).network.subnet == ipaddress.IPv4Network("10.199.4.0/24")


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        parse(plain()).concurrent = 1


MODELS = [
    GitLab,
    Network,
    Daemon,
    Runner,
    Common,
    DockerHostSettings,
    Ssh,
    Swarm,
    PiDaemon,
    PiRunner,
    RaspberryPiSettings,
    Cluster,
    Toleration,
    GkeNetwork,
    Claim,
    GkeDaemon,
    GkeRunner,
    Prune,
    GkeSettings,
]


@pytest.mark.parametrize("model", MODELS)
def test_every_setting_is_explained_where_it_is_declared(model: type[Model]) -> None:
    explained = set(re.split(r"\W+", " ".join(each.__doc__ or "" for each in model.mro() if each is not Model)))
    own = [name for name in model.__annotations__ if name in model.model_fields]
    assert [name for name in own if name not in explained | {"target"}] == []


def test_the_pure_layers_know_no_pulumi() -> None:
    for module in (
        stacks.raspberry_pi.board,
        stacks.gke.cluster,
        stacks.on_docker.settings,
        stacks.settings.common,
        stacks.gke.settings,
        stacks.on_docker.no_answer,
        stacks.settings.places,
        stacks.raspberry_pi.platforms,
        stacks.raspberry_pi.settings,
        stacks.settings.shared,
        stacks.settings.warnings,
        components.config_toml,
        components.daemon_json,
        components.docker.spelling,
        components.docker_client,
        components.job_pods,
        components.kubernetes.names,
        components.kubernetes.spelling,
        components.kinds,
        components.labels,
        components.paths,
        components.quantities,
        components.specs,
        components.tables,
        components.transport,
    ):
        assert "import pulumi" not in Path(str(module.__file__)).read_text()
