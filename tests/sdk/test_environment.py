"""sdk.environment: PINCLIP_* becomes a frozen struct, or every fault is told at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from msgspec import Meta, Struct, field

from sdk.environment import Secret, SettingsError, inherited, load, variables


class Inner(Struct, frozen=True, kw_only=True):
    folder: Path = Path("/var")
    address: Annotated[str, Meta(extra={"env": "OTHER_URL"})] = ""


class Outer(Struct, frozen=True, kw_only=True):
    inner: Inner = field(default_factory=Inner)
    port: int = 1
    ratio: float = 0.5
    is_open: bool = False
    names: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    token: Secret = Secret("")

    def check(self) -> Iterator[str]:
        if self.port < 1:
            yield "PINCLIP_PORT is below 1."
        if self.ratio > 1:
            yield "PINCLIP_RATIO is above 1."


def test_load_gives_defaults_when_nothing_is_set() -> None:
    assert load(Outer, {}) == Outer()


def test_load_reads_every_kind_of_value() -> None:
    environ = {
        "PINCLIP_PORT": "80",
        "PINCLIP_RATIO": "0.25",
        "PINCLIP_IS_OPEN": "true",
        "PINCLIP_NAMES": "a, b,",
        "PINCLIP_PORTS": "1,2",
        "PINCLIP_TOKEN": "hush",
        "PINCLIP_FOLDER": "/srv",
        "OTHER_URL": "redis://h",
    }

    settings = load(Outer, environ)

    assert settings == Outer(
        inner=Inner(folder=Path("/srv"), address="redis://h"),
        port=80,
        ratio=0.25,
        is_open=True,
        names=("a", "b"),
        ports=(1, 2),
        token=Secret("hush"),
    )


def test_load_takes_an_empty_variable_for_an_unset_one() -> None:
    assert load(Outer, {"PINCLIP_PORT": " "}).port == 1


def test_load_tells_all_unreadable_values_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load(Outer, {"PINCLIP_PORT": "x", "PINCLIP_RATIO": "y"})

    assert [fault.split(" ")[0] for fault in caught.value.faults] == [
        "PINCLIP_PORT",
        "PINCLIP_RATIO",
    ]


def test_load_tells_all_broken_rules_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load(Outer, {"PINCLIP_PORT": "0", "PINCLIP_RATIO": "2"})

    assert len(caught.value.faults) == 2


def test_load_tells_an_unreadable_value_and_a_broken_rule_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load(Outer, {"PINCLIP_PORT": "x", "PINCLIP_RATIO": "2"})

    assert [fault.split(" ")[0] for fault in caught.value.faults] == [
        "PINCLIP_PORT",
        "PINCLIP_RATIO",
    ]


def test_secret_shows_itself_in_no_repr() -> None:
    settings = load(Outer, {"PINCLIP_TOKEN": "hush"})

    assert "hush" not in repr(settings)


def test_variables_names_each_setting_once() -> None:
    names = [name for name, _, _ in variables(Outer)]

    assert names[:3] == ["PINCLIP_FOLDER", "OTHER_URL", "PINCLIP_PORT"]
    assert len(names) == len(set(names)) == 8


def test_inherited_keeps_the_environment_and_sets_the_rest() -> None:
    assert inherited({"A": "1", "B": "2"}, B="3") == {"A": "1", "B": "3"}
