"""`rules`: expressions, globs, and which rule decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from lab.gitlab.ci_rules import Facts, RuleError, holds, matches, matching_rule

VARIABLES = {
    "CI_COMMIT_BRANCH": "main",
    "CI_PIPELINE_SOURCE": "api",
    "CI_COMMIT_MESSAGE": "fix: one\ntwo",
    "EMPTY": "",
    "RELEASES": "/^release-/",
    "NO_PATTERN": "main",
}


def facts(variables: Mapping[str, str] | None = None, changed: Sequence[str] | None = ()) -> Facts:
    return Facts(variables or {}, lambda: changed)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('$CI_COMMIT_BRANCH == "main"', True),
        ("$CI_COMMIT_BRANCH != 'main'", False),
        ("$EMPTY", False),
        ("$MISSING == null", True),
        ('$MISSING == ""', False),
        ('$CI_COMMIT_BRANCH == "main" && $CI_PIPELINE_SOURCE == "api"', True),
        ('$CI_COMMIT_BRANCH == "main" && $CI_PIPELINE_SOURCE == "push" || $MISSING', False),
        ('$MISSING && $CI_COMMIT_BRANCH || "text"', True),
        ('$MISSING && ($CI_COMMIT_BRANCH || "text")', False),
        ('($CI_COMMIT_BRANCH == "x" || $CI_COMMIT_BRANCH == "main") && $CI_PIPELINE_SOURCE', True),
        ("(($MISSING == null))", True),
        ("$CI_COMMIT_BRANCH =~ /^ma/", True),
        ("$CI_COMMIT_BRANCH =~ /^MA/", False),
        ("$CI_COMMIT_BRANCH =~ /^MA/i", True),
        ("$CI_COMMIT_BRANCH !~ /^ma/", False),
        ("$CI_COMMIT_BRANCH !~ /^x/", True),
        ("$MISSING =~ /x/", False),
        ("$MISSING !~ /x/", True),
        ("$CI_COMMIT_MESSAGE =~ /^two/", False),
        ("$CI_COMMIT_MESSAGE =~ /^two/m", True),
        ("$CI_COMMIT_MESSAGE =~ /one.two/s", True),
        (r"$RELEASES =~ /^\/\^release/", True),
        ("$CI_COMMIT_BRANCH =~ $RELEASES", False),
        ('"release-2" =~ $RELEASES', True),
        ("$CI_COMMIT_BRANCH =~ $NO_PATTERN", False),
        ("$CI_COMMIT_BRANCH =~ $MISSING", False),
        ('$CI_COMMIT_BRANCH =~ /^(main|dev)$/ && $CI_PIPELINE_SOURCE != "schedule"', True),
    ],
)
def test_if_expressions_hold_as_in_gitlab(expression: str, expected: bool) -> None:
    assert holds(expression, VARIABLES) is expected


@pytest.mark.parametrize(
    "expression",
    [
        *("", "$A ==", "== $A", "($A", "$A)", "$A $B", "a == b", "$A || $B ==", "()", "$A =~ 'x'", "$A == /x/"),
        *("$A =~ /(/", "$A =~ //", "$A =~ /x/g", "$A =~ /x(?=y)/", "/x/ =~ $A", "$A && || $B", "!$A"),
    ],
)
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(RuleError, match=r"^invalid expression syntax$"):
        holds(expression, {})


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [
        ("Pulumi.yaml", "Pulumi.yaml", True),
        ("Pulumi.yaml", "deep/Pulumi.yaml", False),
        ("Pulumi.*.yaml", "Pulumi.dev.yaml", True),
        ("*.py", "stacks/load.py", False),
        ("**/*.py", "stacks/load.py", True),
        ("**/*.py", "load.py", True),
        ("stacks/**/*", "stacks/a/b.py", True),
        ("stacks/**/*", "stacks/b.py", True),
        ("stacks/**/*", "tools/b.py", False),
        ("stacks/*", "stacks/a/b.py", False),
        ("stacks/**", "stacks/a/b.py", False),
        ("**/*", ".hidden/file", True),
        ("*", ".gitlab-ci.yml", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[ab].txt", "b.txt", True),
        ("[!ab].txt", "b.txt", False),
        ("[a-c].txt", "b.txt", True),
        ("[c-a].txt", "b.txt", False),
        ("[[].txt", "[.txt", True),
        ("[.txt", "[.txt", True),
        ("*.{py,md}", "README.md", True),
        ("{guide,stacks}/**/*.{py,md}", "guide/a/b.md", True),
        ("a+b(c).txt", "a+b(c).txt", True),
        (r"a\*b", "a*b", True),
        (r"a\*b", "axb", False),
    ],
)
def test_globs_mean_what_they_mean_in_gitlab(glob: str, path: str, expected: bool) -> None:
    assert matches(glob, path) is expected


def test_the_first_rule_that_holds_decides() -> None:
    rules = [{"if": '$X == "1"', "when": "never"}, {"if": "$X", "when": "always"}, {"when": "on_failure"}]
    assert matching_rule(rules, facts({"X": "1"})) is None
    assert matching_rule(rules, facts({"X": "2"})) == {"if": "$X", "when": "always"}
    assert matching_rule(rules, facts()) == {"when": "on_failure"}
    assert matching_rule([{"if": "$X"}], facts()) is None
    assert matching_rule(None, facts()) == {}


def test_all_that_a_rule_asks_for_has_to_hold() -> None:
    rule = {"if": "$X", "changes": ["a/*"]}
    assert matching_rule([rule], facts({"X": "1"}, changed=["a/b"])) == rule
    assert matching_rule([rule], facts({}, changed=["a/b"])) is None
    assert matching_rule([rule], facts({"X": "1"}, changed=["b"])) is None


def test_where_nothing_can_be_compared_everything_has_changed() -> None:
    assert matching_rule([{"changes": ["a"]}], facts(changed=None)) == {"changes": ["a"]}
    assert matching_rule([{"changes": ["a"]}], facts(changed=[])) is None


def test_paths_of_changes_may_hold_variables() -> None:
    rule = {"changes": ["Pulumi.$STACK.yaml"]}
    assert matching_rule([rule], facts({"STACK": "dev"}, changed=["Pulumi.dev.yaml"])) == rule
    assert matching_rule([rule], facts({"STACK": "prod"}, changed=["Pulumi.dev.yaml"])) is None
