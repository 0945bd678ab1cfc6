"""A request's parameters, wherever they stand (query, form, JSON), with GitLab's messages for wrong ones."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

from fastapi import Depends, Path, Request
from starlette.datastructures import UploadFile

from lab.gitlab.core import ApiError

_LARGEST = 2**31 - 1
"""Of whole numbers: what GitLab's columns hold."""

Id = Annotated[int, Path(le=_LARGEST)]
"""The number of something, as part of an address."""

_TRUE, _FALSE = {"true", "t", "1", "on", "yes"}, {"false", "f", "0", "off", "no"}


class Params:
    """Reads parameters one by one, notes what is wrong, and says it all at once in `check`."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values
        self._errors: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def string(
        self, name: str, *, required: bool = False, allowed: Collection[str] | None = None, longest: int | None = None
    ) -> str | None:
        """A text; GitLab takes numbers for texts, nothing else."""
        value = self._get(name, required)
        if value is not None and not isinstance(value, str | int | float):
            self._errors.append(f"{name} is invalid")
            return None
        text = None if value is None else str(value)
        if allowed is not None and (text is not None or required) and text not in allowed:
            self._errors.append(f"{name} does not have a valid value")
        if longest is not None and text is not None and len(text) > longest:
            self._errors.append(f"{name} is too long (maximum is {longest} characters)")
        return text

    def integer(self, name: str, *, required: bool = False) -> int | None:
        """A whole number, written as a number or as a text."""
        value = self._get(name, required)
        if value in (None, ""):
            return None
        try:
            if isinstance(value, bool | float):
                raise ValueError
            number = int(value)
            if abs(number) > _LARGEST:
                raise ValueError
            return number
        except (TypeError, ValueError):
            self._errors.append(f"{name} is invalid")
            return None

    def boolean(self, name: str) -> bool | None:
        """true or false, also as a text."""
        value = self._get(name, False)
        text = str(value).lower()
        if value in (None, ""):
            return None
        if text not in _TRUE | _FALSE:
            self._errors.append(f"{name} is invalid")
        return text in _TRUE

    def strings(self, name: str) -> list[str] | None:
        """Texts: a list, or one text with commas; sorted out, each once, in the order given."""
        value = self._get(name, False)
        if value is None:
            return None
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, Sequence) or not all(isinstance(part, str) for part in parts):
            self._errors.append(f"{name} is invalid")
            return None
        return list(dict.fromkeys(part.strip() for part in parts if part.strip()))

    def check(self) -> None:
        """Raises ApiError 400 with everything that was wrong."""
        if self._errors:
            raise ApiError(400, {"error": ", ".join(self._errors)})

    def _get(self, name: str, required: bool) -> Any:
        if required and name not in self.values:
            self._errors.append(f"{name} is missing")
        return self.values.get(name)


async def _read(request: Request) -> Params:
    values = _plain(request.query_params.multi_items())
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind in ("application/x-www-form-urlencoded", "multipart/form-data"):
        form = await request.form()
        values |= _plain(form.multi_items())
    elif kind == "application/json" and (body := await request.body()):
        try:
            parsed = json.loads(body)
        except (ValueError, RecursionError):
            raise ApiError(400, {"error": "Invalid json: the request's body cannot be read"}) from None
        if not isinstance(parsed, dict):
            raise ApiError(400, {"error": "Invalid json: the request's body has to be an object"})
        values |= parsed
    return Params(values)


def _plain(items: Sequence[tuple[str, str | UploadFile]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in items:
        if name.endswith("[]"):
            values.setdefault(name[:-2], []).append(value)
        else:
            values[name] = value
    return values


Given = Annotated[Params, Depends(_read)]
"""A FastAPI dependency: the request's parameters."""
