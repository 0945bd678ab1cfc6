"""Two environments on one host, with settings in common, and a cache that goes from one to the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import yaml

from tests.engine.world import ROOT, Stack, docker

SHARED = {
    "target": "docker-host",
    "gitlab": {"url": "sandbox", "scope": "group", "group": "demo"},
    "log_level": "warn",
    "daemon": {"cache_budget_gib": 7},
}


def share(stack: Stack) -> None:
    """Give the stack's project shared settings."""
    file = stack.directory / "Pulumi.yaml"
    file.unlink()
    config = {"gitlab-dind-runners:shared": {"value": SHARED}}
    file.write_text((ROOT / "Pulumi.yaml").read_text() + yaml.safe_dump({"config": config}))


def settings(stack: Stack, **own: object) -> None:
    """The stack's own settings, and nothing that is shared."""
    text = yaml.safe_load((stack.directory / f"Pulumi.{stack.name}.yaml").read_text())
    text["config"]["gitlab-dind-runners:settings"] = {"runners": [stack.runner()], "drain_seconds": 0, **own}
    (stack.directory / f"Pulumi.{stack.name}.yaml").write_text(yaml.safe_dump(text))


def inner(stack: Stack, *arguments: str) -> str:
    """What the stack's daemon answers."""
    return docker("exec", f"{stack.prefix}-dind", "docker", *arguments)


@pytest.fixture(name="volume")
def _volume() -> Iterator[list[str]]:
    """Volumes that are to be removed in the end."""
    names: list[str] = []
    yield names
    for name in names:
        docker("volume", "rm", "--force", name, check=False)


def test_two_environments_share_a_host_and_one_takes_over_the_cache_of_the_other(
    new_stack: Callable[[], Stack], volume: list[str]
) -> None:
    dev, staging = new_stack(), new_stack()
    for stack in (dev, staging):
        share(stack)
    settings(dev, daemon={"keep_cache": True})
    settings(staging, log_level="info")
    cache = f"{dev.prefix}-dind-data"
    volume.append(cache)
    dev.up()
    staging.up()
    assert [stack.config_toml().splitlines()[2] for stack in (dev, staging)] == [
        'log_level = "warn"',
        'log_level = "info"',
    ]
    assert not set(dev.leftovers()) & set(staging.leftovers())
    inner(dev, "volume", "create", "made-in-dev")
    assert "made-in-dev" not in inner(staging, "volume", "ls", "--quiet")

    settings(staging, daemon={"existing_volume": cache})
    refused = staging.up(check=False)
    assert (
        f"settings.daemon.existing_volume: '{cache}' is used by container {dev.prefix}-dind, and two daemons on one "
        f"volume destroy it: stop that one, and remove it without its volumes (docker rm {dev.prefix}-dind)"
    ) in refused
    own = staging.leftovers()
    assert f"{staging.prefix}-dind-data" in own

    dev.pulumi("destroy", "--yes", "--skip-preview")
    assert inner(staging, "info", "--format", "{{.ID}}")
    staging.up()
    assert staging.outputs()["daemon"]["volume"] == cache
    assert "made-in-dev" in inner(staging, "volume", "ls", "--quiet").split()
    assert f"{staging.prefix}-dind-data" not in staging.leftovers()
    staging.expect_no_changes()

    staging.pulumi("destroy", "--yes", "--skip-preview")
    assert cache in docker("volume", "ls", "--quiet").split()
    assert staging.leftovers() == []


def test_a_volume_that_is_not_there_is_refused_before_anything_is_touched(new_stack: Callable[[], Stack]) -> None:
    stack = new_stack()
    stack.configure(daemon={"existing_volume": "nobody-made-this"})
    assert (
        "settings.daemon.existing_volume: 'nobody-made-this' is no volume of the engine at "
        "unix:///var/run/docker.sock: correct the name (docker volume ls)"
    ) in stack.up(check=False)
    assert stack.leftovers() == []
