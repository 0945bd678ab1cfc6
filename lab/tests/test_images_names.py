"""How the local images are named, which decides when they are built anew."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from lab import images, prepare
from lab.images import Recipe
from toolchain import docker, engine
from toolchain.docker import NEWEST, STABLE
from toolchain.shared import ToolchainError

ONE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
TWO = "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n"


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the recipes that a test may change."""
    copy = tmp_path / "recipes"
    shutil.copytree(images._RECIPES, copy)
    monkeypatch.setattr(images, "_RECIPES", copy)
    monkeypatch.setattr(images, "machine_certificates", lambda: [ONE])
    return copy


def test_names_have_a_version_and_a_short_hash(recipes: Path) -> None:
    names = images.image_names()
    assert set(names) == {path.name for path in recipes.iterdir()}
    for role, name in names.items():
        assert re.fullmatch(rf"dindrunner\.local/{role}:[0-9][0-9a-z.-]*-[0-9a-f]{{8}}", name)


@pytest.mark.usefixtures("recipes")
def test_names_do_not_depend_on_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = images.image_names()
    monkeypatch.setenv("DINDRUNNER_CACHE", str(tmp_path / "elsewhere"))
    assert images.image_names() == before


@pytest.mark.parametrize(
    ("changed", "affected"),
    [
        ("postgres/docker-entrypoint.sh", {"postgres"}),
        ("tools/Dockerfile", {"tools", "runner", "runner-for-pods", "helper", "job"}),
        ("dind/dockerd-entrypoint.sh", {"dind", "dind-next"}),
        (
            "base/rootfs.sh",
            {"base", "dind", "dind-next", "tools", "runner", "runner-for-pods", "helper", "job", "python", "postgres"},
        ),
    ],
)
def test_a_changed_recipe_renames_its_image_and_those_built_on_it(
    recipes: Path, changed: str, affected: set[str]
) -> None:
    before = images.image_names()
    (recipes / changed).write_text((recipes / changed).read_text() + "\n# changed\n")
    after = images.image_names()
    assert {role for role in before if before[role] != after[role]} == affected


@pytest.mark.usefixtures("recipes", "built")
def test_what_images_without_a_pinned_docker_lack_is_said_when_they_are_made_and_by_the_doctor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(images, "registry_answers", lambda: False)
    monkeypatch.setattr(docker, "ensure", lambda _: None)
    told = (
        "they have Docker 20.10 of Debian's bookworm, without buildx and compose: `docker compose` fails in jobs, and "
        "`docker build` uses the legacy builder. Set apt to a mirror that has a newer suite (docs/lab/images.md)"
    )
    said: list[str] = []
    images.ensure(said.append)
    assert said == [f"images: {told}"]
    assert prepare.images_row().remedy == told
    assert not prepare.images_row().missing


@pytest.mark.usefixtures("recipes", "built")
def test_of_images_with_the_pinned_docker_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "registry_answers", lambda: False)
    said: list[str] = []
    images.ensure(said.append)
    assert said == []
    assert prepare.images_row().remedy == ""


@pytest.mark.usefixtures("recipes", "built")
def test_no_daemon_of_the_next_series_is_made_beside_an_old_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "registry_answers", lambda: False)
    monkeypatch.setattr(docker, "ensure", lambda _: None)
    with pytest.raises(ToolchainError) as caught:
        images.ensure_next(print)
    assert str(caught.value) == (
        "no daemon of the next series is made, because the images have Docker 20.10: name one in the settings instead "
        "(daemon.image: docker:29-dind)"
    )


@pytest.mark.usefixtures("recipes")
def test_another_authority_on_the_machine_renames_every_image(monkeypatch: pytest.MonkeyPatch) -> None:
    before = images.image_names()
    monkeypatch.setattr(images, "machine_certificates", lambda: [ONE, TWO])
    after = images.image_names()
    assert not set(before.values()) & set(after.values())


def test_only_authorities_beyond_those_of_the_distribution_are_the_machines_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "distribution" / "mozilla").mkdir(parents=True)
    (tmp_path / "distribution" / "mozilla" / "one.crt").write_text(ONE.replace("\n", "\r\n"))
    (tmp_path / "bundle.crt").write_text(f"# a comment\n{ONE}\n{TWO}{TWO}")
    monkeypatch.setattr(images, "_DISTRIBUTION_CERTIFICATES", tmp_path / "distribution")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "bundle.crt"))
    assert images.machine_certificates() == [TWO]


