"""From a preview's JSON to the note: counts, what is called out, diffs, and that nothing in it takes effect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tools.diff import diff_of, drift_of
from tools.markdown import code, fenced, html_code
from tools.note import Report, diff_lines, log_lines, marker, note_text
from tools.report import publish
from tools.secrets import Masker
from tools.steps import Plan, Weight, read_plan

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
ROOT = "urn:pulumi:dev::runners::"
DAEMON = f"{ROOT}dindrunner:docker:DindDaemon::dind"
RUNNER = f"{ROOT}dindrunner:docker:RunnerContainer::runner"

VOLUME = "docker:index/volume:Volume"
CONTAINER = "docker:index/container:Container"
CLAIM = "kubernetes:core/v1:PersistentVolumeClaim"


def urn(type_: str, name: str) -> str:
    return f"{ROOT}dindrunner:docker:DindDaemon${type_}::{name}"


def labels(role: str) -> list[dict[str, str]]:
    return [{"label": "dindrunner.stack", "value": "dev"}, {"label": "dindrunner.role", "value": role}]


def step(
    op: str,
    type_: str,
    name: str,
    old: Mapping[str, Any] | None = None,
    new: Mapping[str, Any] | None = None,
    *,
    details: Mapping[str, str] | None = None,
    parent: str = DAEMON,
    **state: Any,
) -> dict[str, Any]:
    """A step as the engine prints it; state: more of the old state."""
    found: dict[str, Any] = {"op": op, "urn": urn(type_, name), "detailedDiff": None}
    if details:
        found["detailedDiff"] = {path: {"kind": kind, "inputDiff": False} for path, kind in details.items()}
    for key, inputs in (("oldState", old), ("newState", new)):
        if inputs is not None:
            found[key] = {"urn": urn(type_, name), "type": type_, "inputs": inputs, "parent": parent, **state}
    return found


def plan(*steps: dict[str, Any], masker: Masker | None = None, **rest: Any) -> Plan:
    """The plan of these steps, with counts that fit."""
    counts: dict[str, int] = {}
    for one in steps:
        counts[one["op"]] = counts.get(one["op"], 0) + 1
    return read_plan({"steps": list(steps), "changeSummary": counts | {"same": 3}, **rest}, masker or Masker())


def report(found: Plan | None, **rest: Any) -> Report:
    return Report(project="runners", stack="dev", plan=found, **rest)


def losses(found: Plan) -> list[tuple[Weight, str]]:
    return [(loss.weight, loss.text) for loss in found.losses]


def test_the_summary_counts_what_the_engine_counted() -> None:
    digest = {"changeSummary": {"create": 1, "update": 2, "replace": 3, "delete": 4, "same": 5, "import": 1, "read": 2}}
    assert read_plan(digest, Masker()).summary == (
        "1 to create, 2 to update, 3 to replace, 4 to delete, 1 to import, 7 unchanged"
    )


def test_a_preview_that_changes_nothing_says_so() -> None:
    found = read_plan({"changeSummary": {"same": 16}, "steps": [step("same", VOLUME, "v", {}, {})]}, Masker())
    assert not found.has_changes
    assert note_text(report(found)).splitlines()[2] == (
        ":information_source: **Preview of stack** `dev`: no changes, 16 unchanged"
    )


def test_a_replacement_in_three_parts_is_one_step() -> None:
    parts = [step(op, CONTAINER, "c", {}, {}) for op in ("delete-replaced", "replace", "create-replacement")]
    assert [one.op for one in plan(*parts).steps] == ["replace"]


def test_the_order_of_the_engine_does_not_change_the_note() -> None:
    steps = [step("delete", VOLUME, name, {"name": name}) for name in ("a", "b", "c")]
    assert note_text(report(plan(*steps))) == note_text(report(plan(*reversed(steps))))


def test_the_settings_that_the_engine_repeats_are_not_taken() -> None:
    digest = {"config": {"runners:settings": '{"token": "planted-secret"}'}, "steps": [], "changeSummary": {"same": 1}}
    assert "planted" not in repr(read_plan(digest, Masker()))


VOLUME_TEXTS = {
    "data": "volume `v` is deleted: the whole layer cache is lost, and the next builds start cold",
    "config": "volume `v` is deleted: it holds `config.toml`, which is written anew from the settings",
    "certs-client": "volume `v` is deleted: it holds certificates, which the daemon makes anew",
    "other": "volume `v` is deleted: what is in it is lost",
}


@pytest.mark.parametrize("role", VOLUME_TEXTS)
def test_a_deleted_volume_is_called_out_with_what_is_in_it(role: str) -> None:
    found = plan(step("delete", VOLUME, "x", {"name": "v", "labels": labels(role)}))
    assert losses(found) == [(Weight.DATA, VOLUME_TEXTS[role])]


def test_a_volume_of_a_directory_leaves_the_files_there() -> None:
    old = {"name": "v", "labels": labels("data"), "driverOpts": {"device": "/mnt/ssd"}}
    assert losses(plan(step("replace", VOLUME, "x", old, {}))) == [
        (Weight.DATA, "volume `v` is replaced; the files below `/mnt/ssd` stay where they are")
    ]


def test_a_volume_that_outlives_the_stack_is_no_loss() -> None:
    found = plan(step("delete", VOLUME, "x", {"name": "v", "labels": labels("data")}, retainOnDelete=True))
    assert losses(found) == [(Weight.PAUSE, "volume `v` leaves the stack, but stays on the engine with what is in it")]


def test_a_replaced_daemon_keeps_its_volume() -> None:
    found = plan(step("replace", CONTAINER, "c", {"name": "d", "labels": labels("daemon")}, {}))
    assert losses(found) == [
        (
            Weight.PAUSE,
            "daemon `d` is replaced, once the running jobs have ended or their time to do so is over; it keeps its "
            "volume with the layer cache",
        )
    ]


def test_new_settings_of_the_runner_are_told_to_touch_no_job() -> None:
    found = plan(step("replace", CONTAINER, "c", {"labels": labels("config")}, {}))
    assert losses(found) == [
        (Weight.HARMLESS, "`config.toml` is written anew; its settings take effect without a restart of the runner")
    ]


def test_a_daemon_whose_volume_is_replaced_too_is_not_said_to_keep_it() -> None:
    found = plan(
        step("replace", CONTAINER, "c", {"name": "d", "labels": labels("daemon")}, {}),
        step("replace", VOLUME, "v", {"name": "v", "labels": labels("data")}, {}),
    )
    assert [weight for weight, _ in losses(found)] == [Weight.DATA]


def test_a_claim_a_namespace_and_a_registration_are_called_out_the_data_first() -> None:
    found = plan(
        step("replace", "gitlab:index/userRunner:UserRunner", "r", {"description": "dev docker"}, {}),
        step("delete", "kubernetes:core/v1:Namespace", "n", {"metadata": {"name": "ci"}}),
        step("delete", CLAIM, "c", {"metadata": {"name": "dind-data"}}),
    )
    assert losses(found) == [
        (Weight.DATA, "namespace `ci` is deleted: everything in it goes, claims included"),
        (
            Weight.DATA,
            "claim `dind-data` is deleted: the layer cache in it goes, and the disk too, unless its storage class "
            "retains it",
        ),
        (
            Weight.TOKEN,
            "runner `dev docker` is replaced in GitLab: its token dies, for all that use it; a new one is made, with "
            "another token and ID",
        ),
    ]


def test_what_is_protected_and_would_go_is_said_to_be_refused() -> None:
    found = plan(step("delete", CLAIM, "c", {"metadata": {"name": "data"}}, protect=True))
    assert (Weight.REFUSED, "`data` would be deleted, but is protected: Pulumi refuses the whole update") in losses(
        found
    )


def test_data_is_called_out_before_the_diff() -> None:
    text = note_text(report(plan(step("delete", VOLUME, "x", {"name": "v", "labels": labels("data")}))))
    assert text.startswith("<!-- gitlab-dind-runners preview: runners/dev -->\n")
    assert text.index(":warning:") < text.index("**Data is lost or moved**") < text.index("<details>")


def one(*arguments: Any, **rest: Any) -> list[str]:
    return diff_of(plan(step(*arguments, **rest)).steps[0])


def test_a_diff_shows_old_and_new_of_what_changes_and_nothing_else() -> None:
    old = {"image": "docker:28", "restart": "always", "labels": [{"k": "a"}], "__defaults": ["x"]}
    new = {"image": "docker:29", "restart": "always", "labels": [{"k": "b"}], "__defaults": []}
    assert one("replace", CONTAINER, "c", old, new) == [
        '- image: "docker:28"',
        '+ image: "docker:29"',
        '- labels[0].k: "a"',
        '+ labels[0].k: "b"',
    ]


def test_a_text_of_several_lines_is_shown_as_a_unified_diff() -> None:
    old, new = "a\nb\nc\nd\ne\nf", "a\nb\nc\nd\nE\nf"
    assert one("update", CONTAINER, "c", {"content": old}, {"content": new}) == [
        "  content:", "@@ -2,5 +2,5 @@", " b", " c", " d", "-e", "+E", " f",
    ]  # fmt: skip


def test_a_secret_that_changes_is_named_without_its_text() -> None:
    uploads = {"uploads": [{"file": "config.toml", "content": "[secret]"}]}
    assert one("replace", CONTAINER, "c", uploads, uploads, details={"uploads": "update-replace"}) == [
        "! uploads: changes, but is hidden, because it has a secret in it"
    ]


def test_a_value_that_is_not_known_yet_is_said_so() -> None:
    assert one("update", CONTAINER, "c", {"domain": "x", "l": [1]}, {"domain": UNKNOWN, "l": [UNKNOWN]}) == [
        '- domain: "x"',
        "+ domain: (known after the update)",
        "- l: [1]",
        "+ l: [(known after the update)]",
    ]


def test_a_replacement_without_a_change_of_its_own_names_its_cause() -> None:
    cause = urn(VOLUME, "data")
    found = plan(step("replace", CONTAINER, "c", {"a": 1}, {"a": 1}, dependencies=[cause])).steps[0]
    assert diff_of(found, frozenset({cause})) == ["  because data is replaced"]


def test_data_of_a_kubernetes_secret_is_never_shown() -> None:
    new = {"metadata": {"name": "s"}, "stringData": {"config.toml": "planted"}, "data": {"x": "cGxhbnRlZA=="}}
    assert one("create", "kubernetes:core/v1:Secret", "s", None, new) == [
        '+ data: "[secret]"',
        '+ metadata.name: "s"',
        '+ stringData: "[secret]"',
    ]


def test_drift_shows_what_was_changed_behind_the_stack() -> None:
    raw = step("update", CONTAINER, "c", {}, {}, details={"memory": "update"})
    raw["oldState"]["outputs"] = {"memory": 0, "started": "noise"}
    raw["newState"]["outputs"] = {"memory": 64, "started": "other noise"}
    assert drift_of(plan(raw).steps[0]) == ["- memory: 0", "+ memory: 64"]


def test_drift_is_told_as_what_has_happened() -> None:
    found = plan(
        step("delete", VOLUME, "x", {"name": "v", "labels": labels("data")}), step("update", CONTAINER, "c", {}, {})
    )
    text = note_text(report(found, title="Drift", is_drift=True), what="drift")
    assert ":warning: **Drift of stack** `dev`: 1 gone, 1 changed, 3 unchanged" in text
    assert "to delete" not in text
    assert "Data is lost" not in text


TRICKS = "@all #1 !2 ~bug $3 <script>alert(1)</script> </details> `x` ```` **b** [l](http://x) &amp;"


def outside_of_code(text: str) -> str:
    """A note without its fences and code, which GitLab takes as they are."""
    text = re.sub(r"^(`{3,})(?:diff)?\n.*?\n\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "", text)
    return re.sub(r"<code>.*?</code>", "", text)


def test_nothing_of_others_takes_effect_in_a_note() -> None:
    nasty = plan(
        step("delete", VOLUME, TRICKS, {"name": TRICKS, "labels": labels("data")}, parent=f"{ROOT}x:y:Z::{TRICKS}"),
        step("update", CONTAINER, "c", {"a": f"/close\n{TRICKS}\nx"}, {"a": f"/merge\n{TRICKS}\n```\ny"}),
        diagnostics=[{"severity": "warning", "message": f"warning: {TRICKS}\n/approve"}],
    )
    text = note_text(report(nasty, violations=[TRICKS], settings=[f"+ a: {TRICKS}"], output=f"/label ~x\n{TRICKS}"))
    rest = outside_of_code(text)
    for sign in ("@", "#1", "!2", "~bug", "$3", "<script", "**b**", "http://x", "&amp;"):
        assert sign not in rest, rest
    assert not [line for line in text.splitlines() if line.startswith("/")]
    assert text.count("<details>") == rest.count("</details>")


def test_code_ends_where_it_should_whatever_is_in_it() -> None:
    assert code("a`b") == "``a`b``"
    assert code("`a") == "`` `a ``"
    assert code("a\n/close") == "`a /close`"
    assert html_code("</code><b>@all") == "<code>&lt;/code&gt;&lt;b&gt;@all</code>"
    assert fenced(["````", "/close"]).splitlines() == ["`````", "````", " /close", "`````"]


def test_characters_that_are_not_seen_are_left_out() -> None:
    assert code("a\u202eb\x1b[31mc\u200bd\x00") == "`abcd`"


def test_a_note_over_the_limit_ends_after_a_whole_resource_and_says_where_the_rest_is() -> None:
    steps = [
        step("create", VOLUME, f"v{number:03}", None, {"text": "\n".join(["x" * 99] * 600)}) for number in range(40)
    ]
    text = note_text(report(plan(*steps), commit="abc"), artifacts="https://gitlab/job/artifacts/browse")
    assert 900_000 < len(text) <= 1_000_000
    assert text.count("<details>") == text.count("</details>")
    left_out = 40 - text.count("<details>")
    assert f"**Cut here**: {left_out} of 40 parts are left out, because a note may have 1,000,000 characters." in text
    assert "[the job's artifacts](https://gitlab/job/artifacts/browse): `dev.md`" in text
    assert len(note_text(report(plan(*steps)), limit=10**12)) > 2_000_000


def test_a_note_in_which_secrets_are_hidden_keeps_to_the_limit(tmp_path: Path) -> None:
    steps = [step("create", VOLUME, f"abc.{number}." + "abc." * 100, None, {}) for number in range(200)]
    text = publish(report(plan(*steps)), Masker(["abc"]), tmp_path)(10_000)
    assert len(text) <= 10_000
    assert "**Cut here**" in text
    assert not [word for word in re.findall(r"\w+", text) if word == "abc"]


BEGIN, END = "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"


def test_the_beginning_of_a_private_key_takes_along_nothing_but_its_own_value(tmp_path: Path) -> None:
    found = plan(
        step("create", CONTAINER, f"a{BEGIN}", None, {"description": f"mine {BEGIN}", "image": "shown-1"}),
        step("delete", VOLUME, "x", {"name": "v", "labels": labels("data")}),
        step("create", CONTAINER, "z", None, {"description": END, "image": "shown-2"}),
        diagnostics=[
            {"severity": "warning", "message": f"warning: tag {BEGIN}\nshown-3 of it"},
            {"severity": "warning", "message": "warning: shown-4"},
        ],
    )
    given = report(
        found,
        violations=[f"a {BEGIN}", "shown-5"],
        settings=[f"+ tags: [{BEGIN}]", "+ tags: [shown-6]"],
        problem=("failed", f"settings.x: {BEGIN}", "settings.y: shown-7"),
        remarks=[f"{BEGIN}", "shown-8"],
        output=f"error: {BEGIN}\nshown-9: {END}\nshown-0!",
    )
    publish(given, Masker(), tmp_path)
    texts = {ending: (tmp_path / f"dev.{ending}").read_text() for ending in ("md", "txt", "diff")}
    assert "PRIVATE KEY" not in texts["diff"].replace(END, "")
    for number in range(10):
        assert [f"shown-{number}" in text for text in texts.values()] == [
            True, number not in (1, 2), number in (1, 2),
        ]  # fmt: skip
    assert "the whole layer cache is lost" in texts["md"]
    assert texts["md"].count("<details>") == texts["md"].count("</details>")


def test_what_an_author_calls_a_secret_does_not_change_what_is_called_out() -> None:
    masker = Masker(["data", "config", "docker", "dindrunner.role", "whole layer cache"])
    steps = [
        step("delete", VOLUME, "x", {"name": "v", "labels": labels("data")}),
        step("replace", CONTAINER, "c", {"labels": labels("config")}, {}),
    ]
    assert losses(plan(*steps, masker=masker)) == losses(plan(*steps))


def test_a_limit_that_only_has_room_for_the_summary_is_kept() -> None:
    text = note_text(report(plan(step("create", VOLUME, "v", None, {"text": "x" * 5000}))), limit=1000)
    assert len(text) <= 1000
    assert "1 to create" in text


def test_a_failure_is_the_first_line_and_what_the_engine_said_is_folded() -> None:
    failed = report(
        None, problem=("the passphrase of stack dev is missing", "set it"), output="error: passphrase must be set"
    )
    assert note_text(failed).split("\n\n")[1:] == [
        ":x: **Preview of stack** `dev`: failed: `the passphrase of stack dev is missing`",
        "```\nset it\n```",
        "<details><summary><code>What the engine said</code></summary>",
        "```\nerror: passphrase must be set\n```",
        "</details>",
    ]


def test_the_log_has_the_summary_in_plain_lines() -> None:
    found = plan(
        step("delete", VOLUME, "x", {"name": "v", "labels": labels("data")}),
        diagnostics=[{"severity": "warning", "message": "warning: mind the gap\n"}],
    )
    assert log_lines(report(found, violations=["pinned (mandatory): no"], remarks=["remark"])) == [
        "Preview of stack dev: 0 to create, 0 to update, 0 to replace, 1 to delete, 3 unchanged; 1 policy violation",
        "Data is lost or moved: volume `v` is deleted: the whole layer cache is lost, and the next builds start cold",
        "Policy violation: pinned (mandatory): no",
        "Warning: mind the gap",
        f"  delete   x ({VOLUME})",
        "remark",
    ]


def test_the_whole_diff_is_plain_text() -> None:
    found = plan(step("update", CONTAINER, "c", {"a": 1}, {"a": 2}))
    assert diff_lines(report(found)) == [f"update c ({CONTAINER})", "- a: 1", "+ a: 2", ""]


def test_known_secrets_are_hidden_in_steps_and_in_what_was_said() -> None:
    found = plan(
        step("update", CONTAINER, "c", {"a": "planted-secret"}, {"a": "x-planted-secret-x"}),
        masker=Masker(["planted-secret"]),
        diagnostics=[{"severity": "error", "message": "error: planted-secret"}],
    )
    assert "planted" not in repr(found)
    assert found.errors == ("[secret]",)


def test_a_marker_names_what_it_is_for_and_which_stack() -> None:
    assert marker("p", "s", "drift") == "<!-- gitlab-dind-runners drift: p/s -->"
