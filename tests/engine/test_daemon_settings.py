"""The daemon's configuration, as the settings render it, read by the daemons that have to know it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.daemon_json import daemon_json
from lab import images
from tests.engine.world import docker, missing, run, unique, wait_for

SERIES = ("28", "29")
READY_SECONDS = 60
EVERY_SETTING = daemon_json(
    subnet="10.217.0.0/16",
    cache_budget_gib=7,
    mtu=1400,
    networks_mtu=1400,
    dns=["10.0.0.53"],
    registry_mirrors=["https://mirror.example"],
    insecure_registries=["registry.example:5000"],
)


@pytest.fixture(scope="module", params=SERIES)
def image(request: pytest.FixtureRequest, environment: dict[str, str]) -> str:
    """The image of a daemon of each series."""
    del environment
    if images.registry_answers():
        missing("a container registry answers here: the local images are not in use")
    return images.ensure(print)["dind"] if request.param == "28" else images.ensure_next(print)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A daemon.json with everything that settings can ask for."""
    file = tmp_path_factory.mktemp("settings") / "daemon.json"
    file.write_text(EVERY_SETTING)
    return file


@pytest.fixture(scope="module")
def daemon(image: str, settings: Path) -> Iterator[str]:
    """A running daemon with these settings, by its container's name."""
    name = unique("t-settings")
    docker(
        *("run", "--detach", "--privileged", "--name", name, "--env", "DOCKER_TLS_CERTDIR="),
        *("--volume", f"{settings}:/etc/docker/daemon.json:ro", image),
    )
    try:
        ready = ("docker", "exec", name, "docker", "info")
        wait_for("the daemon", READY_SECONDS, lambda: run(*ready, check=False).returncode == 0 or None)
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


def validated(image: str, file: Path, *, check: bool = True) -> str:
    """What `dockerd --validate` says about a configuration."""
    mount = ("--volume", f"{file}:/etc/docker/daemon.json:ro")
    done = run("docker", "run", "--rm", *mount, "--entrypoint", "dockerd", image, "--validate", check=check)
    return done.stdout + done.stderr


def test_every_setting_passes_the_daemons_own_check(image: str, settings: Path) -> None:
    assert "configuration OK" in validated(image, settings)


def test_the_check_finds_a_key_that_the_daemon_does_not_know(image: str, tmp_path: Path) -> None:
    (tmp_path / "daemon.json").write_text(json.dumps({**json.loads(EVERY_SETTING), "no-such-key": 1}))
    assert "no-such-key" in validated(image, tmp_path / "daemon.json", check=False)


def test_the_limits_of_the_build_cache_are_those_of_the_settings(daemon: str) -> None:
    text = docker("exec", daemon, "docker", "buildx", "inspect", "default")
    found = {
        limit: [line.split(":", 1)[1].strip() for line in text.splitlines() if line.strip().startswith(limit)]
        for limit in ("Max Used Space", "Reserved Space", "Min Free Space")
    }
    # The first of four rules is for what is easily fetched again, and has a limit of its own.
    assert {limit: values[-3:] for limit, values in found.items()} == {
        "Max Used Space": ["7GiB"] * 3,
        "Reserved Space": ["1.75GiB"] * 3,
        "Min Free Space": ["2GiB"] * 3,
    }


@pytest.mark.parametrize("network", ["bridge", "one-of-a-job"])
def test_the_mtu_holds_on_every_network_inside(daemon: str, network: str) -> None:
    if network != "bridge":
        docker("exec", daemon, "docker", "network", "create", network)
    option = '{{index .Options "com.docker.network.driver.mtu"}}'
    assert docker("exec", daemon, "docker", "network", "inspect", "--format", option, network) == "1400"


def test_networks_mirrors_and_registries_are_those_of_the_settings(daemon: str) -> None:
    info = json.loads(docker("exec", daemon, "docker", "info", "--format", "{{json .}}"))
    assert info["DefaultAddressPools"] == [{"Base": "10.217.128.0/17", "Size": 24}]
    assert info["RegistryConfig"]["Mirrors"] == ["https://mirror.example/"]
    assert "registry.example:5000" in info["RegistryConfig"]["IndexConfigs"]
    assert docker("exec", daemon, "docker", "network", "inspect", "--format", "{{json .IPAM.Config}}", "bridge")
