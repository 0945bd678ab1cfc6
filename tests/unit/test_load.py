"""From a stack's configuration and the environment to checked settings."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pulumi
import pytest
from pulumi.runtime import config as runtime_config

from components.defaults import DAEMON_IMAGE, RUNNER_IMAGE
from stacks import load as loading
from stacks.docker_host import fit as host_fit
from stacks.docker_host.settings import DockerHostSettings
from stacks.gke import cluster
from stacks.gke import fit as cluster_fit
from stacks.gke.cluster import Facts
from stacks.gke.settings import GkeSettings
from stacks.load import load
from stacks.raspberry_pi import fit as board_fit
from stacks.raspberry_pi.board import Board, fitted
from stacks.raspberry_pi.platforms import Platform, helper_image
from stacks.raspberry_pi.settings import RaspberryPiSettings
from stacks.settings.mistakes import SettingsError
from stacks.settings.versions import ApiRange, Engine
from stacks.stack import Stack, warnings_of
from stacks.targets import parse
from tests.unit.recording import Secret, run
from tests.unit.samples import TOKEN, board, changed, facts, gke, gke_settings, pi, pi_settings, plain, runner

PROJECT = "gitlab-dind-runners"
SANDBOX_GITLAB = {"url": "sandbox", "scope": "project", "project": "demo/app"}
WRONG = "the settings of stack dev are wrong:\n"
HELPER_IMAGE = str(helper_image(RUNNER_IMAGE, Platform.ARM64))
SALTED = "encryptionsalt: v1:c2FsdA==:v1:x:y\nconfig: {}\n"


class Asked(NamedTuple):
    """What the check of a GitLab is given."""

    url: str
    token: str | None
    direct: bool
    ca_file: str | None = None


@pytest.fixture(name="asked", autouse=True)
def _asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Asked]:
    """What GitLabs are asked, with which token; neither environment nor working directory has anything that matters."""
    monkeypatch.chdir(tmp_path)
    for name in ("GITLAB_TOKEN", "DINDRUNNER_SANDBOX", "PULUMI_CONFIG_PASSPHRASE", "DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)
    asked: list[Asked] = []

    def ask(url: str, token: str | None, *, direct: bool, ca_file: str | None) -> None:
        asked.append(Asked(url, token, direct, ca_file))

    monkeypatch.setattr(loading, "check_gitlab", ask)
    return asked


@dataclass
class World:
    """A board, its paths, what registries offer, an engine, and a cluster; `seen` is what was asked, in order."""

    board: Board = field(default_factory=board)
    cluster: Facts = field(default_factory=facts)
    offered: dict[str, frozenset[str] | None] = field(default_factory=dict)
    engine: Engine | None = None
    paths_are_there: bool = True
    seen: list[str] = field(default_factory=list)


@pytest.fixture(name="world", autouse=True)
def _world(monkeypatch: pytest.MonkeyPatch) -> World:
    """What engines and a cluster answer; no stack of another target asks them."""
    world = World()

    def ask_board(settings: RaspberryPiSettings) -> Board:
        world.seen.append(f"board at {settings.docker_host}")
        return world.board

    def check_paths(settings: RaspberryPiSettings) -> None:
        world.seen.append(f"paths, {settings.daemon.data_path}")
        if not world.paths_are_there:
            raise SettingsError("settings.daemon.data_path: is not there")

    def offered_platforms(settings: RaspberryPiSettings) -> dict[str, frozenset[str] | None]:
        world.seen.append(f"images, helper {settings.runners[0].helper_image}")
        return world.offered

    def ask_engine(settings: DockerHostSettings) -> Engine | None:
        world.seen.append(f"engine at {settings.docker_host}")
        return world.engine

    def ask_cluster(settings: GkeSettings, prefix: str) -> Facts:
        world.seen.append(f"cluster {settings.cluster.context}, {prefix}")
        return world.cluster

    monkeypatch.setattr(cluster_fit, "ask_cluster", ask_cluster)
    monkeypatch.setattr(board_fit, "ask_board", ask_board)
    monkeypatch.setattr(host_fit, "ask_engine", ask_engine)
    monkeypatch.setattr(board_fit, "check_paths", check_paths)
    monkeypatch.setattr(board_fit, "offered_platforms", offered_platforms)
    return world


def loaded(settings: object, **config: str) -> tuple[Stack[Any, Any], Any]:
    """The stack of this configuration, and its GitLab token as the engine would see it."""
    text = settings if isinstance(settings, str) else json.dumps(settings)
    values = {f"{PROJECT}:settings": text} if settings is not None else {}
    stacks: list[Stack[Any, Any]] = []

    def program() -> dict[str, Any]:
        runtime_config.set_all_config(values | {key.replace("_", ":"): value for key, value in config.items()})
        stacks.append(load())
        return {"token": stacks[0].gitlab_token}

    recording = run(program, project=PROJECT)
    return stacks[0], recording.outputs["token"]


def refusal(settings: object, **config: str) -> str:
    with pytest.raises(pulumi.RunError) as caught:
        loaded(settings, **config)
    return str(caught.value)


@pytest.fixture(name="sandbox")
def _sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a running sandbox."""
    (tmp_path / "root-token").write_text("glpat-sandbox\n")
    info = {
        "url": "http://172.17.0.1:8929",
        "token_file": str(tmp_path / "root-token"),
        "registry": None,
        "images": None,
        "group": "demo",
        "project": "demo/app",
    }
    (tmp_path / "sandbox.json").write_text(json.dumps(info))
    monkeypatch.setenv("DINDRUNNER_SANDBOX", str(tmp_path / "sandbox.json"))
    return tmp_path / "sandbox.json"


