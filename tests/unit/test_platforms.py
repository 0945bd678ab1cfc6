"""What official images are published for, what a machine runs, and what is read from a manifest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from components.defaults import CLIENT_IMAGE, DAEMON_IMAGE, RUNNER_IMAGE
from components.image_names import Reference
from stacks.raspberry_pi.platforms import (
    HELPER_REPOSITORY,
    RUNS,
    Platform,
    fits,
    helper_image,
    manifest_platforms,
    published,
)

AMD64, ARM64, V6, V7 = "linux/amd64", "linux/arm64", "linux/arm/v6", "linux/arm/v7"
BOTH = {AMD64, ARM64}
EVERY = {*BOTH, V6, V7}
DIGEST = "sha256:" + "0" * 64
NO_JSON = "is no manifest: not JSON"
NO_PLATFORM = "is no manifest: names no platform"


def entry(**platform: Any) -> dict[str, Any]:
    """One manifest as `docker manifest inspect --verbose` prints it."""
    return {
        "Ref": f"docker.io/library/docker:28.5.2-dind@{DIGEST}",
        "Descriptor": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": DIGEST,
            "size": 3330,
            "platform": platform,
        },
        "Raw": "e30=",
        "OCIManifest": {"schemaVersion": 2, "config": {"mediaType": "application/vnd.oci.image.config.v1+json"}},
    }


@pytest.mark.parametrize(
    ("platform", "architecture", "helper"),
    [
        (Platform.ARM64, "arm64", "arm64"),
        (Platform.ARM_V7, "arm", "arm"),
        (Platform.AMD64, "amd64", "x86_64"),
    ],
)
def test_a_platform_knows_its_architecture_and_its_helper(platform: Platform, architecture: str, helper: str) -> None:
    assert (platform.architecture, platform.helper) == (architecture, helper)


@pytest.mark.parametrize(
    ("image", "repository", "tag", "digest"),
    [
        ("docker", "docker.io/library/docker", "latest", ""),
        ("docker:28.5.2-dind", "docker.io/library/docker", "28.5.2-dind", ""),
        ("library/docker:28", "docker.io/library/docker", "28", ""),
        ("docker.io/docker:28", "docker.io/library/docker", "28", ""),
        ("docker.io/library/docker:28", "docker.io/library/docker", "28", ""),
        ("index.docker.io/library/docker:28", "docker.io/library/docker", "28", ""),
        ("index.docker.io/docker:28", "docker.io/library/docker", "28", ""),
        (f"docker@{DIGEST}", "docker.io/library/docker", "", DIGEST),
        (f"docker:28@{DIGEST}", "docker.io/library/docker", "28", DIGEST),
        ("gitlab/gitlab-runner:v18.5.0", "docker.io/gitlab/gitlab-runner", "v18.5.0", ""),
        ("localhost/docker:28", "localhost/docker", "28", ""),
        ("localhost:5000/docker", "localhost:5000/docker", "latest", ""),
        ("mirror:5000/library/docker:28", "mirror:5000/library/docker", "28", ""),
        ("Mirror/docker:28", "Mirror/docker", "28", ""),
        ("registry.example.com/a/b/docker:28", "registry.example.com/a/b/docker", "28", ""),
        (f"registry.example.com:5000/docker@{DIGEST}", "registry.example.com:5000/docker", "", DIGEST),
    ],
)
def test_an_image_is_taken_apart_as_docker_does(image: str, repository: str, tag: str, digest: str) -> None:
    assert Reference.parse(image) == Reference(repository, tag, digest)


@pytest.mark.parametrize(
    ("image", "platforms"),
    [
        ("docker:28.5.2-dind", EVERY),
        ("docker:28.5.2-cli", EVERY),
        ("docker:28.5.2", EVERY),
        ("docker:28.5.2-dind-alpine3.22", EVERY),
        ("docker:28.5.2-alpine3.22", EVERY),
        ("docker:28.5.2-dind-rootless", BOTH),
        ("docker:29.7.2-dind", EVERY),
        ("docker:25.0.5-git", EVERY),
        ("docker:dind", EVERY),
        ("docker:28-dind", EVERY),
        ("docker", EVERY),
        ("gitlab/gitlab-runner:v18.5.0", BOTH),
        ("gitlab/gitlab-runner:ubuntu-v18.5.0", BOTH),
        ("gitlab/gitlab-runner:alpine-v18.5.0", BOTH),
        ("gitlab/gitlab-runner:alpine3.21-v18.5.0", BOTH),
        ("gitlab/gitlab-runner:alpine", BOTH),
        ("gitlab/gitlab-runner", BOTH),
        ("gitlab/gitlab-runner:ubi-fips-v18.5.0", {AMD64}),
        ("registry.gitlab.com/gitlab-org/gitlab-runner:v18.5.0", BOTH),
        (f"{HELPER_REPOSITORY}:arm64-v18.5.0", {ARM64}),
        (f"{HELPER_REPOSITORY}:arm-v18.5.0", {V7}),
        (f"{HELPER_REPOSITORY}:x86_64-v18.5.0", {AMD64}),
        (f"{HELPER_REPOSITORY}:ubuntu-arm64-v18.5.0", {ARM64}),
        (f"{HELPER_REPOSITORY}:alpine-latest-arm-v18.5.0", {V7}),
        (f"{HELPER_REPOSITORY}:alpine3.21-x86_64-v18.5.0", {AMD64}),
        ("registry:2", EVERY),
        ("registry:2.7.1", {*BOTH, V6}),
        ("registry:3.0.0", EVERY),
        ("alpine:3.22", EVERY),
        ("alpine:3.8", {*BOTH, V6}),
    ],
)
def test_official_images_are_in_the_table(image: str, platforms: set[str]) -> None:
    assert published(image) == frozenset(platforms)


@pytest.mark.parametrize(
    ("version", "platforms"),
    [
        ("19.03.15", None),
        ("20.10.0", EVERY),
        ("20.10.7", EVERY),
        ("20.10.8", BOTH),
        ("20.10.24", BOTH),
        ("20.10", BOTH),
        ("20", BOTH),
        ("23.0.6", BOTH),
        ("24.0.5", BOTH),
        ("24.0.6", EVERY),
        ("24.0", EVERY),
        ("24", EVERY),
    ],
)
def test_docker_left_32_bit_arm_and_came_back(version: str, platforms: set[str] | None) -> None:
    assert published(f"docker:{version}-dind") == platforms
    assert published(f"docker:{version}") == platforms


@pytest.mark.parametrize(
    "image",
    [
        "docker:28.5.2-windowsservercore-ltsc2022",
        "docker:29.0.0-rc.3-dind",
        "docker:20.10.6-dind-rootless",
        "docker:$TAG",
        f"docker@{DIGEST}",
        f"docker:28.5.2-dind@{DIGEST}",
        "mirror:5000/library/docker:28.5.2-dind",
        "dockerx:28.5.2-dind",
        "registry.example.com/docker:28.5.2-dind",
        "gitlab/gitlab-runner:v14.10.0",
        "gitlab/gitlab-runner:bleeding",
        "gitlab/gitlab-runner:18.5.0",
        "gitlab/gitlab-runner:v18.5.0-rc1",
        "gitlab/gitlab-runner:ubi-fips",
        "gitlab/gitlab-runner-helper:arm64-v18.5.0",
        f"{HELPER_REPOSITORY}:arm64-v15.8.0",
        f"{HELPER_REPOSITORY}:arm64-latest",
        f"{HELPER_REPOSITORY}:arm64-v${{CI_RUNNER_VERSION}}",
        f"{HELPER_REPOSITORY}:s390x-v18.5.0",
        f"{HELPER_REPOSITORY}:arm64-v18.5.0-pwsh",
        "dindrunner.local/dind:20.10.24-abcdef01",
        "python:3.12",
    ],
)
def test_of_other_images_the_table_says_nothing(image: str) -> None:
    assert published(image) is None


@pytest.mark.parametrize("platform", list(Platform))
def test_the_default_images_are_in_the_table_and_only_the_runners_lacks_32_bit_arm(platform: Platform) -> None:
    helper = helper_image(RUNNER_IMAGE, platform)
    unfit = []
    for image in (DAEMON_IMAGE, CLIENT_IMAGE, RUNNER_IMAGE, str(helper)):
        platforms = published(image)
        assert platforms, image
        if not fits(platform, platforms):
            unfit.append(image)
    assert unfit == ([RUNNER_IMAGE] if platform is Platform.ARM_V7 else [])


@pytest.mark.parametrize(
    ("platform", "taken"),
    [
        (Platform.ARM64, {"linux/arm64", "linux/arm64/v8", "Linux/ARM64"}),
        (Platform.ARM_V7, {"linux/arm/v7", "linux/arm/v6", "linux/arm/v5", "linux/arm"}),
        (Platform.AMD64, {"linux/amd64", "linux/amd64/v1"}),
    ],
)
def test_a_machine_takes_what_its_processor_runs_and_nothing_else(platform: Platform, taken: set[str]) -> None:
    others = {
        "linux/arm64", "linux/arm64/v8", "linux/arm64/v9", "Linux/ARM64",
        "linux/arm", "linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm/v8",
        "linux/386", "linux/amd64", "linux/amd64/v1", "linux/amd64/v3", "linux/s390x", "linux/riscv64",
        "windows/amd64", "windows/arm64", "darwin/arm64", "unknown/unknown", "linux", "",
    }  # fmt: skip
    assert {one for one in others if fits(platform, [one])} == taken


def test_one_that_fits_is_enough_and_none_is_not() -> None:
    assert fits(Platform.ARM64, ["linux/amd64", "linux/arm64/v8"])
    assert not fits(Platform.ARM64, ["linux/amd64", "linux/arm/v7"])
    assert not fits(Platform.ARM64, [])


def test_every_platform_runs_its_own_images() -> None:
    assert set(RUNS) == set(Platform)
    assert all(fits(platform, [platform]) for platform in Platform)


def test_an_index_offers_its_images_without_attestations() -> None:
    text = json.dumps(
        [
            entry(architecture="amd64", os="linux"),
            entry(architecture="unknown", os="unknown"),
            entry(architecture="arm", os="linux", variant="v6"),
            entry(architecture="arm", os="linux", variant="v7"),
            entry(architecture="arm64", os="linux", variant="v8"),
            entry(architecture="amd64", os="windows", **{"os.version": "10.0.20348.4294"}),
        ]
    )
    assert manifest_platforms(text) == {*EVERY, "windows/amd64"}


@pytest.mark.parametrize(
    ("platform", "found"),
    [
        ({"architecture": "amd64", "os": "linux"}, "linux/amd64"),
        ({"architecture": "arm64", "os": "linux", "variant": ""}, "linux/arm64"),
        ({"architecture": "arm", "os": "linux"}, "linux/arm/v7"),
    ],
)
def test_a_single_manifest_offers_its_platform(platform: dict[str, str], found: str) -> None:
    assert manifest_platforms(json.dumps(entry(**platform))) == {found}


def test_the_manifest_of_an_old_client_is_read() -> None:
    old = entry(architecture="arm64", os="linux")
    del old["OCIManifest"], old["Raw"]
    old["SchemaV2Manifest"] = {"schemaVersion": 2, "layers": []}
    assert manifest_platforms(json.dumps(old)) == {ARM64}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", NO_JSON),
        ("no such manifest: docker.io/library/docker:0", NO_JSON),
        ("[]", NO_PLATFORM),
        ("{}", NO_PLATFORM),
        ("null", NO_PLATFORM),
        ("3", NO_PLATFORM),
        ('["a"]', NO_PLATFORM),
        ('{"Descriptor": []}', NO_PLATFORM),
        ('{"Descriptor": {"platform": null}}', NO_PLATFORM),
        ('{"Descriptor": {"platform": {"os": "linux"}}}', NO_PLATFORM),
        ('{"Descriptor": {"platform": {"os": "", "architecture": ""}}}', NO_PLATFORM),
        (json.dumps([entry(architecture="unknown", os="unknown")]), NO_PLATFORM),
        # Without --verbose, a single image's manifest has no platform.
        ('{"schemaVersion": 2, "config": {}, "layers": []}', NO_PLATFORM),
    ],
)
def test_what_is_no_manifest_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        manifest_platforms(text)


@pytest.mark.parametrize(
    ("runner", "version"),
    [
        ("gitlab/gitlab-runner:v18.5.0", "v18.5.0"),
        ("gitlab/gitlab-runner:ubuntu-v18.5.0", "v18.5.0"),
        ("gitlab/gitlab-runner:alpine-v17.11.2", "v17.11.2"),
        ("gitlab/gitlab-runner:alpine3.21-v18.5.0", "v18.5.0"),
        ("docker.io/gitlab/gitlab-runner:v16.0.0", "v16.0.0"),
        ("registry.gitlab.com/gitlab-org/gitlab-runner:v18.5.0", "v18.5.0"),
        (f"gitlab/gitlab-runner:v18.5.0@{DIGEST}", "v18.5.0"),
    ],
)
def test_the_helper_has_the_version_of_the_runner_and_the_architecture_of_the_machine(
    runner: str, version: str
) -> None:
    helper = "registry.gitlab.com/gitlab-org/gitlab-runner/gitlab-runner-helper"
    assert [helper_image(runner, platform) for platform in Platform] == [
        f"{helper}:arm64-{version}",
        f"{helper}:arm-{version}",
        f"{helper}:x86_64-{version}",
    ]


@pytest.mark.parametrize(
    "runner",
    [
        "gitlab/gitlab-runner",
        "gitlab/gitlab-runner:latest",
        "gitlab/gitlab-runner:alpine",
        "gitlab/gitlab-runner:v18.5",
        "gitlab/gitlab-runner:v18.5.0-rc1",
        "gitlab/gitlab-runner:v15.11.1",
        "gitlab/gitlab-runner:ubi-fips-v18.5.0",
        f"gitlab/gitlab-runner@{DIGEST}",
        "mirror:5000/gitlab/gitlab-runner:v18.5.0",
        "example/gitlab-runner:v18.5.0",
        "dindrunner.local/runner:19.4.0-daed0715",
    ],
)
def test_a_runner_image_without_an_official_version_has_no_helper(runner: str) -> None:
    assert helper_image(runner, Platform.ARM64) is None
