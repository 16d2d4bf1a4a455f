"""Finds platforms and policies by name: those of pinclip, and those of other packages.

    "discord"    --pinclip.platforms--> Plugin            its library is imported only now
    "my-policy"  --pinclip.policies---> a function () -> Policy
    "rules.toml" --rules.load_policy--> RulesPolicy       whatever ends in .toml, or is a file

Knows nothing of what it finds. Whose library is missing is told with what to install.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NamedTuple

from sdk.errors import InputError, PinclipError

from .platform import Plugin
from .policy import Policy, Terms
from .rules import RulesPolicy, default_policy, load_policy
from .sound import reason

PLATFORMS = "pinclip.platforms"
POLICIES = "pinclip.policies"
OWN = "pinclip"
"""The package whose extras are named after its platforms."""


class PluginError(PinclipError):
    """What was named is there, and cannot be used here."""

    code = "plugin_unusable"


class ExtraMissing(PluginError):
    """The library of a platform is not installed."""

    code = "extra_missing"


class Found(NamedTuple):
    """One name that can be given, what it is, and the package that brings it."""

    name: str
    group: str
    package: str


class Chosen(NamedTuple):
    """A policy, and what goes with it."""

    policy: Policy
    terms: Terms


def installed() -> Iterator[Found]:
    """Yield every platform and every policy that is installed, by name."""
    for group in (PLATFORMS, POLICIES):
        for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
            yield Found(entry.name, group, _package(entry))


def platform(name: str) -> Plugin:
    """Return the plugin of a platform. Raises InputError for a name that is none, PluginError."""
    entry = _entry(PLATFORMS, name)
    plugin = _loaded(entry)
    if not isinstance(plugin, Plugin):
        raise _wrong(entry, "a Plugin")
    return plugin


def policy(name: str | None) -> Chosen:
    """Return the policy of that name or file; the one built in for None.

    Raises PolicyError for a file with faults, InputError for a name that is none, PluginError, or
    OSError for a file that cannot be read.
    """
    if name is None:
        return _chosen(default_policy())
    if name.endswith(".toml") or Path(name).is_file():
        return _chosen(load_policy(Path(name)))
    entry = _entry(POLICIES, name)
    make = _loaded(entry)
    made: Any = _made(entry, make) if callable(make) else None
    if isinstance(made, RulesPolicy):
        return _chosen(made)
    if not callable(getattr(made, "decide", None)):
        raise _wrong(entry, "a function that returns a Policy")
    version = entry.dist.version if entry.dist else ""
    return Chosen(made, Terms(policy_id=f"{name}@{version}"))


def _chosen(rules: RulesPolicy) -> Chosen:
    return Chosen(rules, rules.terms)


def _entry(group: str, name: str) -> EntryPoint:
    known = {entry.name: entry for entry in entry_points(group=group)}
    if name in known:
        return known[name]
    what = "platform" if group == PLATFORMS else "policy"
    near = get_close_matches(name, list(known), n=1)
    meant = f"Did you mean {near[0]}? " if near else ""
    raise InputError(
        f"There is no {what} {name!r}.", hint=f"{meant}`pinclip bot list` shows those there are."
    )


def _loaded(entry: EntryPoint) -> object:
    try:
        return entry.load()
    except ModuleNotFoundError as error:
        package = _package(entry)
        wanted = f"'{OWN}[{entry.name}]'" if package == OWN else f"--force-reinstall {package}"
        raise ExtraMissing(
            f"{entry.name} needs {error.name}, which is not installed.",
            hint=f"Run: pip install {wanted}",
        ) from error
    except Exception as error:
        raise _broken(entry, "loaded", error) from error


def _made(entry: EntryPoint, make: Callable[[], object]) -> object:
    try:
        return make()
    except PinclipError:
        raise
    except Exception as error:
        raise _broken(entry, "made", error) from error


def _broken(entry: EntryPoint, what: str, error: Exception) -> PluginError:
    return PluginError(
        f"{entry.name} ({entry.value}, of {_package(entry)}) cannot be {what}: {reason(error)}.",
        hint="Update the package; if it stays, tell its authors.",
    )


def _wrong(entry: EntryPoint, expected: str) -> PluginError:
    return PluginError(
        f"{entry.name} ({entry.value}, of {_package(entry)}) is not {expected}.",
        hint="Its entry point has to name one; tell its authors.",
    )


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.module
