"""The one door to the process environment: reads PINCLIP_* into a frozen settings struct.

    class ServerSettings(Struct, frozen=True, kw_only=True):
        port: int = 8417
        \"\"\"TCP port the API listens on.\"\"\"

    settings = load(ServerSettings)      # PINCLIP_PORT, or the default

A field's variable is PINCLIP_ and its name in capitals, unless `Meta(extra={"env": NAME})`
says otherwise; a nested settings struct reads its own fields from the same environment. All
faults of all fields are found before anything is raised, and each says what to set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT, Meta, Struct

S = TypeVar("S", bound=Struct)


class SettingsError(Exception):
    """Settings that cannot work; `faults` has one sentence for each, with what to change."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Secret(str):
    """A string whose repr tells nothing, so that it cannot slip into a log."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('***')"


def load(struct: type[S], environ: Mapping[str, str] | None = None) -> S:
    """Return `struct` filled from the environment, whole and checked.

    A struct may define `check(self) -> Iterator[str]`, the rules across its fields; its
    sentences are reported like any other fault. Raises SettingsError with every fault.
    """
    environ = os.environ if environ is None else environ
    faults: list[str] = []
    settings = _fill(struct, environ, faults)
    if faults or settings is None:
        raise SettingsError(faults)
    return settings


def variables(struct: type[Struct]) -> Iterator[tuple[str, str, Any]]:
    """Yield (variable, field name, default) for each setting, nested ones included."""
    hints = get_type_hints(struct, include_extras=True)
    for item in msgspec.structs.fields(struct):
        hint = hints[item.name]
        if _is_struct(hint):
            yield from variables(hint)
        else:
            default = item.default
            if default is NODEFAULT and item.default_factory is not NODEFAULT:
                default = item.default_factory()
            yield _variable(item.name, hint), item.name, default


def inherited(environ: Mapping[str, str] | None = None, **overrides: str) -> dict[str, str]:
    """Return a copy of the environment for a child process, with `overrides` set in it."""
    return {**(os.environ if environ is None else environ), **overrides}


def _fill(struct: type[S], environ: Mapping[str, str], faults: list[str]) -> S | None:
    hints = get_type_hints(struct, include_extras=True)
    values: dict[str, Any] = {}
    before = len(faults)
    for item in msgspec.structs.fields(struct):
        hint = hints[item.name]
        if _is_struct(hint):
            values[item.name] = _fill(hint, environ, faults)
            continue
        name = _variable(item.name, hint)
        text = environ.get(name, "").strip()
        if text:
            _read(item.name, name, text, hint, values, faults)
        elif item.required:
            faults.append(f"{name} is not set: set it.")
    known = {name: value for name, value in values.items() if value is not None}
    if any(item.required and item.name not in known for item in msgspec.structs.fields(struct)):
        return None
    # An unreadable value is told already; with its default the rules still judge the others.
    settings = struct(**known)
    faults.extend(getattr(settings, "check", lambda: ())())
    return settings if len(faults) == before else None


def _read(
    field: str, name: str, text: str, hint: Any, values: dict[str, Any], faults: list[str]
) -> None:
    """Put the value of `text` into `values`, or say in `faults` why it has none."""
    try:
        values[field] = msgspec.convert(_split(text, hint), hint, strict=False, dec_hook=_build)
    except msgspec.ValidationError as error:
        shown = "its value" if _bare(hint) is Secret else repr(text)
        reason = str(error).split(" - at")[0]
        faults.append(f"{name} is {shown}: {reason}. Correct it or unset it.")


def _split(text: str, hint: Any) -> Any:
    if get_origin(_bare(hint)) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _build(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value)).expanduser()
    if kind is Secret:
        return Secret(str(value))
    raise NotImplementedError(f"settings have no reader for {kind}")


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _is_struct(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Struct)


def _variable(field: str, hint: Any) -> str:
    if get_origin(hint) is Annotated:
        for meta in get_args(hint)[1:]:
            if isinstance(meta, Meta) and meta.extra and "env" in meta.extra:
                return str(meta.extra["env"])
    return f"PINCLIP_{field.upper()}"
