"""The local images on the real engine: the daemon's certificates and refusals, what runs inside, what jobs build on."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import images
from lab.gitlab import registry
from lab.gitlab.server import bridge_address
from tests.engine.world import docker, missing, run, unique, wait_for

SUBNET, INNER, POOL = "10.213.0.0/24", "10.214.0.1/24", "10.215.0.0/16"
ALIAS = "docker"
READY_SECONDS = 60


class Daemon:
    """A daemon of the dind image on a network of its own, and clients of it."""

    def __init__(self, local: dict[str, str], folder: Path, registry_address: str) -> None:
        self.name = unique("t-images")
        self.local = local
        self.registry = registry_address
        self.config = folder / "daemon.json"
        self.config.write_text(
            json.dumps(
                {
                    "bip": INNER,
                    "default-address-pools": [{"base": POOL, "size": 24}],
                    "insecure-registries": [registry_address],
                }
            )
        )

    def start(self) -> None:
        docker("network", "create", "--subnet", SUBNET, self.name)
        docker(
            *("run", "--detach", "--privileged", "--name", self.name, "--network", self.name),
            *("--network-alias", ALIAS, "--env", "DOCKER_TLS_SAN=DNS:daemon.example,IP:192.0.2.7"),
            *("--volume", f"{self.name}-certs:/certs/client", "--volume", f"{self.name}-data:/var/lib/docker"),
            *("--volume", f"{self.config}:/etc/docker/daemon.json:ro", self.local["dind"]),
        )
        self.wait_ready()

    def wait_ready(self) -> None:
        wait_for(
            "the daemon", READY_SECONDS, lambda: self.client("docker", "info", check=False).returncode == 0 or None
        )

    def client(
        self, *command: str, check: bool = True, options: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a job container on the daemon's network, as a TLS client."""
        verify = ("--env", "DOCKER_TLS_VERIFY=1", "--env", "DOCKER_CERT_PATH=/certs/client")
        return run(
            *("docker", "run", "--rm", "--interactive", "--network", self.name, *options),
            *("--volume", f"{self.name}-certs:/certs/client:ro", "--env", f"DOCKER_HOST=tcp://{ALIAS}:2376", *verify),
            *(self.local["job"], *command),
            check=check,
        )

    def inside(self, *command: str) -> str:
        """What a command in the daemon's container printed."""
        return docker("exec", self.name, *command)

    def image(self, role: str) -> str:
        """An image of the registry, under the name by which the daemon pulls it."""
        return f"{self.registry}/dindrunner/{role}:{self.local[role].rpartition(':')[2]}"

    def remove(self) -> None:
        docker("rm", "--force", "--volumes", self.name, check=False)
        docker("volume", "rm", f"{self.name}-certs", f"{self.name}-data", check=False)
        docker("network", "rm", self.name, check=False)


@pytest.fixture(scope="module")
def local(environment: dict[str, str]) -> dict[str, str]:
    """The names of the local images."""
    del environment
    if images.registry_answers():
        missing("a container registry answers here: the local images are not in use")
    return images.ensure(print)


