"""Settings by chance, the same for the same seed: what nobody thinks of writing, and the program has to render."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from stacks.settings.common import Common
from stacks.settings.mistakes import SettingsError
from stacks.targets import parse

Choice: TypeAlias = Callable[[random.Random], Any]
"""One value, drawn anew each time."""


def generate(seed: int, count: int) -> Iterator[Common]:
    """`count` settings that are accepted, of every target. Those that go against each other are drawn again."""
    chance = random.Random(seed)
    made = 0
    # Most drafts pass; a generator that draws nothing but nonsense has to be an error, not an endless test.
    for _ in range(count * 50):
        try:
            settings = parse(_draft(chance))
        except SettingsError:
            continue
        yield settings
        made += 1
        if made == count:
            return
    raise AssertionError(f"only {made} of {count} settings with seed {seed} were accepted")


def _one_of(*values: Any) -> Choice:
    return lambda chance: chance.choice(values)


def _number(least: int, most: int) -> Choice:
    return lambda chance: chance.randint(least, most)


def _tenths(least: int, most: int) -> Choice:
    return lambda chance: chance.randint(least, most) / 10


def _some(*values: Any) -> Choice:
    return lambda chance: chance.sample(values, chance.randint(1, len(values)))


def _table(**choices: Choice) -> Choice:
    return lambda chance: _drawn(chance, choices, 0.5)


def _drawn(chance: random.Random, choices: Mapping[str, Choice], likelihood: float) -> dict[str, Any]:
    return {name: choice(chance) for name, choice in choices.items() if chance.random() < likelihood}


IMAGE = _one_of("alpine:3.22", "registry.example.com:5000/a/b:1.0", f"docker@sha256:{'a1' * 32}", "$IMAGE:1")
TEXT = _one_of("a", "ü=\"'\\", "two\nlines", "${HOME}", "")
DAEMON: dict[str, Choice] = {
    "transport": _one_of("tls", "tcp"),
    "cpus": _tenths(1, 80),
    "memory_mib": _number(4096, 65536),
    "dns": _some("9.9.9.9", "2620:fe::fe"),
    "registry_mirrors": _some("https://mirror.gcr.io", "http://10.0.0.1:5000"),
    "cache_budget_gib": _number(1, 12),
    "subnet": _one_of("10.99.0.0/16", "172.28.0.0/20"),
}
HOST_DAEMON: dict[str, Choice] = DAEMON | {"transport": _one_of("tls", "tcp", "socket")}
S3: Choice = _table(
    ServerAddress=_one_of("s3.amazonaws.com", "minio:9000"),
    BucketName=_one_of("cache"),
    BucketLocation=_one_of("eu-central-1"),
    AccessKey=_one_of("key"),
    SecretKey=_one_of("secret"),
    SessionToken=_one_of("token"),
    Insecure=_one_of(True, False),
    AuthenticationType=_one_of("access-key", "iam"),
    ServerSideEncryption=_one_of("S3", "KMS"),
    ServerSideEncryptionKeyID=_one_of("alias/a"),
    DualStack=_one_of(True, False),
    PathStyle=_one_of(True, False),
    Accelerate=_one_of(True, False),
    RoleARN=_one_of("arn:aws:iam::1:role/a"),
    UploadRoleARN=_one_of("arn:aws:iam::1:role/b"),
)
GCS: Choice = _table(
    BucketName=_one_of("cache"), CredentialsFile=_one_of("/run/key.json"), AccessID=_one_of("a"), PrivateKey=TEXT
)
AZURE: Choice = _table(
    AccountName=_one_of("a"), AccountKey=_one_of("k"), ContainerName=_one_of("c"), StorageDomain=_one_of("d.example")
)


def _cache(chance: random.Random) -> dict[str, Any]:
    common = _drawn(
        chance,
        {"Path": _one_of("a/b"), "Shared": _one_of(True, False), "MaxUploadedArchiveSize": _number(0, 10**9)},
        0.5,
    )
    kind, choice = chance.choice([("s3", S3), ("gcs", GCS), ("azure", AZURE)])
    return {"Type": kind, **common, kind: choice(chance)}


RUNNER: dict[str, Choice] = {
    "description": TEXT,
    "tags": _some("docker", "ü", "a:b"),
    "run_untagged": _one_of(True),
    "locked": _one_of(True, False),
    "access_level": _one_of("ref_protected", "not_protected"),
    "maximum_timeout": _number(600, 86400),
    "paused": _one_of(True, False),
    "image": IMAGE,
    "helper_image": IMAGE,
    "limit": _number(0, 9),
    "request_concurrency": _number(1, 9),
    "pull_policy": _one_of("always", "never", ["if-not-present", "always"]),
    "environment": lambda chance: {name: TEXT(chance) for name in chance.sample(["A", "B_1", "c"], 2)},
    "cache": _cache,
    "token": lambda chance: f"glrt-{chance.getrandbits(64):x}",
    "extra": _table(
        output_limit=_number(1, 99999),
        pre_build_script=TEXT,
        builds_dir=_one_of("/builds"),
        unhealthy_interval=_one_of("2m"),
        custom_build_dir=_one_of({"enabled": True}),
        feature_flags=_one_of({"FF_NETWORK_PER_BUILD": True}, {"FF_USE_FASTZIP": False, "FF_SCRIPT_SECTIONS": True}),
    ),
}
HOST_RUNNER: dict[str, Choice] = RUNNER | {
    "kind": _one_of("plain", "dind", "job-dind", "host-docker"),
    "executor": _one_of("docker", "docker", "docker", "shell"),
    "job_daemon_image": _one_of("docker:29-dind"),
    "privileged": _one_of(True, False),
    "volumes": _some("/cache2", "/srv/a:/a", "b:/b:ro"),
    "cpus": _tenths(1, 80),
    "memory_mib": _number(16, 9999),
    "shm_size_mib": _number(1, 999),
    "network_mode": _one_of("host", "bridge"),
}
POD_RUNNER: dict[str, Choice] = RUNNER | {
    "kind": _one_of("plain", "dind"),
    "privileged": _one_of(True, False),
    "cpus": _tenths(20, 80),
    "memory_mib": _number(2048, 9999),
    "cpu_request": _tenths(1, 20),
    "memory_request_mib": _number(64, 2048),
    "node_selector": _one_of({"cloud.google.com/gke-spot": "true"}, {"pool": "ci", "a/b": ""}),
    "tolerations": _some(
        {"key": "ci"}, {"key": "spot", "value": "", "effect": "NoExecute"}, {"key": "a", "value": "b"}
    ),
}
COMMON: dict[str, Choice] = {
    "check_interval": _number(1, 60),
    "log_level": _one_of("debug", "info", "warn", "error"),
    "metrics_address": _one_of(":9252", "127.0.0.1:9999", "[::1]:9252"),
    "drain_seconds": _number(0, 9999),
    "extra": _table(
        log_format=_one_of("json", "text"),
        shutdown_timeout=_number(0, 999),
        connection_max_age=_one_of("15m"),
        sentry_dsn=_one_of("https://a@sentry.example.com/1"),
        session_server=_one_of(
            {"listen_address": ":8093", "advertise_address": "a.example:8093", "session_timeout": 1800}
        ),
    ),
}


def _draft(chance: random.Random) -> dict[str, Any]:
    target = chance.choice(["docker-host", "raspberry-pi", "gke"])
    on_cluster = target == "gke"
    names = chance.sample(["one", "two-2", "3", "docker"], chance.randint(1, 3))
    draft = {
        "target": target,
        "gitlab": {
            "url": chance.choice(["https://gitlab.example.com", "http://10.0.0.2:8080/gitlab"]),
            "scope": "instance",
        },
        "runner_image": chance.choice(["gitlab/gitlab-runner:v19.4.0", "mine/runner:1"]),
        "concurrent": chance.randint(len(names), 40),
        "daemon": _drawn(chance, DAEMON if on_cluster else HOST_DAEMON, 0.4),
        "runners": [
            {"name": name, "run_untagged": True, **_drawn(chance, POD_RUNNER if on_cluster else HOST_RUNNER, 0.35)}
            for name in names
        ],
        **_drawn(chance, COMMON, 0.4),
    }
    for runner in draft["runners"]:
        # What GitLab keeps for a runner that is there already must not be set.
        if "token" in runner:
            for setting in ("description", "run_untagged", "locked", "access_level", "maximum_timeout", "paused"):
                runner.pop(setting, None)
    return draft | ({"cluster": {"context": "mine"}} if on_cluster else {})
