"""What a daemon that outlives the jobs is worth, and what TLS costs: the sample project's image build."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import yaml

from bench.measure import Row, Sides, Take
from bench.world import Daemon, World, daemon
from tests.engine.world import ROOT, docker

SAMPLE = ROOT / "examples" / "fastapi-app"
WARM_BUILDS = 5
"""Builds that are timed together: one alone is too short."""


def base_image(world: World) -> str:
    """The sample's base image, as its jobs are told: in the sandbox's registry, where it has one."""
    project = world.sandbox.client.projects.get(world.sandbox.described["project"])
    told = {variable.key: variable.value for variable in project.variables.list(all=True)}
    own = yaml.safe_load((SAMPLE / ".gitlab-ci.yml").read_text())["variables"]
    return str((own | told)["PYTHON_IMAGE"])


def build(world: World, cache: str = "") -> str:
    """The script that builds the sample's images. cache: options, with $target for the image's name."""
    return (
        "cd /sample && for target in app tests; do docker build --progress plain --target $target "
        f"--build-arg PYTHON_IMAGE={base_image(world)} {cache} --tag sample/$target .; done"
    )


def put_sample(into: Daemon) -> None:
    """The sample project's files, where the clients of the daemon build them."""
    docker("cp", str(SAMPLE), f"{into.name}:/sample")


def filled(world: World, *, tls: bool = True) -> Daemon:
    """A daemon that has built the sample before, the same one for each row."""

    def made() -> Daemon:
        fresh, _ = world.closing.enter_context(daemon(world, tls=tls))
        put_sample(fresh)
        fresh.client(build(world))
        return fresh

    return world.shared(f"daemon {tls}", made)


def fresh(world: World, cache: str = "") -> Take:
    """Times the build in a daemon that was made for it: without its start, so that the build alone is compared."""

    def take() -> float:
        with daemon(world) as (made, _):
            put_sample(made)
            return made.timed(build(world, cache))

    return take


@contextmanager
def no_cache(world: World) -> Iterator[Sides]:
    """A fresh daemon has nothing, not even the base image."""
    shared = filled(world)
    yield fresh(world), lambda: shared.timed(build(world))


@contextmanager
def registry_cache(world: World) -> Iterator[Sides]:
    """The cache is in the registry beside, which is as near as a registry can be."""
    reference = f"type=registry,ref={world.sandbox.described['registry']}/bench/cache:$target"
    # Only this image store can export a cache of all stages.
    with daemon(world, features={"containerd-snapshotter": True}) as (exporter, _):
        put_sample(exporter)
        exporter.client(build(world, f"--cache-to {reference},mode=max"))
    shared = filled(world)
    yield fresh(world, f"--cache-from {reference}"), lambda: shared.timed(build(world))


@contextmanager
def ready(world: World) -> Iterator[Sides]:
    """From `docker run` until `docker info` answers over the transport; in between TLS makes certificates."""

    def start(tls: bool) -> Take:
        def take() -> float:
            with daemon(world, tls=tls) as (_, seconds):
                return seconds

        return take

    yield start(True), start(False)


@contextmanager
def handshake(world: World) -> Iterator[Sides]:
    """Of builds that do nothing but ask the daemon."""
    secure, plain = filled(world), filled(world, tls=False)
    builds = f"for i in $(seq {WARM_BUILDS}); do {build(world)}; done"
    yield lambda: secure.timed(builds), lambda: plain.timed(builds)


ROWS = (
    Row(
        "P1", "the sample's image build: in a fresh daemon that is ready ÷ in the shared one, warm",
        "fresh daemon", "shared daemon", 20, no_cache, at_least=True,
    ),
    Row(
        "P2", "the same with a cache in a registry: fresh daemon, `type=registry` ÷ shared daemon",
        "registry cache", "shared daemon", 3, registry_cache, at_least=True,
    ),
    Row("P6 ready", "time to ready: daemon with TLS ÷ without", "TLS", "plaintext", 1.1, ready),
    Row(
        "P6 build", f"{WARM_BUILDS} warm builds: over TLS ÷ over plaintext",
        "TLS", "plaintext", 1.05, handshake,
    ),
)  # fmt: skip