@pytest.fixture(scope="module")
def registry_address(local: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that containers reach, with the images for jobs in it."""
    folder = tmp_path_factory.mktemp("registry")
    storage = folder / "storage"
    address = bridge_address()
    port = registry.free_port(address)
    registry.seed({role: local[role] for role in ("python", "postgres")}, storage, folder / "seed.log")
    pid = registry.start(address, port, storage, folder / "registry.log")
    yield f"{address}:{port}"
    registry.stop(pid, folder / "registry.log")


@pytest.fixture(scope="module")
def daemon(local: dict[str, str], registry_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A running daemon."""
    made = Daemon(local, tmp_path_factory.mktemp("daemon"), registry_address)
    try:
        made.start()
        yield made
    finally:
        made.remove()


def test_every_image_says_that_it_is_a_stand_in(local: dict[str, str]) -> None:
    for name in local.values():
        assert docker("image", "inspect", "--format", '{{index .Config.Labels "dindrunner.stand-in"}}', name) == "true"


def test_the_certificate_names_the_alias_the_host_its_addresses_and_what_was_asked_for(daemon: Daemon) -> None:
    text = daemon.inside("openssl", "x509", "-in", "/certs/server/cert.pem", "-noout", "-ext", "subjectAltName")
    names = {name.strip() for name in text.splitlines()[1].split(",")}
    address = docker(
        "inspect", "--format", f'{{{{(index .NetworkSettings.Networks "{daemon.name}").IPAddress}}}}', daemon.name
    )
    hostname = daemon.inside("hostname")
    wanted = {f"DNS:{name}" for name in ("docker", "localhost", "daemon.example", hostname)}
    # Docker gives every container the loopback address of IPv6 since 28, where the kernel has that.
    loopback = {"127.0.0.1", "0:0:0:0:0:0:0:1"} if "inet6 ::1" in daemon.inside("ip", "address") else {"127.0.0.1"}
    assert names == wanted | {f"IP Address:{ip}" for ip in loopback | {"192.0.2.7", address}}


def test_the_keys_of_authority_and_server_are_for_root_and_the_clients_for_every_user_of_its_volume(
    daemon: Daemon,
) -> None:
    keys = [f"/certs/{part}/key.pem" for part in ("ca", "server", "client")]
    assert daemon.inside("stat", "--format", "%a %u", *keys).splitlines() == ["600 0", "600 0", "644 0"]


def test_a_client_that_knows_the_daemon_by_another_name_refuses_it(daemon: Daemon) -> None:
    address = docker("exec", daemon.name, "hostname", "--ip-address")
    done = daemon.client(
        *("docker", "--host", "tcp://elsewhere:2376", "version"),
        check=False,
        options=("--add-host", f"elsewhere:{address}"),
    )
    assert done.returncode != 0
    assert re.search("certificate is valid for .*, not elsewhere", done.stdout + done.stderr)


def test_clients_stay_valid_and_the_cache_stays_when_the_daemon_is_killed(daemon: Daemon) -> None:
    daemon.inside("docker", "pull", "--quiet", daemon.image("python"))
    authority = daemon.inside("cat", "/certs/client/ca.pem")
    docker("kill", daemon.name)
    docker("start", daemon.name)
    daemon.wait_ready()
    assert daemon.inside("cat", "/certs/client/ca.pem") == authority
    assert daemon.image("python") in daemon.inside("docker", "images", "--format", "{{.Repository}}:{{.Tag}}")


@pytest.mark.parametrize("network", ["bridge", "host", "own"])
def test_containers_inside_resolve_names_as_the_daemon_does(daemon: Daemon, network: str) -> None:
    if network == "own":
        daemon.inside("docker", "network", "create", "own")
    # Docker's resolver on networks of its own passes no name without a dot on.
    ask = ("getent", "ahostsv4", f"{ALIAS}.{daemon.name}")
    found = daemon.inside("docker", "run", "--rm", "--network", network, daemon.image("python"), *ask)
    assert found.split()[0] == daemon.inside(*ask).split()[0]


def test_compose_waits_for_a_database_that_takes_only_its_password(daemon: Daemon) -> None:
    composition = {
        "services": {
            "db": {
                "image": daemon.image("postgres"),
                "environment": {"POSTGRES_USER": "app", "POSTGRES_PASSWORD": "right", "POSTGRES_DB": "no'tes"},
                "healthcheck": {
                    "test": ["CMD", "pg_isready", "-U", "app", "-d", "no'tes"],
                    "interval": "1s",
                    "retries": 60,
                },
            }
        }
    }
    ask = "docker compose exec -T -e PGPASSWORD={} db psql -h db -U app -d \"no'tes\" -tAc 'select current_database()'"
    script = (
        f"mkdir /d && cd /d && cat > compose.yml <<'END'\n{json.dumps(composition)}\nEND\n"
        f"trap 'docker compose down --volumes' EXIT; docker compose up --wait\n{ask.format('right')}\n"
        f"if {ask.format('wrong')}; then exit 9; fi"
    )
    done = daemon.client("bash", "-ec", script)
    assert done.stdout == "no'tes\n"
    assert "password authentication failed" in done.stderr


def test_a_database_without_a_password_does_not_start(local: dict[str, str]) -> None:
    done = run("docker", "run", "--rm", local["postgres"], check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "Error: POSTGRES_PASSWORD is empty and the database is new: set it (or POSTGRES_HOST_AUTH_METHOD=trust).\n"
    )


@pytest.mark.parametrize(
    ("arguments", "listeners"),
    [
        ([], ["unix:///var/run/docker.sock", "tcp://0.0.0.0:2375"]),
        (["--mtu=1400"], ["unix:///var/run/docker.sock", "tcp://0.0.0.0:2375"]),
        (["dockerd", "--host=unix:///shared/docker.sock"], ["unix:///shared/docker.sock"]),
    ],
)
def test_arguments_of_the_daemon_are_taken_as_by_the_official_image(
    local: dict[str, str], arguments: list[str], listeners: list[str]
) -> None:
    name = unique("t-images")
    docker(
        *("run", "--detach", "--privileged", "--name", name, "--volume", "/shared"),
        *("--env", "DOCKER_TLS_CERTDIR=", local["dind"], *arguments),
    )
    try:
        words = wait_for("dockerd's command line", READY_SECONDS, lambda: _dockerd_words(name))
        assert [word.removeprefix("--host=") for word in words if word.startswith("--host=")] == listeners
        assert [word for word in words if word.startswith("--tls")] == []
        assert set(arguments) <= set(words)
    finally:
        docker("rm", "--force", "--volumes", name)


def _dockerd_words(container: str) -> list[str] | None:
    every = docker("exec", container, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '", check=False)
    found = re.search(r"(?<!-- )\bdockerd( --\S+)+", every)
    return found[0].split() if found else None


def test_any_other_command_is_run_as_it_is(local: dict[str, str]) -> None:
    assert docker("run", "--rm", local["dind"], "echo", "-n", "hello") == "hello"


@pytest.mark.parametrize("plugin", ["buildx", "compose"])
def test_an_image_for_jobs_in_which_a_plugin_does_not_run_is_not_made(
    local: dict[str, str], tmp_path: Path, plugin: str
) -> None:
    del local
    recipe = images._recipe()
    role = next(role for role in recipe.roles if role.name == "job")
    images._fill_context(role, recipe.edition, tmp_path / "job")
    (tmp_path / "job" / "docker" / "cli-plugins" / f"docker-{plugin}").unlink()
    base = f"BASE={images.image_names(recipe)[role.base]}"
    arguments = ("--build-arg", base, "--build-arg", "DOCKER_PACKAGES=")
    done = run("docker", "build", *arguments, str(tmp_path / "job"), check=False)
    assert done.returncode != 0
    told = f"docker {plugin} does not run in this image: its program is missing, or wants another Debian\n"
    assert told in done.stdout + done.stderr
