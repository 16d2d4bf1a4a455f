"""The moderation kit: a bot that looks at images, does what a policy says, and can take it back.

    platform.py    what a place where people post has to offer      platforms/   those there are
    policy.py      what to do; the law for every policy             rules.py     a policy in TOML
    journal.py     what was seen, meant and done                    report.py    what would be done
    runner.py      the bot                                          command.py   `pinclip bot`
    testing.py     the conformance suite for adapters, and a platform to test with

>>> from pathlib import Path
>>> from sdk import AsyncClient
>>> from sdk.moderation import Journal, Runner, load_policy
>>> async def moderate(platform):
...     rules = load_policy(Path("policy.toml"))
...     async with AsyncClient() as client:
...         with Journal(Path("bot.db")) as journal:
...             journal.hold("myboard")
...             bot = Runner(platform, rules, client, journal, terms=rules.terms)
...             await bot.run()  # observes; `pinclip bot` reports, and lets it do more

`__all__` is the promise; every other name below may change.
"""

from __future__ import annotations

from .journal import Journal, JournalDamaged, JournalError, JournalInUse, Mode
from .platform import (
    Action,
    ActionKind,
    Capability,
    Item,
    ItemGone,
    Media,
    Notice,
    PermissionLost,
    Platform,
    PlatformError,
    Plugin,
    RateLimited,
    Relay,
    UndoResult,
    UndoToken,
    Unsure,
)
from .policy import Brake, Decision, Looked, Policy, Terms, Wording
from .report import Report, make_report
from .rules import PolicyError, RulesPolicy, default_policy, load_policy
from .runner import EnforceRefused, Runner

__all__ = [
    "Action",
    "ActionKind",
    "Brake",
    "Capability",
    "Decision",
    "EnforceRefused",
    "Item",
    "ItemGone",
    "Journal",
    "JournalDamaged",
    "JournalError",
    "JournalInUse",
    "Looked",
    "Media",
    "Mode",
    "Notice",
    "PermissionLost",
    "Platform",
    "PlatformError",
    "Plugin",
    "Policy",
    "PolicyError",
    "RateLimited",
    "Relay",
    "Report",
    "RulesPolicy",
    "Runner",
    "Terms",
    "UndoResult",
    "UndoToken",
    "Unsure",
    "Wording",
    "default_policy",
    "load_policy",
    "make_report",
]
