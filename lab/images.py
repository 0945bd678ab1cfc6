"""The local images: what the stack and the jobs run in where no container registry can be reached.

They stand in for docker:dind, gitlab/gitlab-runner, its helper, a job image, python and postgres, and are made from
Debian's packages and Go modules. Each is tagged `<version>-<hash of its recipe>` and built when no image has
that tag.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain import docker, engine
from toolchain.debian import find_program, install_packages, root_prefix
from toolchain.gobuild import GoBinary, build, cached_path
from toolchain.shared import (
    TOOLCHAIN_DIR,
    Say,
    ToolchainError,
    cache_dir,
    digest_of,
    file_lock,
    link_or_copy,
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
RUNNER = GoBinary(name="gitlab-runner", package=".", version=RUNNER_VERSION, ldflags=_RUNNER_LDFLAGS, home="lab")
RUNNER_FOR_PODS = dataclasses.replace(RUNNER, tags="with_kubernetes")
"""With the executor kubernetes, which stacks on this machine have no use for and takes half as long again to build."""
HELPER = GoBinary(
    name="gitlab-runner-helper",
    package=f"{_RUNNER_MODULE}/apps/gitlab-runner-helper",
    version=RUNNER_VERSION,
    ldflags=_RUNNER_LDFLAGS,
    module="gitlab-runner",
    home="lab",
)
DNS_RELAY = GoBinary(name="dns-relay", package=".", version="1", home="lab")
_MOBY = "github.com/moby/moby/v2"
_MOBY_VERSION = "v2.0.0-beta.24"
NEXT_VERSION = f"29.8-moby-{_MOBY_VERSION.removeprefix('v')}"
"""The daemon of the series after the pinned packages. Its module does not say which release it is; its API does."""
NEXT_DAEMON = GoBinary(
    name="dockerd",
    package=f"{_MOBY}/cmd/dockerd",
    version=NEXT_VERSION,
    ldflags=(
        f"-X {_MOBY}/dockerversion.Version={NEXT_VERSION} -X {_MOBY}/dockerversion.GitCommit={_MOBY_VERSION}"
        f" -X {_MOBY}/dockerversion.PlatformName=built-from-Go-modules"
    ),
    module="moby",
    tags="netgo osusergo static_build",
    home="lab",
)
NEXT_PROXY = GoBinary(
    name="docker-proxy", package=f"{_MOBY}/cmd/docker-proxy", version=NEXT_VERSION, module="moby", home="lab"
)
REGISTRY = GoBinary(
    name="registry",
    package=".",
    version="v3.1.2",
    ldflags="-X github.com/distribution/distribution/v3/version.version=v3.1.2",
    home="lab",
)
"""What the sandbox serves these images with; it builds it where `up` has not."""


@dataclass(frozen=True)
class Suite:
    """The Debian that the images are made of. name: as in `dists/`. The versions are what people are told."""

    name: str
    version: str
    python: str
    postgres: str


_NEWER = Suite("trixie", "13", python="3.13", postgres="17")
_OLDER = Suite("bookworm", "12", python="3.11", postgres="15")
"""Where no pinned Docker can be had, with the one of the suite itself: newer suites are out of reach then."""
_OLDER_DOCKER = "20.10"
OLDER = (
    f"they have Docker {_OLDER_DOCKER} of Debian's {_OLDER.name}, without buildx and compose: `docker compose` fails "
    "in jobs, and `docker build` uses the legacy builder. Set apt to a mirror that has a newer suite "
    "(docs/lab/images.md)"
)
"""What is said of the images without a pinned Docker."""
_DAEMON = ("bin/containerd*", "bin/docker*", "bin/runc", "cli-plugins/*")
_CLIENT = ("bin/docker", "cli-plugins/*")
# Without buildx a client builds by the legacy builder, whose cache BuildKit's garbage collection does not know.
_SHELL_CLIENT = ("bin/docker", "cli-plugins/docker-buildx")


@dataclass(frozen=True)
class Role:
    """One image. base: the role that it is built on.

    binaries: Go programs put into its build context by name. docker: which of Docker's programs are put there, below
    `docker/`, as patterns. late: made after the others, because its programs take minutes to build. asked: made
    only when it is asked for.
    """

    name: str
    version: str
    base: str = "base"
    binaries: tuple[GoBinary, ...] = ()
    docker: tuple[str, ...] = ()
    exported: bool = True
    late: bool = False
    asked: bool = False


def _roles(suite: Suite, docker_version: str) -> tuple[Role, ...]:
    """In build order."""
    return (
        Role("dind", docker_version, binaries=(DNS_RELAY,), docker=_DAEMON),
        Role("dind-next", NEXT_VERSION, "dind", (NEXT_DAEMON, NEXT_PROXY), exported=False, asked=True),
        Role("tools", suite.version, exported=False),
        Role("runner", RUNNER_VERSION, base="tools", binaries=(RUNNER,), docker=_SHELL_CLIENT, late=True),
        Role("runner-for-pods", RUNNER_VERSION, "runner", (RUNNER_FOR_PODS,), exported=False, asked=True),
        Role("helper", RUNNER_VERSION, base="tools", binaries=(HELPER,), late=True),
        Role("job", docker_version, base="tools", docker=_CLIENT),
        Role("python", suite.python),
        Role("postgres", suite.postgres),
    )


@dataclass(frozen=True)
class Recipe:
    """What all images are made from. edition: the Docker in them; None for that of an older suite."""

    suite: Suite
    edition: docker.Edition | None
    roles: tuple[Role, ...]

    @classmethod
    def with_docker(cls, edition: docker.Edition | None) -> Recipe:
        """The images for a Docker: the pinned ones need Debian 13's C library for their runc."""
        suite = _NEWER if edition else _OLDER
        return cls(suite, edition, _roles(suite, edition.version if edition else _OLDER_DOCKER))


