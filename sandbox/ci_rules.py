"""When a job is part of a pipeline: `rules` with their `if` expressions, `only` and `except`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_TOKEN = re.compile(
    r"""\s*(?:(\$\w+)|"([^"]*)"|'([^']*)'|(/(?:\\.|[^/\\])+/i?)|(==|!=|=~|!~|&&|\|\||\(|\))|(null)\b)"""
)
_SPECIAL = {"branches", "tags", "pushes", "web", "api", "schedules", "triggers", "merge_requests", "pipelines"}


class RuleError(ValueError):
    """An `if` that is no expression."""


def check_expression(text: str) -> None:
    """Raises RuleError where `text` is no expression."""
    holds(text, {})


def holds(text: str, variables: Mapping[str, str]) -> bool:
    """Whether an `if` is true: variables, texts, null, regular expressions, ==, !=, =~, !~, &&, ||, parentheses."""
    tokens = list(_tokens(text))
    value, rest = _either(tokens, variables)
    if rest:
        raise RuleError(f"{text!r}: what follows {len(tokens) - len(rest)} words is not understood")
    return bool(value)


def matching_rule(rules: Sequence[Mapping[str, Any]] | None, variables: Mapping[str, str]) -> Mapping[str, Any] | None:
    """The first rule that holds, with `when: never` the same as none; an empty one where there are no rules."""
    if rules is None:
        return {}
    found = next((rule for rule in rules if rule.get("if") is None or holds(rule["if"], variables)), None)
    return None if found is None or found.get("when") == "never" else found


def selected(only: Sequence[str] | None, excluded: Sequence[str] | None, *, ref: str, tag: bool, source: str) -> bool:
    """Whether `only` and `except` leave a job in; `only` is branches and tags by default."""

    def named(pattern: str) -> bool:
        if pattern in _SPECIAL:
            kinds = {"tags" if tag else "branches", {"push": "pushes"}.get(source, source)}
            return pattern in kinds
        if found := re.fullmatch(r"/(.*)/(i?)", pattern):
            return re.search(found[1], ref, re.IGNORECASE if found[2] else 0) is not None
        return pattern == ref

    included = any(map(named, ["branches", "tags"] if only is None else only))
    return included and not any(map(named, excluded or []))


Token = tuple[str, str | None]


def _tokens(text: str) -> Iterator[Token]:
    position = 0
    text = text.strip()
    while position < len(text):
        found = _TOKEN.match(text, position)
        if not found:
            raise RuleError(f"{text!r}: {text[position:]!r} is not understood")
        position = found.end()
        variable, double, single, pattern, operator, null = found.groups()
        if variable:
            yield "variable", variable[1:]
        elif pattern:
            yield "pattern", pattern
        elif operator:
            yield operator, operator
        else:
            yield "text", None if null else double if double is not None else single


def _either(tokens: list[Token], variables: Mapping[str, str]) -> tuple[Any, list[Token]]:
    value, rest = _both(tokens, variables)
    while rest and rest[0][0] == "||":
        other, rest = _both(rest[1:], variables)
        value = value or other
    return value, rest


def _both(tokens: list[Token], variables: Mapping[str, str]) -> tuple[Any, list[Token]]:
    value, rest = _comparison(tokens, variables)
    while rest and rest[0][0] == "&&":
        other, rest = _comparison(rest[1:], variables)
        value = value and other
    return value, rest


def _comparison(tokens: list[Token], variables: Mapping[str, str]) -> tuple[Any, list[Token]]:
    left, rest = _operand(tokens, variables)
    if not rest or rest[0][0] not in ("==", "!=", "=~", "!~"):
        return left, rest
    operator = rest[0][0]
    right, rest = _operand(rest[1:], variables)
    if operator in ("==", "!="):
        return (left == right) is (operator == "=="), rest
    found = re.fullmatch(r"/(.*)/(i?)", str(right), re.DOTALL)
    if not found:
        return operator == "!~", rest
    matched = re.search(found[1], left or "", re.IGNORECASE if found[2] else 0) is not None
    return matched is (operator == "=~"), rest


def _operand(tokens: list[Token], variables: Mapping[str, str]) -> tuple[Any, list[Token]]:
    if not tokens:
        raise RuleError("the expression ends too early")
    kind, value = tokens[0]
    if kind == "(":
        inner, rest = _either(tokens[1:], variables)
        if not rest or rest[0][0] != ")":
            raise RuleError("a parenthesis is not closed")
        return inner, rest[1:]
    if kind == "variable":
        return variables.get(str(value)), tokens[1:]
    if kind in ("text", "pattern"):
        return value, tokens[1:]
    raise RuleError(f"{value!r} stands where a value has to")
