"""When a job is part of a pipeline: `rules` with their `if` expressions. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_TOKEN = re.compile(
    r"""\s*(?:\$(?P<variable>\w+)|(?P<text>"[^"]*"|'[^']*')|(?P<null>null\b)|(?P<operator>==|!=|&&|\|\|)"""
    r"""|(?P<not_here>=~|!~|[()]))\s*"""
)

_Token = tuple[str, str | None]
"""Its kind (an operator is its own) and value."""


class RuleError(ValueError):
    """An `if` that cannot be decided; the text says why."""


def holds(text: str, variables: Mapping[str, str]) -> bool:
    """Whether an `if` is true: variables, texts, null, ==, !=, &&, ||. Raises RuleError for anything else."""
    # All of them: a mistake is told also where what stands before it decides.
    found = [[_compared(part, variables) for part in _split(one, "&&")] for one in _split(_tokens(text), "||")]
    return any(map(all, found))


def matching_rule(rules: Sequence[Mapping[str, Any]] | None, variables: Mapping[str, str]) -> Mapping[str, Any] | None:
    """The first rule that holds, with `when: never` the same as none; an empty one where there are no rules."""
    if rules is None:
        return {}
    found = next((rule for rule in rules if rule.get("if") is None or holds(rule["if"], variables)), None)
    return None if found is None or found.get("when") == "never" else found


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if not found:
            raise RuleError("invalid expression syntax")
        position, kind = found.end(), str(found.lastgroup)
        value = found[kind]
        if kind == "not_here":
            raise RuleError(f"{value} is not supported by the sandbox GitLab, only ==, !=, && and ||")
        if kind == "operator":
            tokens.append((value, None))
        else:
            tokens.append((kind, None if kind == "null" else value[1:-1] if kind == "text" else value))
    return tokens


def _split(tokens: Sequence[_Token], operator: str) -> list[list[_Token]]:
    parts: list[list[_Token]] = [[]]
    for token in tokens:
        if token[0] == operator:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _compared(tokens: Sequence[_Token], variables: Mapping[str, str]) -> bool:
    """One comparison, or a value alone, which holds unless it is empty or missing."""
    values = [variables.get(str(value)) if kind == "variable" else value for kind, value in tokens]
    match ["value" if kind in ("variable", "text", "null") else kind for kind, _ in tokens]:
        case ["value"]:
            return bool(values[0])
        case ["value", ("==" | "!=") as operator, "value"]:
            return (values[0] == values[2]) is (operator == "==")
    raise RuleError("invalid expression syntax")