def ensure(say: Say) -> dict[str, str]:
    """Makes every image that is missing and writes `.toolchain/images.json`: by role the image's name.

    Where a container registry answers, the official images can be pulled: nothing is built and the file holds {}.
    What the file says is kept while it can be used, whatever answers by then; without the file it is decided anew.
    Raises ToolchainError where a build fails; what was built before it is used by the next call.
    """
    known = recorded()
    if known == {}:
        return known
    recipe = _recipe()
    images = _exported(recipe)
    client = str(engine.client(say))
    if known != images or not set(images.values()) <= _present(client):
        if registry_answers():
            images = {}
        else:
            recipe = Recipe.with_docker(docker.ensure(say))
            if not recipe.edition:
                say(f"images: {OLDER}")
            images = _exported(recipe)
            with file_lock(cache_dir() / "images" / "lock", say=say):
                _build_missing(recipe, client, say)
    if known != images:
        write_atomic(IMAGES_FILE, json.dumps(images, indent=2) + "\n")
    return images


def ensure_next(say: Say) -> str:
    """The name of the image with a daemon of the next series, made if it is missing: minutes on a new machine.

    Raises ToolchainError where the images are pulled, or are made with an old Docker.
    """
    images = ensure(say)
    recipe = _recipe()
    if not images or not docker.unpacked():
        why = "images are pulled here" if not images else f"the images have Docker {_OLDER_DOCKER}"
        raise ToolchainError(
            f"no daemon of the next series is made, because {why}: name one in the settings instead "
            "(daemon.image: docker:29-dind)"
        )
    return _ensure_asked("dind-next", recipe, say)


def ensure_runner_for_pods(say: Say) -> str | None:
    """The name of the runner's image with the executor kubernetes, made if it is missing; None where images are pulled.

    The official image has it.
    """
    return _ensure_asked("runner-for-pods", _recipe(), say) if ensure(say) else None


