"""`include`, `spec: inputs` and `!reference`: one configuration out of several files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from lab.gitlab.ci_reader import CiYamlError
from lab.gitlab.ci_yaml import Config, parse


@dataclass
class Tree:
    """The files of a project, and other projects at their references."""

    content: Mapping[str, str]
    projects: Mapping[tuple[str, str], Tree] = field(default_factory=dict)

    def read(self, file: str) -> bytes | None:
        text = self.content.get(file)
        return None if text is None else text.encode()

    def files(self) -> Sequence[str]:
        return list(self.content)

    def project_at(self, path: str, ref: str) -> Tree:
        return self.projects[path, ref]


def read(text: str, files: Mapping[str, str], projects: Mapping[tuple[str, str], Tree] | None = None) -> Config:
    return parse(text, Tree(files, projects or {}), {"STACK": "dev"})


def errors_of(text: str, files: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(CiYamlError) as caught:
        read(text, files or {})
    return caught.value.errors


ONE = "a: {script: [one], variables: {X: '1', Y: '1'}}"


@pytest.mark.parametrize(
    "include",
    ["x.yml", "/x.yml", "[x.yml]", "{local: x.yml}", "[{local: /x.yml}]", "[{local: '*.yml'}]", "'${STACK}.yml'"],
)
def test_a_file_of_the_same_project_is_included(include: str) -> None:
    config = read(f"include: {include}\nb: {{script: [two]}}", {"x.yml": ONE, "dev.yml": ONE})
    assert set(config.jobs) == {"a", "b"}


def test_the_including_file_wins_key_by_key_and_a_later_include_over_an_earlier_one() -> None:
    config = read(
        "include: [x.yml, y.yml]\na: {variables: {Y: '3'}}\nvariables: {G: root}",
        {
            "x.yml": ONE + "\nvariables: {G: x, H: x}",
            "y.yml": "a: {script: [two], variables: {X: '2', Y: '2'}}\nstages: [test, up]",
        },
    )
    assert (config.jobs["a"]["script"], config.jobs["a"]["variables"]) == (["two"], {"X": "2", "Y": "3"})
    assert (config.variables, config.stages) == ({"G": "root", "H": "x"}, (".pre", "test", "up", ".post"))


def test_an_included_file_includes_from_its_own_project_and_reference() -> None:
    other = Tree(
        {"ci/stack.yml": "include: /ci/base.yml\na: {extends: .base}", "ci/base.yml": ".base: {script: [there]}"}
    )
    config = read(
        "include: {project: group/program, ref: v1, file: /ci/stack.yml}",
        {"ci/base.yml": ".base: {script: [here]}"},
        {("group/program", "v1"): other},
    )
    assert config.jobs["a"]["script"] == ["there"]


def test_several_files_of_a_project_are_included_by_one_item_without_a_reference() -> None:
    other = Tree({"x.yml": ONE, "y.yml": "b: {script: [two]}"})
    config = read("include: [{project: group/program, file: [x.yml, y.yml]}]", {}, {("group/program", "HEAD"): other})
    assert list(config.jobs) == ["a", "b"]


STACK = """
spec:
  inputs:
    stack: {description: the stack, options: [dev, prod]}
    tags: {type: array, default: [deploy]}
    limit: {type: number, default: 2}
    manual: {type: boolean, default: false}
    note: {default: "", regex: "^[a-z ]*$"}
---
"up $[[ inputs.stack ]]":
  script: ["up --stack $[[ inputs.stack ]] --limit $[[inputs.limit]]", echo '$[[ inputs.note ]]']
  tags: $[[ inputs.tags ]]
  allow_failure: $[[ inputs.manual ]]
  environment: $[[ inputs.stack ]]
