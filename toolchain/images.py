"""The local images: what the stack and the jobs run in where no container registry can be reached.

They stand in for docker:dind, gitlab/gitlab-runner, its helper, a job image, python and postgres, and are made from
Debian's packages and Go modules. Each is tagged `<version>-<hash of its recipe>` and built when no image has
that tag.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.debian import find_program, install_packages, root_prefix
from toolchain.gobuild import GoBinary, build, cached_path
from toolchain.shared import (
    TOOLCHAIN_DIR,
    Say,
    ToolchainError,
    cache_dir,
    digest_of,
    file_lock,
    log_dir,
    progress,
    reachable,
    run,
    write_atomic,
)

LABEL = "dindrunner.stand-in=true"
IMAGES_FILE = TOOLCHAIN_DIR / "images.json"
_REPOSITORY = "dindrunner.local"
_RECIPES = Path(__file__).resolve().parent / "images"
_BUILD_LIMIT = 1200.0
_MACHINE_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_DISTRIBUTION_CERTIFICATES = Path("/usr/share/ca-certificates")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

_RUNNER_MODULE = "gitlab.com/gitlab-org/gitlab-runner"
RUNNER_VERSION = "19.4.0"
"""What the module's commit calls itself; go.mod pins that commit."""
_RUNNER_LDFLAGS = (
    f"-X {_RUNNER_MODULE}/common.NAME=gitlab-runner -X {_RUNNER_MODULE}/common.VERSION={RUNNER_VERSION}"
    f" -X {_RUNNER_MODULE}/common.REVISION=fc1f1862 -X {_RUNNER_MODULE}/common.BRANCH=go-modules"
)
# Upstream's main package needs modules that no registry serves: this one is put together from its other packages.
RUNNER = GoBinary(name="gitlab-runner", package=".", version=RUNNER_VERSION, ldflags=_RUNNER_LDFLAGS)
HELPER = GoBinary(
    name="gitlab-runner-helper",
    package=f"{_RUNNER_MODULE}/apps/gitlab-runner-helper",
    version=RUNNER_VERSION,
    ldflags=_RUNNER_LDFLAGS,
    module="gitlab-runner",
)
DNS_RELAY = GoBinary(name="dns-relay", package=".", version="1")
COMPOSE = GoBinary(
    name="docker-compose",
    package="github.com/docker/compose/v2/cmd",
    version="v2.40.3",
    ldflags="-X github.com/docker/compose/v2/internal.Version=v2.40.3",
    module="compose",
)
REGISTRY = GoBinary(
    name="registry",
    package=".",
    version="v3.1.2",
    ldflags="-X github.com/distribution/distribution/v3/version.version=v3.1.2",
)
"""What the sandbox serves these images with."""


@dataclass(frozen=True)
class Role:
    """One image. base: the role that it is built on. binaries: Go programs put into its build context by name."""

    name: str
    version: str
    base: str = "base"
    binaries: tuple[GoBinary, ...] = ()
    needs_dind: bool = False
    exported: bool = True


_ROLES = (
    Role("dind", "20.10.24", binaries=(DNS_RELAY,)),
    Role("tools", "12", exported=False),
    Role("runner", RUNNER_VERSION, base="tools", binaries=(RUNNER,), needs_dind=True),
    Role("helper", RUNNER_VERSION, base="tools", binaries=(HELPER,)),
    Role("job", "20.10.24", base="tools", binaries=(COMPOSE,), needs_dind=True),
    Role("python", "3.11"),
    Role("postgres", "15"),
)
"""In build order."""


def ensure(say: Say) -> dict[str, str]:
    """Makes every image that is missing and writes `.toolchain/images.json`: by role the image's name.

    Where a container registry answers, the official images can be pulled: nothing is built and the file holds {}.
    What the file says is kept while it can be used, whatever answers by then; without the file it is decided anew.
    Raises ToolchainError where a build fails; what was built before it is used by the next call.
    """
    known = recorded()
    if known == {}:
        return known
    names = image_names()
    images = {role.name: names[role.name] for role in _ROLES if role.exported}
    if known != images or not set(images.values()) <= _present():
        if registry_answers():
            images = {}
        else:
            with file_lock(cache_dir() / "images" / "lock", say=say):
                _build_missing(names, say)
    if images:
        build(REGISTRY, say=say)
    if known != images:
        write_atomic(IMAGES_FILE, json.dumps(images, indent=2) + "\n")
    return images


def recorded() -> dict[str, str] | None:
    """What `.toolchain/images.json` says; None where there is none, or it is damaged."""
    try:
        names: dict[str, str] = json.loads(IMAGES_FILE.read_text())
    except (OSError, ValueError):
        return None
    return names


@functools.cache
def registry_answers() -> bool:
    """Whether Docker Hub can be reached; asked once a run."""
    return reachable("https://registry-1.docker.io/v2/", limit=5.0)


def image_names() -> dict[str, str]:
    """By role (`base` and `tools` too) the image's name; its tag ends in a hash of all that the image is made from."""
    certificates = machine_certificates()
    names = {"base": _name("base", "12", _folder_digest("base"), *certificates)}
    for role in _ROLES:
        parts = [
            _folder_digest(role.name),
            names[role.base],
            *(cached_path(spec).parent.name for spec in role.binaries),
        ]
        if role.needs_dind:
            parts.append(names["dind"])
        names[role.name] = _name(role.name, role.version, *parts)
    return names


