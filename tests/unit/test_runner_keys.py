"""The table of GitLab Runner's keys, and what settings may write into config.toml by it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from components.config_toml import render
from components.defaults import RUNNER_IMAGE
from components.job_pods import JobPods
from components.runner_keys import KEYS, VERSION, Fit
from lab.images import RUNNER_VERSION
from stacks.settings.mistakes import SettingsError
from stacks.settings.warnings import warnings_about
from stacks.targets import TARGETS, model, parse
from tests.unit.samples import gke, plain, runner

STORED: dict[str, Any] = json.loads((Path(__file__).parent / "gitlab_runner_keys.json").read_text())
"""What `go run ./keys` prints in lab/go/gitlab-runner, with the version and date of the module that it is made from."""

HERE = "settings.runners[0].extra"
CERTS = "/certs/client:/certs/client:ro"


def refused(settings: dict[str, Any]) -> list[str]:
    with pytest.raises(SettingsError) as error:
        parse(settings)
    return str(error.value).splitlines()


def extra(**keys: Any) -> dict[str, Any]:
    return plain(runners=[runner(extra=keys)])


def docker(**keys: Any) -> dict[str, Any]:
    return extra(docker=keys)


def pods(**keys: Any) -> dict[str, Any]:
    return gke(runners=[runner(extra={"kubernetes": keys})])


def entry(settings: dict[str, Any]) -> dict[str, Any]:
    """The one `[[runners]]` entry of the config.toml that the settings render."""
    parsed = parse(settings)
    job_pods = JobPods(
        namespace="ci",
        service_account="ci-job",
        client_secret="ci-dind-client",
        labels={"dindrunner.stack": "ci"},
        client_labels={"dindrunner.client": "true"},
        annotations={},
    )
    (only,) = tomllib.loads(render(parsed.spec(), {"docker": "glrt-x"}, job_pods))["runners"]
    assert isinstance(only, dict)
    return only


def test_the_table_has_every_key_of_the_runner_with_its_type_and_no_other() -> None:
    unserved = tuple(f"{key.path}." for key in KEYS.values() if key.fit is Fit.UNSERVED)
    listed = {path: kind for path, kind in STORED["keys"].items() if not path.startswith(unserved)}
    assert {key.path: key.type for key in KEYS.values()} == listed


def test_the_table_and_the_stored_list_are_of_the_pinned_runner() -> None:
    assert STORED["version"] == RUNNER_VERSION == RUNNER_IMAGE.rpartition(":v")[2]
    assert RUNNER_VERSION.startswith(f"{VERSION}.")


def test_every_setting_that_holds_a_key_is_one() -> None:
    def exists(path: str) -> bool:
        for target in TARGETS:
            fields = model(target).model_fields
            for part in path.removesuffix("[]").split("."):
                name = part.removesuffix("[]")
                if name not in fields:
                    break
                below = fields[name].annotation
                below = getattr(below, "__args__", (below,))[0]
                fields = getattr(below, "model_fields", {})
            else:
                return True
        return False

    assert [key.path for key in KEYS.values() if key.setting and not exists(key.setting)] == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            docker(priviledged=True),
            f"{HERE}.docker.priviledged: (hidden) is no key of GitLab Runner 19.4: did you mean privileged? "
            "extra_unchecked: [docker.priviledged] lets a key of a newer runner through",
        ),
        (
            extra(zzz=1),
            f"{HERE}.zzz: (hidden) is no key of GitLab Runner 19.4: remove it. extra_unchecked: [zzz] lets a key of a "
            "newer runner through",
        ),
        (
            plain(extra={"shutdown_timeot": 1}),
            "settings.extra.shutdown_timeot: (hidden) is no key of GitLab Runner 19.4: did you mean shutdown_timeout? "
            "extra_unchecked: [shutdown_timeot] lets a key of a newer runner through",
        ),
        (
            plain(runners=[runner(cache={"Typ": "s3", "s3": {"Bucketname": "b", "BucketNam": "b"}})]),
            (
                "settings.runners[0].cache.Typ: (hidden) is no key of GitLab Runner 19.4: did you mean Type? "
                "extra_unchecked: [cache.Typ] lets a key of a newer runner through",
                "settings.runners[0].cache.s3.BucketNam: (hidden) is no key of GitLab Runner 19.4: did you mean "
                "BucketName? extra_unchecked: [cache.s3.BucketNam] lets a key of a newer runner through",
            ),
        ),
        (
            docker(services=[{"name": "db:1"}, {"alais": "db"}]),
            f"{HERE}.docker.services[1].alais: (hidden) is no key of GitLab Runner 19.4: did you mean alias? "
            "extra_unchecked: [docker.services.alais] lets a key of a newer runner through",
        ),
        *(
            (settings, f"{where}: (hidden) is what {setting} sets: write it there, and remove it here")
            for settings, where, setting in (
                (docker(Privileged=True), f"{HERE}.docker.Privileged", "runners[0].privileged"),
                (docker(memory="512m"), f"{HERE}.docker.memory", "runners[0].memory_mib"),
                (docker(host="tcp://else:1"), f"{HERE}.docker.host", "runners[0].kind"),
                (docker(shm_size=2**20), f"{HERE}.docker.shm_size", "runners[0].shm_size_mib"),
                (pods(cpu_limit="1500m"), f"{HERE}.kubernetes.cpu_limit", "runners[0].cpus"),
                (pods(namespace="jobs"), f"{HERE}.kubernetes.namespace", "namespace"),
                (extra(NAME="x"), f"{HERE}.NAME", "runners[0].name"),
                (extra(url="https://evil.example.com"), f"{HERE}.url", "gitlab.url"),
                (extra(Token="glrt-x"), f"{HERE}.Token", "runners[0].token"),
                (extra(executor="shell"), f"{HERE}.executor", "runners[0].executor"),
                (extra(cache={}), f"{HERE}.cache", "runners[0].cache"),
                (plain(extra={"Concurrent": 1}), "settings.extra.Concurrent", "concurrent"),
                (plain(extra={"Runners": []}), "settings.extra.Runners", "runners"),
            )
        ),
        (
            extra(output_limit=1, Output_Limit=2),
            f"{HERE}.Output_Limit: (hidden) is the same key as output_limit, because GitLab Runner ignores case: "
            "remove one",
        ),
        *(
            (settings, f"{where}: (hidden) is of the wrong type: write {words}")
            for settings, where, words in (
                (extra(output_limit="1"), f"{HERE}.output_limit", "a whole number"),
                (extra(output_limit=True), f"{HERE}.output_limit", "a whole number"),
                (extra(unhealthy_interval="2 minutes"), f"{HERE}.unhealthy_interval", "a duration such as 2m"),
                (docker(dns="9.9.9.9"), f"{HERE}.docker.dns", "a list of texts"),
                (docker(disable_cache="yes"), f"{HERE}.docker.disable_cache", "true or false"),
                (docker(services={"name": "db"}), f"{HERE}.docker.services", "a list of tables"),
                (docker(services_devices={"a": "b"}), f"{HERE}.docker.services_devices", "a table of lists of texts"),
                (extra(docker=[]), f"{HERE}.docker", "a table"),
                (extra(feature_flags={"FF_USE_FASTZIP": "1"}), f"{HERE}.feature_flags", "a table of true or false"),
            )
        ),
        (extra(ssh={"user": "a"}), f"{HERE}.ssh: (hidden) does nothing, as executor ssh is not supported: remove it"),
        (
            extra(kubernetes={}),
            f"{HERE}.kubernetes: (hidden) is for executor kubernetes, and this runner has docker: remove it",
        ),
        (
            plain(runners=[runner(extra_unchecked=["docker.Privileged"])]),
            "settings.runners[0].extra_unchecked: 'docker.Privileged' is a key of GitLab Runner 19.4, and those are "
            "checked: remove it",
        ),
    ],
    ids=str,
)
def test_a_key_that_may_not_be_written_is_refused_with_its_path_and_the_remedy(
    settings: dict[str, Any], expected: str | tuple[str, ...]
) -> None:
    assert refused(settings) == ([expected] if isinstance(expected, str) else list(expected))


@pytest.mark.parametrize(
    ("settings", "place", "what"),
    [
        (extra(environment=["DOCKER_HOST=tcp://else:1"]), "environment[0]", "DOCKER_HOST"),
        (extra(environment=["A=1", "DOCKER_TLS_VERIFY="]), "environment[1]", "DOCKER_TLS_VERIFY"),
        (extra(Environment=["DOCKER_CERT_PATH=/x"]), "environment[0]", "DOCKER_CERT_PATH"),
        (docker(volumes=["mine:/certs/client"]), "docker.volumes[0]", "/certs/client"),
        (docker(volumes=["/a", "mine:/certs/../certs/client/:ro"]), "docker.volumes[1]", "/certs/client"),
        (docker(volumes=["mine:/certs/client/ca.pem"]), "docker.volumes[0]", "/certs/client"),
        (docker(tmpfs={"//certs/client": "rw"}), 'docker.tmpfs["//certs/client"]', "/certs/client"),
        (docker(extra_hosts=["docker:192.0.2.1"]), "docker.extra_hosts[0]", "docker"),
        (
            extra(feature_flags={"FF_DISABLE_AUTOMATIC_TOKEN_ROTATION": False}),
            "feature_flags.FF_DISABLE_AUTOMATIC_TOKEN_ROTATION",
            "FF_DISABLE_AUTOMATIC_TOKEN_ROTATION",
        ),
        (
            pods(volumes={"empty_dir": [{"name": "a", "mount_path": "/certs/client"}]}),
            "kubernetes.volumes.empty_dir[0]",
            "/certs/client",
        ),
        (
            pods(pod_labels={"dindrunner.client": "x"}),
            'kubernetes.pod_labels["dindrunner.client"]',
            "dindrunner.client",
        ),
    ],
    ids=str,
)
def test_what_would_take_an_injected_entry_away_is_refused(settings: dict[str, Any], place: str, what: str) -> None:
    assert refused(settings) == [
        f"{HERE}.{place}: (hidden) would take {what} away, which kind dind needs as the stack writes it: remove it"
    ]


def test_a_job_with_its_own_daemon_keeps_its_privileges() -> None:
    settings = plain(runners=[runner(kind="job-dind", extra={"docker": {"services_privileged": False}})])
    assert refused(settings) == [
        f"{HERE}.docker.services_privileged: (hidden) would take services_privileged away, which kind job-dind needs "
        "as the stack writes it: remove it"
    ]


def test_lists_that_the_stack_fills_are_joined() -> None:
    only = entry(
        extra(
            environment=["A=1", "DOCKER_TLS_VERIFY=1"],
            feature_flags={"FF_USE_FASTZIP": True},
            docker={"volumes": ["/more", CERTS], "extra_hosts": ["db:192.0.2.1"]},
        )
    )
    assert only["environment"] == [
        "DOCKER_HOST=tcp://docker:2376",
        "DOCKER_TLS_VERIFY=1",
        "DOCKER_CERT_PATH=/certs/client",
        "A=1",
    ]
    assert only["feature_flags"] == {"FF_DISABLE_AUTOMATIC_TOKEN_ROTATION": True, "FF_USE_FASTZIP": True}
    assert only["docker"]["volumes"] == ["/cache", CERTS, "/more"]
    assert only["docker"]["extra_hosts"] == ["docker:host-gateway", "db:192.0.2.1"]


def test_an_empty_list_takes_nothing_away() -> None:
    assert entry(extra(environment=[], docker={"volumes": [], "extra_hosts": []})) == entry(plain())


def test_a_pods_volumes_and_labels_are_joined() -> None:
    mount = {"name": "mine", "mount_path": "/mine"}
    table = entry(pods(volumes={"secret": [mount]}, pod_labels={"a": "b"}))["kubernetes"]
    mine = {"name": "ci-dind-client", "mount_path": "/certs/client", "read_only": True}
    assert table["volumes"] == {"secret": [mine, mount]}
    assert table["pod_labels"] == {"dindrunner.stack": "ci", "dindrunner.client": "true", "a": "b"}


def test_another_mount_on_the_cache_stands_for_the_runners_own() -> None:
    assert entry(docker(volumes=["layers:/cache"]))["docker"]["volumes"] == [CERTS, "layers:/cache"]


def test_keys_come_out_as_the_runner_spells_them() -> None:
    settings = plain(
        runners=[runner(cache={"type": "s3", "S3": {"bucketname": "b"}}, extra={"Docker": {"DNS": ["1"]}})]
    )
    only = entry(settings)
    assert only["cache"] == {"Type": "s3", "s3": {"BucketName": "b"}}
    assert only["docker"]["dns"] == ["1"]
    assert "Docker" not in only


@pytest.mark.parametrize(
    ("settings", "key", "value"),
    [
        (docker(memory="8m"), "memory", "8m"),
        (docker(cpus="0.25"), "cpus", "0.25"),
        (docker(shm_size=1000), "shm_size", 1000),
        (docker(service_memory="512m"), "service_memory", "512m"),
    ],
)
def test_a_size_that_is_too_fine_for_its_setting_may_be_written(
    settings: dict[str, Any], key: str, value: object
) -> None:
    assert entry(settings)["docker"][key] == value


def test_a_key_that_is_newer_than_the_table_can_be_let_through_with_a_warning() -> None:
    settings = plain(
        extra={"new": 1},
        extra_unchecked=["new"],
        runners=[runner(extra={"docker": {"new_key": 1}}, extra_unchecked=["docker.New_Key"])],
    )
    assert entry(settings)["docker"]["new_key"] == 1
    unchecked = (
        "is no key of GitLab Runner 19.4, so neither settings nor policies check what it does. Remove it unless "
    )
    assert list(warnings_about(parse(settings))) == [
        f"settings.extra_unchecked: new {unchecked}your runner has that key",
        f"settings.runners[0].extra_unchecked: docker.New_Key {unchecked}your runner has that key",
    ]


def test_no_value_is_shown() -> None:
    settings = extra(environment="s3cret", docker={"dsn": "s3cret", "memory": "s3cret", "image": "s3cret"})
    assert "s3cret" not in "\n".join(refused(settings))
