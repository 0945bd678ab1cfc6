"""When a job or a pipeline is made: `rules` with `if` expressions and `changes`. Pure.

https://docs.gitlab.com/ci/jobs/job_rules/
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(
    r"""\s*(?:\$(?P<variable>\w+)|(?P<text>"[^"]*"|'[^']*')|(?P<null>null\b)"""
    r"""|(?P<pattern>/(?:[^/\\]|\\.)+/[ismU]*)|(?P<operator>==|!=|=~|!~|&&|\|\||[()]))\s*"""
)
_LOOKAROUND = re.compile(r"\(\?<?[=!]")
"""What Python's regular expressions have and GitLab's (RE2) have not."""

_MOST_PATH = 4096

_Token = tuple[str, str | None]
"""Its kind (an operator is its own) and value."""


class RuleError(ValueError):
    """A rule that cannot be decided; the text says why."""


@dataclass(frozen=True)
class Facts:
    """What rules can ask for.

    changed: the files that the pipeline's commits change; None where every file counts as changed.
    """

    variables: Mapping[str, str]
    changed: Callable[[], Sequence[str] | None]


def matching_rule(rules: Sequence[Mapping[str, Any]] | None, facts: Facts) -> Mapping[str, Any] | None:
    """The first rule that holds, with `when: never` the same as none; an empty one where there are no rules."""
    if rules is None:
        return {}
    found = next((rule for rule in rules if _applies(rule, facts)), None)
    return None if found is None or found.get("when") == "never" else found


def _applies(rule: Mapping[str, Any], facts: Facts) -> bool:
    if "if" in rule and not holds(rule["if"], facts.variables):
        return False
    if "changes" not in rule or (paths := facts.changed()) is None:
        return True
    return any(matches(expand_known(glob, facts.variables), path) for glob in rule["changes"] for path in paths)


def expand_known(text: str, variables: Mapping[str, str]) -> str:
    """`$NAME` and `${NAME}` replaced, unknown ones left as they stand, as GitLab has it outside of jobs.

    Raises RuleError where that would be too long for a path.
    """
    found = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
    if sum(len(variables.get(one[1] or one[2], "")) for one in found.finditer(text)) > _MOST_PATH:
        raise RuleError("its paths are too long")
    return found.sub(lambda one: variables.get(one[1] or one[2], one[0]), text)


def matches(glob: str, path: str) -> bool:
    """Whether a path is one that a glob means: *, ?, [], {} within a directory, `**/` for any number of them."""
    return _pattern(glob).fullmatch(path) is not None


@functools.lru_cache(maxsize=1000)
def _pattern(glob: str) -> re.Pattern[str]:
    try:
        return re.compile(_regex(glob), re.DOTALL)
    except re.error:  # a range that ends before it begins
        return re.compile("(?!)")


def _regex(glob: str) -> str:
    result, depth = "", 0
    for found in re.finditer(r"(?:(?<=/)|^)\*\*/|\*+|\[[!^]?[^/\]]+\]|\\.|.", glob, re.DOTALL):
        match part := found[0]:
            case "**/":
                result += "(?:[^/]+/)*"
            case "?":
                result += "[^/]"
            case "{":
                depth += 1
                result += "(?:"
            case "}" if depth:
                depth -= 1
                result += ")"
            case "," if depth:
                result += "|"
            case _ if part.startswith("*"):
                result += "[^/]*"
            case _ if part.startswith("[") and len(part) > 1:
                negated = part[1] in "!^"
                signs = re.sub(r"([\\\[&~|])", r"\\\1", part[2 if negated else 1 : -1])
                result += f"[{'^/' if negated else ''}{signs}]"
            case _:
                result += re.escape(part[-1])
    return result + ")" * depth


def holds(text: str, variables: Mapping[str, str]) -> bool:
    """Whether an `if` is true: variables, texts, null, ==, !=, =~, !~, &&, ||, parentheses. Raises RuleError."""
    tokens = _tokens(text)
    result = _either(tokens, variables)
    if tokens:
        raise RuleError("invalid expression syntax")
    return result


def _tokens(text: str) -> list[_Token]:
    """In reverse, so that the next one is the last."""
    tokens: list[_Token] = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if not found:
            raise RuleError("invalid expression syntax")
        position, kind = found.end(), str(found.lastgroup)
        value = found[kind]
        if kind == "operator":
            tokens.append((value, None))
        else:
            tokens.append((kind, None if kind == "null" else value[1:-1] if kind == "text" else value))
    return tokens[::-1]


def _either(tokens: list[_Token], variables: Mapping[str, str]) -> bool:
    # All sides are read: a mistake is told also where what stands before it decides.
    result = _both(tokens, variables)
    while tokens and tokens[-1][0] == "||":
        tokens.pop()
        result = _both(tokens, variables) or result
    return result


def _both(tokens: list[_Token], variables: Mapping[str, str]) -> bool:
    result = _compared(tokens, variables)
    while tokens and tokens[-1][0] == "&&":
        tokens.pop()
        result = _compared(tokens, variables) and result
    return result


def _compared(tokens: list[_Token], variables: Mapping[str, str]) -> bool:
    """One comparison, something in parentheses, or a value alone, which holds unless it is empty or missing."""
    if tokens and tokens[-1][0] == "(":
        tokens.pop()
        result = _either(tokens, variables)
        if not tokens or tokens.pop()[0] != ")":
            raise RuleError("invalid expression syntax")
        return result
    left = _value(tokens, variables, "variable", "text", "null")
    operator = tokens[-1][0] if tokens else ""
    if operator in ("==", "!="):
        tokens.pop()
        return (left == _value(tokens, variables, "variable", "text", "null")) is (operator == "==")
    if operator in ("=~", "!~"):
        tokens.pop()
        return _matched(left, _value(tokens, variables, "variable", "pattern")) is (operator == "=~")
    return bool(left)


def _value(tokens: list[_Token], variables: Mapping[str, str], *kinds: str) -> str | None:
    kind, value = tokens.pop() if tokens else ("", None)
    if kind not in kinds:
        raise RuleError("invalid expression syntax")
    if kind == "pattern":
        _matched("", value)
    return variables.get(str(value)) if kind == "variable" else value


def _matched(text: str | None, pattern: str | None) -> bool:
    """Whether `/pattern/flags` is found in a text; what is no pattern matches nothing."""
    found = re.fullmatch(r"/(.+)/([ismU]*)", pattern or "", re.DOTALL)
    if not found:
        return False
    flags = {"i": re.IGNORECASE, "s": re.DOTALL, "m": re.MULTILINE}
    if _LOOKAROUND.search(found[1]) or "U" in found[2]:
        raise RuleError("invalid expression syntax")
    try:
        return re.search(found[1], text or "", sum(flags[flag] for flag in set(found[2]))) is not None
    except re.error:
        raise RuleError("invalid expression syntax") from None
