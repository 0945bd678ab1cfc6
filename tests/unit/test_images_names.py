"""How the local images are named, which decides when they are built anew."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from toolchain import images

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
        ("tools/Dockerfile", {"tools", "runner", "helper", "job"}),
        ("dind/dockerd-entrypoint.sh", {"dind", "runner", "job"}),
        ("base/rootfs.sh", {"base", "dind", "tools", "runner", "helper", "job", "python", "postgres"}),
    ],
)
def test_a_changed_recipe_renames_its_image_and_those_built_on_it(
    recipes: Path, changed: str, affected: set[str]
) -> None:
    before = images.image_names()
    (recipes / changed).write_text((recipes / changed).read_text() + "\n# changed\n")
    after = images.image_names()
    assert {role for role in before if before[role] != after[role]} == affected


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


def test_nothing_is_made_where_a_container_registry_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    monkeypatch.setattr(images, "IMAGES_FILE", tmp_path / "images.json")
    monkeypatch.setattr(images, "registry_answers", lambda: True)
    monkeypatch.setattr(images, "_build_missing", lambda _names, _say: built.append("images"))
    monkeypatch.setattr(images, "build", lambda spec, **_: built.append(spec.name))
    assert images.ensure(print) == {}
    assert json.loads((tmp_path / "images.json").read_text()) == {}
    assert built == []
