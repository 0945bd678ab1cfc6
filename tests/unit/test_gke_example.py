"""The example stack for a cluster is accepted, shows what it is meant to, and makes what docs/use/gke.md says."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from components.defaults import cache_budget_gib
from components.job_pods import POLL_SECONDS
from components.kinds import Executor, Kind
from components.kubernetes.certificates import CA_DAYS, DaemonCertificatesArgs
from components.kubernetes.daemon import START_SECONDS, STOP_SECONDS
from components.transport import Transport
from stacks.gke.cluster import check_cluster, check_prefix, fitted
from stacks.gke.settings import GkeSettings
from stacks.settings.warnings import warnings_about
from stacks.targets import build, parse
from tests.unit.recording import Recording, run
from tests.unit.samples import API_TOKEN, LOOKUPS, STANDARD, facts, stack_of

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "Pulumi.gke.yaml"
PAGE = ROOT / "docs/use/gke.md"
KEY = "gitlab-dind-runners:settings"
PREFIX = "gitlab-dind-runners-gke"
"""Of the names that the example makes."""


def raw(text: str | None = None) -> dict[str, Any]:
    return dict(yaml.safe_load(text or FILE.read_text())["config"][KEY])


def settings(text: str | None = None) -> GkeSettings:
    parsed = parse(raw(text))
    assert isinstance(parsed, GkeSettings)
    return parsed


@pytest.fixture(scope="module", name="made")
def _made() -> Recording:
    """What the example does on a cluster as GKE makes it."""
    here = facts(storage_classes=(STANDARD, dataclasses.replace(STANDARD, name="premium-rwo", is_default=False)))
    example = settings()
    check_prefix(PREFIX, "gke")
    check_cluster(example, here, PREFIX, "gke")

    def program() -> dict[str, Any]:
        token = pulumi.Output.secret(API_TOKEN)
        complete = fitted(example, here)
        return build(stack_of(complete, here, gitlab_token=token, name="gke"))

    return run(program, stack="gke", calls=LOOKUPS)


def test_the_example_has_a_cluster_by_context_and_two_kinds_of_runners() -> None:
    example = settings()
    assert example.cluster.context == "gke_my-project_europe-west1-b_ci"
    assert [runner.kind for runner in example.runners] == [Kind.DIND, Kind.PLAIN]
    assert {runner.executor for runner in example.runners} == {Executor.KUBERNETES}


def test_no_runner_of_the_example_takes_the_jobs_of_the_other_one() -> None:
    tags = [set(runner.tags) for runner in settings().runners]
    assert not tags[0] & tags[1]


def test_the_example_spells_out_what_guards_its_runners() -> None:
    for runner in raw()["runners"]:
        assert {"tags", "limit", "locked", "run_untagged", "pull_policy"} <= set(runner)
        assert (runner["locked"], runner["run_untagged"]) == (True, False)


def test_the_example_keeps_its_cache_on_a_protected_disk_of_a_class_that_gke_has() -> None:
    daemon = settings().daemon
    assert (daemon.claim.storage_class, daemon.claim.protect) == ("premium-rwo", True)
    assert daemon.cache_budget_gib == cache_budget_gib(daemon.claim.size_gib)


def test_the_example_gives_nothing_away() -> None:
    example = settings()
    assert (example.daemon.transport, example.network.policy) == (Transport.TLS, True)
    assert list(warnings_about(example)) == []


def test_the_example_goes_onto_a_cluster_without_a_warning(made: Recording) -> None:
    assert (made.warnings, made.errors) == ([], [])
    assert made.outputs["daemon"]["endpoint"] == f"tcp://{PREFIX}-dind:2376"


def test_the_page_lists_every_object_that_the_example_makes_and_no_other(made: Recording) -> None:
    section = PAGE.read_text().split("\n### What is made\n")[1].split("\n### ")[0]
    names = {"<name>": PREFIX, "<namespace>": "gitlab-dind-runners", "<CA>": "<CA>"}
    listed = [
        (kind.removesuffix("s"), re.sub("<.*?>", lambda found: names[found[0]], name))
        for objects, called in re.findall(r"^\| ([^|]+) \| (`[^|]+) \|", section, re.MULTILINE)
        for kind in re.findall(r"[A-Z]\w+", objects)
        for name in re.findall(r"`([^`]+)`", called)
    ]
    objects = [each for each in made.resources if each.type.startswith("kubernetes:")]
    assert sorted(listed) == sorted(
        (each.type.split(":")[-1], re.sub("(?<=-client-)[0-9a-f]{8}$", "<CA>", each.inputs["metadata"]["name"]))
        for each in objects
    )


def test_the_page_names_the_times_that_the_code_has() -> None:
    page, certificates = PAGE.read_text(), DaemonCertificatesArgs(prefix="", stack="", namespace="", names=())
    valid, renew = certificates.valid_days, certificates.renew_days
    assert f"\n| CA, of this stack alone | {CA_DAYS // 365} years | {valid} days |" in page
    assert f"\n| The daemon's | {valid} days | {renew} days |" in page
    assert f"\n| The clients' | {valid} days | {renew} days |" in page
    assert f"one that finds no room waits, {POLL_SECONDS // 60} minutes at most" in page
    assert f"dockerd has {STOP_SECONDS} s to stop" in page
    assert f"`make up` fails after {START_SECONDS // 60} minutes and more" in page


def test_the_lines_that_are_commented_out_are_accepted_as_well() -> None:
    text = FILE.read_text()
    dedicated = settings(re.sub(r"^(      )# (?=dedicated_node: )", r"\1", text, flags=re.MULTILINE))
    assert dedicated.daemon.dedicated_node == {"dedicated": "docker"}
    by_context = re.compile(r"^    cluster: \{context.*\n", re.MULTILINE)
    by_name = settings(re.sub(r"^(    )# (?=cluster: )", r"\1", by_context.sub("", text), flags=re.MULTILINE))
    assert (by_name.cluster.name, by_name.cluster.context) == ("ci", None)


def test_the_example_holds_no_secret() -> None:
    content = yaml.safe_load(FILE.read_text())
    assert set(content) == {"config"}
    assert not re.search(r"secure:|glpat-|glrt-|encryptionsalt|BEGIN |token:", FILE.read_text())
