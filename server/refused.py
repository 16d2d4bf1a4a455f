"""Refused: a request that the rules turn away, as a code and a sentence. Knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import Sequence

from sdk.codes import ProblemCode
from sdk.wire import Fault


class Refused(Exception):
    """The request is turned away: a stable code, what happened, and where in the body."""

    def __init__(
        self,
        code: ProblemCode,
        detail: str,
        *,
        errors: Sequence[Fault] = (),
        retry_after: int | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after = retry_after
        """Seconds after which asking again may help; None where the code alone decides."""


class StartRefused(Exception):
    """The server cannot start as things are; the message says what to change.

    `is_lasting` is False where the same start may work a moment later.
    """

    def __init__(self, sentence: str, *, is_lasting: bool = True) -> None:
        super().__init__(sentence)
        self.is_lasting = is_lasting
