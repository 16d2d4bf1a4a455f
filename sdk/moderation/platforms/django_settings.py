"""What PINCLIP in a Django project's settings may hold, and what is made of it.

Every function raises ImproperlyConfigured for what cannot work, when the project starts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings  # type: ignore[import-untyped]  # it has no types
from django.core.exceptions import ImproperlyConfigured  # type: ignore[import-untyped]
from django.utils.module_loading import import_string  # type: ignore[import-untyped]

from sdk import Client
from sdk.environment import SettingsError
from sdk.errors import PinclipError
from sdk.moderation.policy import Policy
from sdk.moderation.rules import default_policy, load_policy
from sdk.moderation.uploads import UploadCheck, UploadRules

OnReview = Callable[[UploadCheck, Any], None]


class DjangoSettings(UploadRules, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What PINCLIP in the project's settings may hold: the rules, and these."""

    policy: str | None = None
    """A policy file (TOML), or the dotted path of a Policy; the built-in one if None."""
    on_review: str | None = None
    """Dotted path of a function (check, request): what people should see; it may use the ORM."""
    api_key: str | None = None
    """PINCLIP_API_KEY of the environment if None."""
    base_url: str | None = None
    """PINCLIP_BASE_URL of the environment if None."""


def read_settings() -> DjangoSettings:
    """Return what PINCLIP in the project's settings holds, whole and checked."""
    given = getattr(settings, "PINCLIP", {})
    try:
        return msgspec.convert(given, type=DjangoSettings)
    except msgspec.ValidationError as error:
        raise ImproperlyConfigured(f"PINCLIP in the settings cannot be used: {error}") from error


def policy_of(rules: DjangoSettings) -> Policy:
    """Return the policy that is named, or the built-in one."""
    name = rules.policy
    if name is None:
        return default_policy()
    try:
        if name.endswith(".toml"):
            return load_policy(Path(name))
        found: Policy = import_string(name)
    except (OSError, ImportError, PinclipError) as error:
        raise ImproperlyConfigured(f"PINCLIP['policy'] is {name!r}: {error}") from error
    return found


def on_review_of(rules: DjangoSettings) -> OnReview | None:
    """Return the function that is told what people should see, if there is one."""
    name = rules.on_review
    if name is None:
        return None
    try:
        found: OnReview = import_string(name)
    except ImportError as error:
        raise ImproperlyConfigured(f"PINCLIP['on_review'] is {name!r}: {error}") from error
    return found


def client_of(rules: DjangoSettings) -> Client:
    """Return a client that never takes longer than an upload may be held."""
    try:
        return Client(rules.api_key, rules.base_url, timeout=rules.wait_seconds, max_retries=0)
    except SettingsError as error:
        raise ImproperlyConfigured(str(error)) from error