def _ensure_asked(name: str, recipe: Recipe, say: Say) -> str:
    names = image_names(recipe)
    client = str(engine.client(say))
    with file_lock(cache_dir() / "images" / "lock", say=say):
        present = _present(client)
        missing = [role for role in recipe.roles if role.name == name and names[name] not in present]
        _build_all(missing, recipe.edition, names, client, say)
    return names[name]


def are_older(names: Mapping[str, str]) -> bool:
    """Whether the images, by role, are those with the Docker that has no plugins."""
    return f":{_OLDER_DOCKER}-" in names.get("job", "")


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


def image_names(recipe: Recipe | None = None) -> dict[str, str]:
    """By role (`base` and `tools` too) the image's name; its tag ends in a hash of all that the image is made from.

    recipe: by default the one with the Docker that is in the cache, or would be.
    """
    recipe = recipe or _recipe()
    docker_digest = recipe.edition.root.name if recipe.edition else _OLDER_DOCKER
    names = {
        "base": _name("base", recipe.suite.version, recipe.suite.name, _folder_digest("base"), *machine_certificates())
    }
    for role in recipe.roles:
        parts = [
            _folder_digest(role.name),
            names[role.base],
            *(cached_path(spec).parent.name for spec in role.binaries),
            *((docker_digest, *role.docker) if role.docker else ()),
        ]
        names[role.name] = _name(role.name, role.version, *parts)
    return names


def _recipe() -> Recipe:
    return Recipe.with_docker(docker.unpacked() or docker.edition(docker.NEWEST))


def _exported(recipe: Recipe) -> dict[str, str]:
    names = image_names(recipe)
    return {role.name: names[role.name] for role in recipe.roles if role.exported}


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


def _present(client: str) -> set[str]:
    names = run([client, "images", "--filter", f"label={LABEL}", "--format", "{{.Repository}}:{{.Tag}}"], limit=60)
    return set(names.split())


def _build_missing(recipe: Recipe, client: str, say: Say) -> None:
    names = image_names(recipe)
    present = _present(client)
    if names["base"] not in present:
        _import_base(recipe.suite, names["base"], client, say)
    missing = [role for role in recipe.roles if names[role.name] not in present and not role.asked]
    for late in (False, True):
        _build_all([role for role in missing if role.late == late], recipe.edition, names, client, say)


def _build_all(
    missing: Sequence[Role], edition: docker.Edition | None, names: dict[str, str], client: str, say: Say
) -> None:
    if not missing:
        return
    for spec in (spec for role in missing for spec in role.binaries):
        build(spec, say=say)
    what = f"building the images {', '.join(names[role.name].rpartition('/')[2] for role in missing)}"
    place = cache_dir() / "images"
    for killed in place.glob(".contexts.*"):  # no other process makes one: we hold the lock
        shutil.rmtree(killed, ignore_errors=True)
    # Beside the programs in the cache, so that these are there by links.
    with progress(say, what), tempfile.TemporaryDirectory(dir=place, prefix=".contexts.") as folder:
        for role in missing:
            _fill_context(role, edition, Path(folder) / role.name)
        if edition:
            _bake(edition, missing, names, Path(folder))
        else:
            for role in missing:
                _build_role(role, names, client, Path(folder) / role.name)


def _import_base(suite: Suite, name: str, client: str, say: Say) -> None:
    archive = cache_dir() / "images" / f"{name.rpartition('/')[2].replace(':', '-')}.tar"
    if not archive.exists():
        with progress(say, "making the base image's file system with mmdebstrap"):
            _make_rootfs(suite, archive)
    with progress(say, "importing the base image"):
        run([client, "import", "--change", f"LABEL {LABEL}", "--change", 'CMD ["bash"]', archive, name], limit=300)