def test_missing_settings_are_explained() -> None:
    assert refusal(None) == (
        WRONG + "settings: is missing in Pulumi.dev.yaml: copy those of Pulumi.dev.yaml and change them"
    )


def test_settings_that_are_a_bare_text_are_no_table() -> None:
    assert refusal("glpat-s3cret") == (WRONG + "settings: is no table: write target, gitlab and runners below it")


def test_settings_that_are_a_list_are_no_table() -> None:
    assert refusal([]) == WRONG + "settings: [] is no table: write target, gitlab and runners below it"


def test_all_mistakes_are_in_the_one_error() -> None:
    assert refusal(plain(concurrent=0, log_level="loud")) == (
        f"{WRONG}settings.concurrent: 0 is not accepted: should be greater than or equal to 1\n"
        "settings.log_level: 'loud' is not accepted: should be 'debug', 'info', 'warn', 'error', 'fatal' or 'panic'"
    )


def test_a_mistake_is_found_before_any_gitlab_is_asked(asked: list[Asked]) -> None:
    refusal(plain(concurrent=0), gitlab_token="glpat-x")
    assert asked == []


@pytest.mark.parametrize("token", [None, "", "  \n"])
def test_a_missing_token_is_explained(token: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if token is not None:
        monkeypatch.setenv("GITLAB_TOKEN", token)
    assert refusal(plain()) == (
        f"{WRONG}gitlab:token: is missing: export GITLAB_TOKEN, or run: pulumi config set --secret gitlab:token "
        "(a token with scope api), or give every runner a token of its own"
    )


def test_the_token_of_the_environment_is_used_and_secret(monkeypatch: pytest.MonkeyPatch, asked: list[Asked]) -> None:
    monkeypatch.setenv("GITLAB_TOKEN", "glpat-environment\n")
    stack, token = loaded(plain())
    assert token == Secret("glpat-environment")
    assert asked == [Asked("https://gitlab.example.com", "glpat-environment", direct=False)]
    assert stack.settings == parse(plain())


def test_the_token_of_the_configuration_goes_before_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITLAB_TOKEN", "glpat-environment")
    assert loaded(plain(), gitlab_token="glpat-configuration")[1] == Secret("glpat-configuration")


def test_no_token_is_needed_or_sent_where_every_runner_brings_its_own(
    monkeypatch: pytest.MonkeyPatch, asked: list[Asked]
) -> None:
    monkeypatch.setenv("GITLAB_TOKEN", "glpat-environment")
    stack, _ = loaded(plain(runners=[runner(token=TOKEN)]))
    assert stack.gitlab_token is None
    assert asked == [Asked("https://gitlab.example.com", None, direct=False)]


def test_a_gitlab_is_asked_with_the_ca_of_the_settings(asked: list[Asked]) -> None:
    loaded(changed("gitlab.ca_file", "ca.pem"), gitlab_token="glpat-x")
    assert asked == [Asked("https://gitlab.example.com", "glpat-x", direct=False, ca_file="ca.pem")]


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"token": "glrt-REPLACE-ME", "tags": []}, "token"),
        ({"environment": {"KEY": "REPLACE-ME"}}, "environment.KEY"),
        ({"cache": {"Type": "s3", "s3": {"SecretKey": "REPLACE-ME"}}}, "cache.s3.SecretKey"),
        (
            {"extra": {"docker": {"services": [{"command": ["--pass=REPLACE-ME"]}]}}},
            "extra.docker.services[0].command[0]",
        ),
        ({"extra": {"docker": {"sysctls": {"a.b": "REPLACE-ME"}}}}, 'extra.docker.sysctls["a.b"]'),
    ],
)
def test_a_secret_that_is_still_to_be_filled_in_is_refused(settings: dict[str, Any], path: str) -> None:
    assert refusal(plain(runners=[runner(token="glrt-x", name="a"), runner(**settings)])) == (
        f"{WRONG}settings.runners[1].{path}: holds REPLACE-ME, which stands for a secret: run: pulumi config set "
        f"--secret --path '{PROJECT}:settings.runners[1].{path}' (it asks for the value)"
    )