def machine_certificates() -> list[str]:
    """The certificate authorities that this machine trusts beyond those of its distribution, as PEM texts.

    Behind a proxy with an authority of its own, containers reach package registries only if they know it too.
    """
    bundle = Path(os.environ.get("SSL_CERT_FILE") or _MACHINE_BUNDLE)
    known = {
        text
        for path in _DISTRIBUTION_CERTIFICATES.rglob("*.crt")
        for text in pem_blocks(path.read_text(errors="replace"))
    }
    found = pem_blocks(bundle.read_text(errors="replace")) if bundle.exists() else []
    return sorted(set(found) - known)


def pem_blocks(text: str) -> list[str]:
    """The certificates in a PEM text, each without the comments and blanks around it."""
    blocks: list[str] = []
    lines: list[str] | None = None
    for line in map(str.strip, text.splitlines()):
        if line == "-----BEGIN CERTIFICATE-----":
            lines = []
        if lines is not None and line:
            lines.append(line)
        if line == "-----END CERTIFICATE-----" and lines:
            blocks.append("\n".join(lines) + "\n")
            lines = None
    return blocks


def _name(role: str, version: str, *parts: str) -> str:
    return f"{_REPOSITORY}/{role}:{version}-{digest_of(version, *parts)[:8]}"


def _folder_digest(role: str) -> str:
    folder = _RECIPES / role
    parts = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        parts += [str(path.relative_to(folder)), path.read_bytes().hex()]
    if not parts:
        raise ToolchainError(f"{folder} is empty: the checkout is not complete")
    return digest_of(*parts)


def _present() -> set[str]:
    names = run(["docker", "images", "--filter", f"label={LABEL}", "--format", "{{.Repository}}:{{.Tag}}"], limit=60)
    return set(names.split())


def _build_missing(names: dict[str, str], say: Say) -> None:
    present = _present()
    if names["base"] not in present:
        _import_base(names["base"], say)
    missing = [role for role in _ROLES if names[role.name] not in present]
    for role in missing:
        _build_role(role, names, say)
    if missing:
        say(f"images built: {', '.join(role.name for role in missing)}")


def _import_base(name: str, say: Say) -> None:
    archive = cache_dir() / "images" / f"{name.rpartition('/')[2].replace(':', '-')}.tar"
    if not archive.exists():
        with progress(say, "making the base image's file system with debootstrap"):
            _make_rootfs(archive)
    run(["docker", "import", "--change", f"LABEL {LABEL}", "--change", 'CMD ["bash"]', archive, name], limit=300)


def _make_rootfs(archive: Path) -> None:
    as_root = root_prefix("the base image's file system has to be made")
    if not (find_program("debootstrap") and find_program("gpgv") and _KEYRING.exists()):
        if not shutil.which("apt-get"):
            raise ToolchainError(
                "no container registry answers, and local images need debootstrap, which this machine has no apt-get "
                "to install with: use a Debian machine, or one that can reach https://registry-1.docker.io"
            )
        install_packages(["debootstrap", _KEYRING.stem, "gpgv"], as_root)
    archive.parent.mkdir(parents=True, exist_ok=True)
    for killed in archive.parent.glob(".rootfs.*"):  # no other process makes one: we hold the lock
        run([*as_root, "rm", "-rf", killed], limit=120)
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".rootfs.") as folder:
        certificates = Path(folder) / "certificates"
        certificates.mkdir()
        for number, text in enumerate(machine_certificates()):
            (certificates / f"machine-{number}.crt").write_text(text)
        root = Path(folder) / "root"
        try:
            run(
                # What debootstrap mounts has to go with it, interrupted or not.
                [*as_root, "unshare", "--mount", _RECIPES / "base" / "rootfs.sh", root, certificates],
                limit=_BUILD_LIMIT,
                what="debootstrap",
                log=log_dir() / "image-base.log",
            )
            partial = Path(folder) / "rootfs.tar"
            run([*as_root, "tar", "--create", "--file", partial, "--directory", root, "."], limit=300, what="tar")
            os.replace(partial, archive)
        finally:
            run([*as_root, "rm", "-rf", root], limit=120)


def _build_role(role: Role, names: dict[str, str], say: Say) -> None:
    binaries = {spec.name: build(spec, say=say) for spec in role.binaries}
    arguments = {"BASE": names[role.base], **({"DIND": names["dind"]} if role.needs_dind else {})}
    with (
        progress(say, f"building the image {names[role.name]}"),
        tempfile.TemporaryDirectory(prefix="dindrunner-image-") as folder,
    ):
        context = Path(folder) / role.name
        shutil.copytree(_RECIPES / role.name, context)
        for name, path in binaries.items():
            shutil.copy2(path, context / name)
        run(
            [
                *("docker", "build", "--tag", names[role.name], "--label", LABEL),
                *(word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")),
                *(word for key in _proxy_variables() for word in ("--build-arg", key)),
                str(context),
            ],
            limit=_BUILD_LIMIT,
            what=f"docker build of {role.name}",
            # The classic builder: it needs neither buildx nor a Dockerfile frontend from a registry.
            env={"DOCKER_BUILDKIT": "0"},
            log=log_dir() / f"image-{role.name}.log",
        )


def _proxy_variables() -> Sequence[str]:
    names = ("http_proxy", "https_proxy", "no_proxy")
    return [name for known in names for name in (known, known.upper()) if os.environ.get(name)]