def _make_rootfs(suite: Suite, archive: Path) -> None:
    as_root = root_prefix("the base image's file system has to be made")
    if not (find_program("mmdebstrap") and find_program("gpgv") and _KEYRING.exists()):
        if not shutil.which("apt-get"):
            raise ToolchainError(
                "no container registry answers, and local images need mmdebstrap, which this machine has no apt-get "
                "to install with: use a Debian machine, or one that can reach https://registry-1.docker.io"
            )
        install_packages(["mmdebstrap", _KEYRING.stem, "gpgv"], as_root)
    archive.parent.mkdir(parents=True, exist_ok=True)
    for killed in archive.parent.glob(".rootfs.*"):  # no other process makes one: we hold the lock
        run([*as_root, "rm", "-rf", killed], limit=120)
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".rootfs.") as folder:
        certificates = Path(folder) / "certificates"
        certificates.mkdir()
        for number, text in enumerate(machine_certificates()):
            (certificates / f"machine-{number}.crt").write_text(text)
        partial = Path(folder) / "rootfs.tar"
        run(
            [
                *as_root,
                # What is mounted for it goes with it, even if it is killed: the next one could not remove the folder.
                *("unshare", "--mount"),
                *("env", f"TMPDIR={folder}", _RECIPES / "base" / "rootfs.sh", suite.name, partial, certificates),
                *docker.sources(suite.name),
            ],
            limit=_BUILD_LIMIT,
            what="mmdebstrap",
            log=log_dir() / "image-base.log",
        )
        os.replace(partial, archive)


def _fill_context(role: Role, edition: docker.Edition | None, context: Path) -> None:
    shutil.copytree(_RECIPES / role.name, context)
    for spec in role.binaries:
        link_or_copy(cached_path(spec), context / spec.name)
    for pattern in role.docker:
        (context / "docker" / pattern).parent.mkdir(parents=True, exist_ok=True)
        if edition:
            for path in edition.root.glob(pattern):
                link_or_copy(path, context / "docker" / path.relative_to(edition.root))


def _arguments(role: Role, base: str, edition: docker.Edition | None) -> dict[str, str]:
    packages = "" if edition or not role.docker else "docker.io"
    proxies = {key: os.environ[key] for key in _proxy_variables()}
    return {"BASE": base, **({"DOCKER_PACKAGES": packages} if role.docker else {}), **proxies}


def _bake(edition: docker.Edition, missing: Sequence[Role], names: dict[str, str], folder: Path) -> None:
    """Builds all at once: what does not need each other goes side by side."""
    made_here = {role.name for role in missing}
    targets = {
        role.name: {
            "context": role.name,
            "tags": [names[role.name]],
            "labels": dict([LABEL.split("=")]),
            "args": _arguments(role, "base" if role.base in made_here else names[role.base], edition),
            "contexts": {"base": f"target:{role.base}"} if role.base in made_here else {},
        }
        for role in missing
    }
    plan = folder / "bake.json"
    plan.write_text(json.dumps({"group": {"default": {"targets": list(targets)}}, "target": targets}, indent=2))
    run(
        [edition.buildx, "bake", "--progress=plain", "--load", "--file", plan.name],
        limit=_BUILD_LIMIT,
        cwd=folder,  # it asks for permission to read elsewhere
        what="docker buildx bake",
        # The engine's own builder, whatever the user builds with otherwise: the base is in no other.
        env={"BUILDX_BUILDER": "default", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"},
        log=log_dir() / f"images-{missing[0].name}.log",
    )


def _build_role(role: Role, names: dict[str, str], client: str, context: Path) -> None:
    """With the older Docker, which has no buildx."""
    arguments = _arguments(role, names[role.base], None)
    run(
        [
            *(client, "build", "--tag", names[role.name], "--label", LABEL),
            *(word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")),
            context,
        ],
        limit=_BUILD_LIMIT,
        what=f"docker build of {role.name}",
        log=log_dir() / f"image-{role.name}.log",
    )


def _proxy_variables() -> Sequence[str]:
    names = ("http_proxy", "https_proxy", "no_proxy")
    return [name for known in names for name in (known, known.upper()) if os.environ.get(name)]
