"""What Pulumi's engine costs: a stack against OpenTofu with the same graph and the same upstream Docker provider."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import NotRun, Row, Sides, Take
from bench.rows.stacks import command
from bench.world import World, timed
from tests.engine.world import Stack, unique
from toolchain.docker import architecture
from toolchain.gobuild import GoBinary, build, cached_path
from toolchain.shared import link_or_copy, make_say

TOFU = GoBinary(
    "tofu", "github.com/opentofu/opentofu/cmd/tofu", "1.12.6", "-X main.dev=no", module="terraform", home="bench"
)
PROVIDER = GoBinary(
    "terraform-provider-docker",
    "github.com/terraform-providers/terraform-provider-docker",
    "0.0.1",
    module="terraform",
    home="bench",
)
_SOURCE = "registry.opentofu.org/kreuzwerker/docker"
_SINGULAR = {"envs": "env", "tests": "test", "uploads": "upload"}
"""What Pulumi's bridge calls in the plural, of the names that these stacks use."""


def terraform_name(name: str) -> str:
    """The upstream provider's name of a property."""
    return _SINGULAR.get(name) or re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", name)


def terraform_value(value: Any) -> Any:
    """A property's value of an exported state, as Terraform's JSON syntax has it."""
    if isinstance(value, Mapping):
        if "plaintext" in value:  # A secret, whose value is JSON again.
            return terraform_value(json.loads(value["plaintext"]))
        return {terraform_name(key): terraform_value(each) for key, each in value.items() if key != "__defaults"}
    if isinstance(value, list):
        return [terraform_value(each) for each in value]
    return value.replace("${", "$${").replace("%{", "%%{") if isinstance(value, str) else value


def configuration(state: Mapping[str, Any]) -> dict[str, Any]:
    """The Docker resources of an exported state as a Terraform configuration: the same inputs in the same order."""
    found = {each["urn"]: each for each in state["deployment"]["resources"] if each["type"].startswith("docker:index/")}

    def address(urn: str) -> tuple[str, str]:
        return f"docker_{found[urn]['type'].rpartition(':')[2].lower()}", urn.rpartition("::")[2]

    resources: dict[str, dict[str, Any]] = {}
    for urn, each in found.items():
        kind, name = address(urn)
        before = [".".join(address(dependency)) for dependency in each.get("dependencies", []) if dependency in found]
        resources.setdefault(kind, {})[name] = terraform_value(each["inputs"]) | {"depends_on": before}
    required = {"docker": {"source": _SOURCE, "version": PROVIDER.version}}
    return {"terraform": {"required_providers": required}, "provider": {"docker": {}}, "resource": resources}


@dataclass(frozen=True)
class Tofu:
    """A configuration in a folder of its own, with the provider installed as from a mirror."""

    program: Path
    directory: Path
    environment: Mapping[str, str]

    def run(self, *arguments: str) -> float:
        """The seconds of a command."""
        return timed(str(self.program), *arguments, "-no-color", cwd=self.directory, env=dict(self.environment))

    def apply(self) -> float:
        """Make, or find that nothing changes."""
        return self.run("apply", "-auto-approve")

    def destroy(self) -> float:
        """Take it away."""
        return self.run("destroy", "-auto-approve")


def tofu_of(world: World, stack: Stack) -> Tofu:
    """OpenTofu that has made what the stack, which is up, has, under another name. Building it takes minutes once."""
    if world.quick and not cached_path(TOFU).exists():
        raise NotRun("OpenTofu is not built yet: without --quick it is")
    program, provider = (build(spec, say=make_say()) for spec in (TOFU, PROVIDER))
    other = unique("bench")
    directory = world.directory / other
    mirror = directory / "mirror"
    place = mirror / _SOURCE / PROVIDER.version / f"linux_{architecture()}"
    place.mkdir(parents=True)
    link_or_copy(provider, place / f"{PROVIDER.name}_v{PROVIDER.version}")
    state = json.loads(stack.pulumi("stack", "export", "--show-secrets").stdout)
    (directory / "main.tf.json").write_text(json.dumps(configuration(state)).replace(stack.name, other))
    tofu = Tofu(program, directory, stack.environment)
    world.closing.callback(Stack(directory, other, stack.environment).remove_leftovers)
    tofu.run("init", f"-plugin-dir={mirror}")
    tofu.apply()
    return tofu


def after(before: Take, what: Take) -> Take:
    """Times one thing after another one."""

    def take() -> float:
        before()
        return what()

    return take


def row(id: str, what: str, limit: float, choose: Callable[[Take, Take], Take]) -> Row:
    """A row of both programs, with the same things in place at first. choose: what of making and taking away."""

    @contextmanager
    def sides(world: World) -> Iterator[Sides]:
        # A runner that brings its token leaves Docker's resources alone: of GitLab's provider no source is served.
        stack = world.stack("with a token", runners=[{"name": "docker", "token": "glrt-" + "0" * 20}])
        tofu = world.shared("tofu", lambda: tofu_of(world, stack))
        yield choose(command(stack, "up"), command(stack, "destroy")), choose(tofu.apply, tofu.destroy)

    return Row(id, what, "pulumi", "tofu", limit, sides)


ROWS = (
    row("P3 up", "`up` that changes nothing ÷ `tofu apply`", 0.8, lambda make, _: make),
    row("P3 first", "first `up` ÷ first `tofu apply`", 1, lambda make, take_away: after(take_away, make)),
    row("P3 destroy", "`destroy` ÷ `tofu destroy`", 0.7, lambda make, take_away: after(make, take_away)),
)