def shared(settings: object) -> dict[str, str]:
    return {f"{PROJECT}_shared": settings if isinstance(settings, str) else json.dumps(settings)}


def test_shared_settings_hold_where_the_stacks_own_are_silent() -> None:
    own = plain(daemon={"cache_budget_gib": 40})
    common = {"log_level": "warn", "daemon": {"cache_budget_gib": 30, "dns": ["9.9.9.9"]}, "runners": []}
    stack, _ = loaded(own, gitlab_token="glpat-x", **shared(common))
    assert stack.settings == parse(
        plain(log_level="warn", daemon={"cache_budget_gib": 40, "dns": ["9.9.9.9"]}),
    )


@pytest.mark.parametrize("text", ["[]", '"warn"', "5", "warn"])
def test_shared_settings_that_are_no_table_are_refused(text: str) -> None:
    assert refusal(plain(), gitlab_token="glpat-x", **shared(text)) == (
        f"{WRONG}shared: is no table: write what all stacks have in common below its `value` in Pulumi.yaml"
    )


def test_a_mistake_in_shared_settings_is_refused_as_one_of_the_stack() -> None:
    assert refusal(plain(), gitlab_token="glpat-x", **shared({"log_level": "loud"})) == (
        f"{WRONG}settings.log_level: 'loud' is not accepted: should be 'debug', 'info', 'warn', 'error', 'fatal' or "
        "'panic'"
    )