def test_a_certificate_that_is_cut_off_is_left_out() -> None:
    assert images.pem_blocks(ONE + TWO.removesuffix("-----END CERTIFICATE-----\n")) == [ONE]


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was built, by name; nothing is built in earnest."""
    names: list[str] = []
    monkeypatch.setattr(images, "IMAGES_FILE", tmp_path / "images.json")
    monkeypatch.setenv("DINDRUNNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(images, "_build_missing", lambda *_: names.append("images"))
    monkeypatch.setattr(docker, "ensure", lambda _: docker.edition(NEWEST))
    monkeypatch.setattr(engine, "client", lambda _: Path("docker"))
    return names


def test_nothing_is_made_where_a_container_registry_answers(built: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "registry_answers", lambda: True)
    assert images.ensure(print) == {}
    assert json.loads(images.IMAGES_FILE.read_text()) == {}
    assert built == []


def test_pulled_images_stay_the_choice_when_the_registry_does_not_answer_once(
    built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    images.IMAGES_FILE.write_text("{}")
    monkeypatch.setattr(images, "registry_answers", lambda: pytest.fail("asked"))
    assert images.ensure(print) == {}
    assert built == []


def test_local_images_that_are_there_are_kept_without_asking_a_registry(
    built: list[str], recipes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answers() -> bool:
        asked.append("registry")
        return False

    monkeypatch.setattr(images, "registry_answers", answers)
    made = images.ensure(print)
    assert (asked, built) == (["registry"], ["images"])
    listed: list[str] = []

    def listing(*_: object, **__: object) -> str:
        listed.append("listed")
        return "\n".join(made.values())

    monkeypatch.setattr(images, "run", listing)
    assert images.ensure(print) == made
    assert (asked, built, len(listed)) == (["registry"], ["images"], 1)
    (recipes / "postgres" / "Dockerfile").write_text("FROM scratch\n")
    assert images.ensure(print)["postgres"] != made["postgres"]
    assert asked == ["registry", "registry"]


def test_local_images_that_were_removed_are_made_again(built: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "registry_answers", lambda: False)
    images.ensure(print)
    monkeypatch.setattr(images, "run", lambda *_, **__: "")
    images.ensure(print)
    assert built == ["images"] * 2


@pytest.mark.parametrize("absent", ["mmdebstrap", "gpgv", "keyring"])
def test_what_mmdebstrap_verifies_packages_with_is_always_installed(
    absent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Enough(Exception):
        pass

    def install(packages: list[str], _as_root: list[str]) -> None:
        raise Enough(" ".join(packages))

    (tmp_path / "debian-archive-keyring.gpg").touch()
    keyring = tmp_path / ("nowhere" if absent == "keyring" else "") / "debian-archive-keyring.gpg"
    monkeypatch.setattr(images, "_KEYRING", keyring)
    monkeypatch.setattr(images, "find_program", lambda name: None if name == absent else f"/usr/sbin/{name}")
    monkeypatch.setattr(images, "root_prefix", lambda _: [])
    monkeypatch.setattr(images, "install_packages", install)
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/apt-get")
    with pytest.raises(Enough, match=r"^mmdebstrap debian-archive-keyring gpgv$"):
        images._make_rootfs(images._NEWER, tmp_path / "base.tar")


def test_what_a_killed_build_left_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[list[str]] = []
    place = tmp_path / "images"
    (place / ".contexts.killed" / "dind").mkdir(parents=True)
    monkeypatch.setenv("DINDRUNNER_CACHE", str(tmp_path))
    monkeypatch.setattr(images, "_bake", lambda *words: built.append(sorted(path.name for path in words[-1].iterdir())))
    edition = docker.edition(NEWEST)
    python = next(role for role in Recipe.with_docker(edition).roles if role.name == "python")
    images._build_all([python], edition, {"python": "dindrunner.local/python:3.13"}, "docker", lambda _: None)
    assert built == [["python"]]
    assert list(place.iterdir()) == []


def test_what_is_mounted_for_the_base_is_mounted_for_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run(command: list[str | Path], **_: object) -> None:
        ran.append([str(word) for word in command])
        Path(ran[-1][ran[-1].index("trixie") + 1]).touch()

    (tmp_path / "debian-archive-keyring.gpg").touch()
    monkeypatch.setattr(images, "_KEYRING", tmp_path / "debian-archive-keyring.gpg")
    monkeypatch.setattr(images, "find_program", lambda name: f"/usr/sbin/{name}")
    monkeypatch.setattr(images, "root_prefix", lambda _: ["sudo", "-n"])
    monkeypatch.setattr(images, "run", run)
    monkeypatch.setattr(docker, "sources", lambda suite: [f"deb http://mirror.example/debian/ {suite} main"])
    images._make_rootfs(images._NEWER, tmp_path / "base.tar")
    assert [command[:5] for command in ran] == [["sudo", "-n", "unshare", "--mount", "env"]]
    assert (tmp_path / "base.tar").exists()


def test_packages_of_the_base_are_verified_with_debians_keys() -> None:
    script = (images._RECIPES / "base" / "rootfs.sh").read_text()
    assert f" --keyring={images._KEYRING} " in script


@pytest.mark.usefixtures("recipes")
def test_the_images_say_which_docker_is_in_them_and_are_named_anew_with_another() -> None:
    newest, stable = (images.image_names(Recipe.with_docker(docker.edition(suite))) for suite in (NEWEST, STABLE))
    assert {
        role: name.split(":")[1].rpartition("-")[0] for role, name in newest.items() if role in ("dind", "job")
    } == {
        "dind": "28.5.2",
        "job": "28.5.2",
    }
    assert stable["dind"].startswith("dindrunner.local/dind:26.1.5-")
    # The base has no Docker in it.
    assert {role for role in newest if newest[role] != stable[role]} == {
        "dind",
        "dind-next",
        "runner",
        "runner-for-pods",
        "job",
    }


@pytest.mark.usefixtures("recipes")
def test_without_a_pinned_docker_the_images_are_of_the_older_debian_with_its_own() -> None:
    names = images.image_names(Recipe.with_docker(None))
    versions = {role: name.split(":")[1].rpartition("-")[0] for role, name in names.items()}
    assert versions["dind"] == versions["job"] == "20.10"
    assert (versions["base"], versions["python"], versions["postgres"]) == ("12", "3.11", "15")
