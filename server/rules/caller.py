"""Who asks: the owner whose records they see, and what they may do. Pure.

    Authorization: Bearer sk_...  --auth.py-->  Caller(owner, scopes, limits)  --> every rule
    none, from this machine, and no key was ever made  -->  LOCAL

An owner sees its own records and nobody else's, whatever its scopes: no rule and no query asks
for a record without an owner. What is not the caller's does not exist for it (not_found).
"""

from __future__ import annotations

from msgspec import Struct

from sdk.codes import ProblemCode
from sdk.wire import Scope
from server.refused import Refused

LOCAL_OWNER = "local"
"""Owner of all that was asked for without a key."""


class Limits(Struct, frozen=True, kw_only=True):
    """How much a caller may ask for; None: as much as there is."""

    rate_per_minute: int | None = None
    parallel: int | None = None
    quota_per_day: int | None = None


class Caller(Struct, frozen=True, kw_only=True):
    """One who asks. `key_id` is None for a caller without a key, on this machine."""

    owner: str
    key_id: str | None
    scopes: frozenset[Scope]
    is_publishable: bool = False
    """A key that may be seen by the public, as in an extension: pk_..."""
    expires_at: float | None = None
    limits: Limits = Limits()

    @property
    def name(self) -> str:
        """Who it is, for the audit log."""
        return self.key_id or self.owner

    def need(self, scope: Scope) -> None:
        """Return if the caller may do what this scope allows; raises Refused (scope_missing)."""
        if scope not in self.scopes and Scope.ADMIN not in self.scopes:
            raise Refused(
                ProblemCode.SCOPE_MISSING,
                f"This needs the scope {scope.value!r}; the key has "
                f"{', '.join(sorted(self.scopes)) or 'none'}.",
            )


LOCAL = Caller(owner=LOCAL_OWNER, key_id=None, scopes=frozenset(Scope))
"""Whoever calls from this machine while there are no keys."""