@pytest.mark.parametrize("target", ["docker-host", "raspberry-pi"])
def test_a_volume_of_another_daemon_is_looked_at_before_anything_is_touched(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for fit in (host_fit, board_fit):
        monkeypatch.setattr(fit, "check_volume", lambda _, prefix: asked.append(prefix))
    loaded(plain() if target == "docker-host" else pi(), gitlab_token="glpat-x")
    assert asked == [f"{PROJECT}-dev"]


@pytest.mark.parametrize(
    ("environment", "settings", "engine"),
    [
        (None, {}, "unix:///var/run/docker.sock"),
        ("", {}, "unix:///var/run/docker.sock"),
        ("tcp://environment:2375", {}, "tcp://environment:2375"),
        ("tcp://environment:2375", {"docker_host": "ssh://pi@settings"}, "ssh://pi@settings"),
    ],
)
def test_the_engine_is_the_one_of_the_settings_else_of_the_environment_else_this_machines(
    environment: str | None, settings: dict[str, str], engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if environment is not None:
        monkeypatch.setenv("DOCKER_HOST", environment)
    assert loaded(plain(**settings), gitlab_token="glpat-x")[0].settings.docker_host == engine


@pytest.mark.parametrize(
    ("environment", "settings", "engine"),
    [
        (None, {}, "unix:///var/run/docker.sock"),
        ("ssh://pi@environment", {}, "ssh://pi@environment"),
        ("tcp://environment:2375", {"docker_host": "ssh://pi@settings"}, "ssh://pi@settings"),
    ],
)
def test_a_board_is_the_one_of_the_settings_else_of_the_environment_else_this_machine(
    environment: str | None, settings: dict[str, str], engine: str, monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    if environment is not None:
        monkeypatch.setenv("DOCKER_HOST", environment)
    raw = {key: value for key, value in pi().items() if key != "docker_host"} | settings
    assert loaded(raw, gitlab_token="glpat-x")[0].settings.docker_host == engine
    assert world.seen[0] == f"board at {engine}"


def test_an_engine_of_the_environment_that_is_no_way_to_a_board_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://environment:2375")
    raw = {key: value for key, value in pi().items() if key != "docker_host"}
    assert refusal(raw, gitlab_token="glpat-x") == (
        f"{WRONG}settings.docker_host: 'tcp://environment:2375' is no way to a board: write ssh://user@host, or "
        "unix:///var/run/docker.sock on the board itself"
    )


def test_a_password_in_an_engine_of_the_environment_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://pi:s3cret@environment:2375")
    raw = {key: value for key, value in pi().items() if key != "docker_host"}
    assert refusal(raw, gitlab_token="glpat-x") == (
        f"{WRONG}settings.docker_host: 'tcp://pi:(hidden)@environment:2375' is no way to a board: write "
        "ssh://user@host, or unix:///var/run/docker.sock on the board itself"
    )


def test_a_board_completes_the_settings_and_is_kept(world: World) -> None:
    world.board = board(cores=8, memory_mib=7811)
    stack, _ = loaded(pi(), gitlab_token="glpat-x")
    assert stack.facts == world.board
    assert stack.settings == fitted(pi_settings(), world.board)
    assert (stack.settings.concurrent, stack.settings.daemon.cpus, stack.settings.daemon.memory_mib) == (4, 7.0, 5120)


def test_a_docker_host_is_asked_for_its_version_only(world: World) -> None:
    world.engine = Engine("unix:///var/run/docker.sock", "28.5.2", ApiRange((1, 24), (1, 51)))
    stack, _ = loaded(plain(), gitlab_token="glpat-x")
    assert stack.facts == world.engine
    assert world.seen == ["engine at unix:///var/run/docker.sock"]


def test_a_docker_host_that_does_not_say_its_version_is_taken(world: World) -> None:
    stack, _ = loaded(plain(), gitlab_token="glpat-x")
    assert (world.engine, stack.facts) == (None, None)


@pytest.mark.parametrize("raw", [plain(), pi()], ids=["docker-host", "raspberry-pi"])
def test_an_engine_that_is_too_old_is_refused_with_what_to_do(world: World, raw: dict[str, Any]) -> None:
    engine = Engine("raspberry", "18.09.1", ApiRange((1, 12), (1, 39)))
    world.engine, world.board = engine, board(engine=engine)
    where = raw.get("docker_host", "unix:///var/run/docker.sock")
    assert refusal(raw, gitlab_token="glpat-x") == (
        f"{WRONG}settings.docker_host: '{where}' is Docker 18.09.1, API 1.39, which is too old for what the stack "
        "makes there: upgrade it to Docker 20.10 or newer"
    )


def test_what_an_engine_a_board_and_gitlab_say_of_their_versions_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "check_gitlab", lambda *_, **__: "18.5.0-ee")
    world.board = board(engine=Engine("raspberry", "28.5.2", ApiRange((1, 24), (1, 51))))
    stack, _ = loaded(pi(), gitlab_token="glpat-x")
    assert (stack.facts.engine, stack.gitlab_version) == (world.board.engine, "18.5.0-ee")
    assert list(warnings_of(stack, stack.facts.engine)) == [
        f"settings.runner_image: '{RUNNER_IMAGE}' is newer than the GitLab at https://gitlab.example.com (18.5.0-ee), "
        "and may ask it for what it does not know: use GitLab Runner 18.5, or upgrade GitLab first"
    ]


def test_gitlab_is_asked_first_then_the_board_then_its_paths_then_for_images(
    monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    monkeypatch.setattr(loading, "check_gitlab", lambda *_, **__: world.seen.append("gitlab"))
    loaded(pi(daemon={"data_path": "/mnt/ssd"}), gitlab_token="glpat-x")
    assert world.seen == [
        "gitlab",
        "board at ssh://pi@raspberry",
        "paths, /mnt/ssd",
        # Of the completed settings, which name the helper.
        f"images, helper {HELPER_IMAGE}",
    ]


def test_nothing_is_asked_where_the_settings_are_wrong(asked: list[Asked], world: World) -> None:
    refusal(pi(platform="arm64"), gitlab_token="glpat-x")
    assert (asked, world.seen) == ([], [])


def test_no_board_is_asked_where_gitlab_refuses(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise SettingsError("no GitLab")

    monkeypatch.setattr(loading, "check_gitlab", refuse)
    assert refusal(pi(), gitlab_token="glpat-x") == f"{WRONG}no GitLab"
    assert world.seen == []


def test_a_board_that_does_not_fit_is_refused_before_it_is_asked_for_more(world: World) -> None:
    world.board = board(architecture="amd64")
    assert refusal(pi(), gitlab_token="glpat-x") == (
        f"{WRONG}settings.platform: 'linux/arm64' does not run on raspberry, whose engine was built for amd64: set "
        "platform: linux/amd64, or point docker_host to another machine"
    )
    assert world.seen == ["board at ssh://pi@raspberry"]


def test_a_path_that_is_not_there_is_refused_before_any_registry_is_asked(world: World) -> None:
    world.paths_are_there = False
    assert refusal(pi(), gitlab_token="glpat-x") == f"{WRONG}settings.daemon.data_path: is not there"
    assert len(world.seen) == 2


def test_images_that_are_not_there_for_the_board_are_refused(world: World) -> None:
    world.offered = {DAEMON_IMAGE: frozenset({"linux/amd64"}), HELPER_IMAGE: frozenset({"linux/amd64"})}
    remedy = (
        "is not there for linux/arm64 (only for linux/amd64): choose another image, tag or platform, or remove a wrong "
        "copy on the board with `docker image rm`"
    )
    assert refusal(pi(), gitlab_token="glpat-x").splitlines() == [
        WRONG.strip(),
        f"settings.daemon.image: '{DAEMON_IMAGE}' {remedy}",
        f"settings.runners[0].helper_image: '{HELPER_IMAGE}' {remedy}",
    ]


@pytest.mark.usefixtures("sandbox")
def test_a_board_may_serve_the_sandbox(world: World) -> None:
    stack, token = loaded(pi(gitlab=SANDBOX_GITLAB))
    assert token == Secret("glpat-sandbox")
    assert stack.settings.gitlab.url == "http://172.17.0.1:8929"
    assert stack.facts == world.board


def test_a_cluster_completes_the_settings_and_is_kept(world: World) -> None:
    stack, _ = loaded(gke(daemon={"claim": {"size_gib": 500}}), gitlab_token="glpat-x")
    assert stack.facts == world.cluster
    assert stack.settings == cluster.fitted(gke_settings(daemon={"claim": {"size_gib": 500}}), world.cluster)
    daemon = stack.settings.daemon
    assert (daemon.cache_budget_gib, daemon.claim.access_mode) == (300, "ReadWriteOncePod")
    assert world.seen == [f"cluster mine, {PROJECT}-dev"]


def test_no_cluster_is_asked_for_another_target(world: World) -> None:
    for raw in (plain(), pi()):
        loaded(raw, gitlab_token="glpat-x")
    assert not [asked for asked in world.seen if asked.startswith("cluster")]


def test_an_engine_of_the_environment_is_nothing_to_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://pi@environment")
    assert loaded(gke(), gitlab_token="glpat-x")[0].settings.target == "gke"


def test_gitlab_is_asked_before_the_cluster(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    monkeypatch.setattr(loading, "check_gitlab", lambda *_, **__: world.seen.append("gitlab"))
    loaded(gke(name="builders"), gitlab_token="glpat-x")
    assert world.seen == ["gitlab", "cluster mine, builders"]


def test_a_name_that_kubernetes_does_not_take_is_refused_before_the_cluster_is_asked(world: World) -> None:
    assert refusal(gke(name="1-builders"), gitlab_token="glpat-x") == (
        f"{WRONG}settings.name: is needed, as '1-builders', with which the stack's objects would begin, is no name for "
        "Kubernetes: choose one of up to 40 lower-case letters, digits and dashes that begins with a letter and does "
        "not end with a dash"
    )
    assert world.seen == []


def test_a_cluster_that_does_not_fit_is_refused(world: World) -> None:
    world.cluster = facts(missing_rights=("create secrets",), refusal="GKE Warden rejected the request")
    assert [line.split()[0] for line in refusal(gke(), gitlab_token="glpat-x").splitlines()[1:]] == [
        "settings.cluster:",
        "settings.cluster:",
    ]


def test_what_gitlab_says_is_part_of_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, _: str | None, **__: object) -> None:
        raise SettingsError(f"{url} said no")

    monkeypatch.setattr(loading, "check_gitlab", refuse)
    assert refusal(plain(), gitlab_token="glpat-x") == f"{WRONG}https://gitlab.example.com said no"


@pytest.mark.parametrize(("name", "prefix"), [(None, "gitlab-dind-runners-dev"), ("builders", "builders")])
def test_names_begin_with_project_and_stack_unless_the_settings_choose(name: str | None, prefix: str) -> None:
    stack, _ = loaded(plain(name=name), gitlab_token="glpat-x")
    assert (stack.prefix, stack.name, stack.project) == (prefix, "dev", PROJECT)


def test_the_known_passphrase_is_refused_for_a_real_gitlab(monkeypatch: pytest.MonkeyPatch, asked: list[Asked]) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "sandbox")
    Path("Pulumi.dev.yaml").write_text(SALTED)
    assert refusal(plain(), gitlab_token="glpat-x") == (
        f"{WRONG}PULUMI_CONFIG_PASSPHRASE: is the sandbox's, which everybody knows, and this stack's GitLab is not the "
        "sandbox: remove encryptionsalt from the stack's file, export a passphrase of your own "
        "(or PULUMI_CONFIG_PASSPHRASE_FILE) and run: pulumi stack change-secrets-provider passphrase"
    )
    assert asked == []


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"Pulumi.dev.yaml": "config: {}\n"},
        {"Pulumi.dev.yaml": "secretsprovider: awskms://key\n"},
        {"Pulumi.dev.yaml": "config: {}\n", "Pulumi.prod.yaml": SALTED},
    ],
    ids=["no file", "no salt", "another provider", "another stack's salt"],
)
def test_the_known_passphrase_is_left_alone_where_it_encrypts_nothing_of_the_stack(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "sandbox")
    for name, text in files.items():
        Path(name).write_text(text)
    assert loaded(plain(), gitlab_token="glpat-x")[1] == Secret("glpat-x")