"""


def test_the_same_file_is_included_several_times_with_different_inputs() -> None:
    text = (
        "include: [{local: x.yml, inputs: {stack: dev}}, {local: x.yml, inputs: {stack: prod, limit: 3, tags: [a, b]}}]"
    )
    jobs = read(text, {"x.yml": STACK}).jobs
    assert list(jobs) == ["up dev", "up prod"]
    assert jobs["up dev"]["script"] == ["up --stack dev --limit 2", "echo ''"]
    assert jobs["up prod"]["script"] == ["up --stack prod --limit 3", "echo ''"]
    assert [job["tags"] for job in jobs.values()] == [["deploy"], ["a", "b"]]
    assert jobs["up dev"]["allow_failure"] is False
    assert jobs["up prod"]["environment"]["name"] == "prod"


def test_a_file_of_its_own_uses_the_defaults_of_its_inputs() -> None:
    assert read("spec: {inputs: {x: {default: y}}}\n---\na: {script: ['$[[ inputs.x ]]']}", {}).jobs["a"]["script"] == [
        "y"
    ]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("{}", "`stack` input: required value has not been provided"),
        ("{stack: dev, stak: x, more: y}", "unknown input arguments: stak, more"),
        ("{stack: test}", "`stack` input: `test` cannot be used because it is not in the list of allowed options"),
        ("{stack: 3}", "`stack` input: provided value is not a string"),
        ("{stack: dev, limit: two}", "`limit` input: provided value is not a number"),
        ("{stack: dev, limit: true}", "`limit` input: provided value is not a number"),
        ("{stack: dev, manual: 'yes'}", "`manual` input: provided value is not a boolean"),
        ("{stack: dev, tags: deploy}", "`tags` input: provided value is not an array"),
        ("{stack: dev, note: 'N 1'}", "`note` input: provided value does not match required RegEx pattern"),
        (
            "{limit: x, other: 1}",
            "unknown input arguments: other, `stack` input: required value has not been provided, "
            "`limit` input: provided value is not a number",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused_in_gitlabs_words(inputs: str, message: str) -> None:
    assert errors_of(f"include: {{local: x.yml, inputs: {inputs}}}", {"x.yml": STACK}) == [f"`x.yml`: {message}"]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "inputs: {x: {type: date}}",
            "unknown input specification for `x` (valid types: array, boolean, number, string)",
        ),
        ("inputs: {x: {default: 3}}", "`x` input: default value is not a string"),
        (
            "inputs: {x: {type: boolean, default: true, options: [true]}}",
            "`x` input: Options can only be used with string and number inputs",
        ),
        (
            "inputs: {x: {type: number, default: 1, regex: y}}",
            "`x` input: RegEx validation can only be used with string inputs",
        ),
        ("inputs: {x: {default: y, regex: '('}}", "`x` input: invalid regular expression"),
        ("inputs: {x: {default: a, options: ab}}", "header:spec:inputs:x:options config should be an array"),
        ("inputs: {x: y}", "header:spec:inputs:x config should be a hash"),
        ("inputs: [x]", "header:spec:inputs config should be a hash"),
        ("inputs: {x: {rules: []}}", "header:spec:inputs:x:rules is not supported by the sandbox GitLab: leave it out"),
        ("component: [name]", "header:spec:component is not supported by the sandbox GitLab: leave it out"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused_by_name(header: str, message: str) -> None:
    assert errors_of(f"spec: {{{header}}}\n---\n{ONE}") == [message]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            "inputs.x | expand_vars",
            "`expand_vars` in $[[ inputs.x | expand_vars ]] is not supported by the sandbox GitLab: leave it out",
        ),
        ("inputs.y", "unknown interpolation key: `y`"),
        ("component.sha", "unknown interpolation key: `component`"),
        ("inputs", "invalid interpolation access pattern"),
    ],
)
def test_what_cannot_be_filled_in_is_refused(block: str, message: str) -> None:
    assert errors_of(f"spec: {{inputs: {{x: {{default: y}}}}}}\n---\na: {{script: ['$[[ {block} ]]']}}") == [message]


def test_a_file_without_a_header_takes_no_inputs() -> None:
    message = "`x.yml`: Given inputs not defined in the `spec` section of the included configuration file"
    assert errors_of("include: {local: x.yml, inputs: {y: z}}", {"x.yml": ONE}) == [message]


def test_a_third_document_is_refused() -> None:
    message = "Invalid configuration format: there may be a header and one document, and no more"
    assert errors_of("spec: {}\n---\na: {script: s}\n---\nb: {script: s}") == [message]


@pytest.mark.parametrize(
    ("include", "message"),
    [
        ("missing.yml", "Local file `missing.yml` does not exist!"),
        ("empty.yml", "Local file `empty.yml` is empty!"),
        ("list.yml", "Included file `list.yml` does not have valid YAML syntax!"),
        ("ci.txt", "Included file `ci.txt` does not have YAML extension!"),
        ("[[x.yml]]", "include config should be an array of hashes or strings"),
        ("{local: [x.yml]}", "Included file `['x.yml']` needs to be a string"),
        ("{local: x.yml, inputs: [y]}", "include:inputs config should be a hash"),
        ("{local: x.yml, project: y}", "Each include must use only one of: `local`, `project`"),
        (
            "{project: x}",
            '`{"project": "x"}` does not have a valid subkey for include. Valid subkeys are: `local`, `project`',
        ),
        (
            "https://example.com/x.yml",
            "include:remote is not supported by the sandbox GitLab: include the file by `local` or `project`",
        ),
        (
            "{template: Auto-DevOps.gitlab-ci.yml}",
            "include:template is not supported by the sandbox GitLab: include the file by `local` or `project`",
        ),
        (
            "{component: x/y@1}",
            "include:component is not supported by the sandbox GitLab: include the file by `local` or `project`",
        ),
        (
            "{local: x.yml, rules: [{if: $A}]}",
            "include:rules is not supported by the sandbox GitLab: leave it out",
        ),
        ("again.yml", "Maximum of 150 nested includes are allowed!"),
    ],
)
def test_an_include_that_cannot_be_is_refused(include: str, message: str) -> None:
    files = {"empty.yml": " \n", "list.yml": "- x", "again.yml": "include: again.yml", "x.yml": ONE}
    assert errors_of(f"include: {include}", files) == [message]


def test_an_included_file_that_is_no_yaml_is_named() -> None:
    (message,) = errors_of("include: x.yml", {"x.yml": "a: ["})
    assert message.startswith("`x.yml`: Invalid configuration format: while parsing a flow node")


def test_a_text_of_no_project_includes_nothing() -> None:
    with pytest.raises(CiYamlError) as caught:
        parse("include: x.yml")
    assert caught.value.errors == ["Local file `x.yml` does not have project!"]


def test_references_bring_parts_of_other_jobs_and_of_included_files() -> None:
    config = read(
        """
