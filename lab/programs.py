"""The programs that only tests need and that take minutes to build: `python -m lab.programs` builds them.

The tests' own start runs it beside the tests that need none of them, at a low priority. A test that needs one waits for
it, or builds it where nobody does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from lab import images
from toolchain import pulumi
from toolchain.gobuild import GoBinary, build, cached_path
from toolchain.shared import make_say, run_command

_KUBERNETES_VERSION = "v1.34.12"
_NAMES = {"gitVersion": _KUBERNETES_VERSION, "gitMajor": "1", "gitMinor": "34", "gitTreeState": "archive"}
KUBERNETES = GoBinary(
    name="kubernetes",
    package=".",
    version=_KUBERNETES_VERSION,
    ldflags=" ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in _NAMES.items()),
    home="lab",
)
"""Every part of Kubernetes and kubectl in one program; its first argument says which."""
COREDNS = GoBinary(name="coredns", package=".", version="v1.15.0", home="lab")
PAUSE = GoBinary(name="pause", package="./pause", version="1", module="kubernetes", home="lab")
_YAML_MODULE = "github.com/pulumi/pulumi-yaml"
_YAML_VERSION = "1.38.1"
LANGUAGE_YAML = GoBinary(
    name="pulumi-language-yaml",
    package=f"{_YAML_MODULE}/cmd/pulumi-language-yaml",
    version=_YAML_VERSION,
    ldflags=f"-X {_YAML_MODULE}/pkg/version.Version={_YAML_VERSION}",
    module="language-yaml",
    home="lab",
)
"""The official language host of Pulumi YAML, on the CLI's modules: after the CLI, half a minute is left to compile."""

PARTS: Sequence[GoBinary] = (
    pulumi.KUBERNETES,
    KUBERNETES,
    COREDNS,
    PAUSE,
    images.RUNNER_FOR_PODS,
    images.NEXT_DAEMON,
    images.NEXT_PROXY,
    LANGUAGE_YAML,
)
"""In the order in which tests ask for them."""

_LOWEST_PRIORITY = 19


def absent() -> list[str]:
    """Names and versions of those that the cache lacks."""
    return [f"{part.name} {part.version}" for part in PARTS if not cached_path(part).exists()]


def main() -> int:
    """Builds what the cache lacks; the exit code is 1 where something cannot be built."""
    os.nice(_LOWEST_PRIORITY)
    say = make_say()
    for part in PARTS:
        build(part, say=say)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