def test_a_passphrase_of_ones_own_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "sandbox2")
    Path("Pulumi.dev.yaml").write_text(SALTED)
    assert loaded(plain(), gitlab_token="glpat-x")[1] == Secret("glpat-x")


@pytest.mark.usefixtures("sandbox")
def test_the_sandbox_gives_its_url_and_its_own_token_and_takes_the_known_passphrase(
    monkeypatch: pytest.MonkeyPatch, asked: list[Asked]
) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "sandbox")
    Path("Pulumi.dev.yaml").write_text(SALTED)
    monkeypatch.setenv("GITLAB_TOKEN", "glpat-real")
    stack, token = loaded(plain(gitlab=SANDBOX_GITLAB), gitlab_token="glpat-real")
    assert token == Secret("glpat-sandbox")
    assert stack.settings.gitlab.url == "http://172.17.0.1:8929"
    assert asked == [Asked("http://172.17.0.1:8929", "glpat-sandbox", direct=True)]


def test_a_sandbox_that_does_not_run_is_explained() -> None:
    assert refusal(plain(gitlab=SANDBOX_GITLAB)) == (
        f"{WRONG}settings.gitlab.url: 'sandbox' is not running (DINDRUNNER_SANDBOX is not set): start it and set "
        "DINDRUNNER_SANDBOX with: make up, then source .toolchain/env"
    )


def test_a_sandbox_whose_token_is_gone_is_explained(sandbox: Path) -> None:
    token = sandbox.with_name("root-token")
    token.unlink()
    assert refusal(plain(gitlab=SANDBOX_GITLAB)) == (
        f"{WRONG}settings.gitlab.url: the token of 'sandbox' cannot be read from {token} (No such file or directory): "
        "start it and set DINDRUNNER_SANDBOX with: make up, then source .toolchain/env"
    )


@pytest.mark.usefixtures("sandbox")
def test_mistakes_in_a_stack_of_the_sandbox_are_explained_too() -> None:
    assert refusal(plain(gitlab=SANDBOX_GITLAB, runners=None, daemon=[])) == (
        f"{WRONG}settings.daemon: [] must be a table\nsettings.runners: none must be a list"
    )