include: x.yml
.vars: {variables: {A: "1"}}
a:
  script: [before, !reference [.tools, script], !reference [.nested, script]]
  variables: !reference [.vars, variables]
  rules: [!reference [.tools, rules], {when: never}]
""",
        {
            "x.yml": ".tools: {script: [one], rules: [{if: $A}]}\n"
            ".nested: {script: [!reference [.tools, script], three]}"
        },
    )
    job = config.jobs["a"]
    assert job["script"] == ["before", "one", "one", "three"]
    assert (job["variables"], [rule.get("if") for rule in job["rules"]]) == ({"A": "1"}, ["$A", None])


def test_a_reference_finds_what_a_job_has_by_extends() -> None:
    text = ".base: {script: [s]}\n.more: {extends: .base}\na: {script: !reference [.more, script]}"
    assert read(text, {}).jobs["a"]["script"] == ["s"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {script: !reference [.b, script]}", '!reference [".b", "script"] could not be found'),
        ("a: {script: !reference [a, script]}", '!reference ["a", "script"] is part of a circular chain'),
        (
            "a: {script: !reference b}",
            "Invalid configuration format: !reference needs a list of texts, as in [.job, script]",
        ),
        (
            "a: {script: !reference [[b], c]}",
            "Invalid configuration format: !reference needs a list of texts, as in [.job, script]",
        ),
    ],
)
def test_a_reference_that_leads_nowhere_is_refused(text: str, message: str) -> None:
    assert errors_of(text) == [message]


def test_other_tags_are_refused_as_yaml() -> None:
    (message,) = errors_of("a: {script: !python/name:os.system x}")
    assert message.startswith("Invalid configuration format: could not determine a constructor for the tag")
