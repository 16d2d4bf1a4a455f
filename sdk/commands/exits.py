"""The exit statuses of every command that asks a server, and which of them an error has.

    an error of the SDK --exit_of--> Exit        many Exits --together--> the one of the whole run

1 is left to crashes, so that a traceback is never taken for a verdict. Prints nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum

from sdk.environment import SettingsError
from sdk.errors import (
    APIConnectionError,
    APIResponseValidationError,
    APIStatusError,
    AuthenticationError,
    InputError,
    InternalServerError,
    PermissionDeniedError,
    RateLimitError,
    ScanTimeout,
)
from sdk.wire import Verdict


class Exit(IntEnum):
    """What the exit status says."""

    NO_SIGN_OF_AI = 0
    DONE = 0
    USAGE = 2
    AUTH = 3
    SCAN_FAILED = 4
    SERVER = 5
    TIMEOUT = 6
    PARTIAL = 7
    LIKELY_AI = 10
    DECLARED_AI = 11
    INCONCLUSIVE = 12


MEANINGS = {
    Exit.NO_SIGN_OF_AI: "no sign of AI in any image",
    Exit.USAGE: "the arguments, or the only files named, cannot be used",
    Exit.AUTH: "the settings are wrong, or the server refuses the key",
    Exit.SCAN_FAILED: "the image could not be fetched or read, or was refused",
    Exit.SERVER: "the server cannot be reached, is busy or broken",
    Exit.TIMEOUT: "no verdict within --wait",
    Exit.PARTIAL: "some of several inputs have no verdict",
    Exit.LIKELY_AI: "likely AI",
    Exit.DECLARED_AI: "the file itself declares AI",
    Exit.INCONCLUSIVE: "can't tell",
}
"""What each status says of `pinclip check`; a command that differs says so in its own help."""

EXIT_OF_VERDICT = {
    Verdict.LIKELY_AI: Exit.LIKELY_AI,
    Verdict.DECLARED_AI: Exit.DECLARED_AI,
    Verdict.INCONCLUSIVE: Exit.INCONCLUSIVE,
    Verdict.NO_SIGN_OF_AI: Exit.NO_SIGN_OF_AI,
}
"""The statuses of verdicts, gravest first."""

GRAVEST = (
    "Of several images with different verdicts the status is that of the gravest:\n"
    "likely AI, declared AI, can't tell, no sign of AI.\n\n"
)
ENVIRONMENT = "PINCLIP_BASE_URL and PINCLIP_API_KEY name the server and the key."


def exit_of(error: Exception) -> Exit:
    """Return the status of an error, if it were all that happened."""
    match error:
        case InputError() | OSError():
            return Exit.USAGE
        case SettingsError() | AuthenticationError() | PermissionDeniedError():
            return Exit.AUTH
        case ScanTimeout():
            return Exit.TIMEOUT
        case RateLimitError() | InternalServerError():
            return Exit.SERVER
        case APIConnectionError() | APIResponseValidationError():
            return Exit.SERVER
        case APIStatusError(problem=None):
            return Exit.SERVER
        case _:
            return Exit.SCAN_FAILED


def together(exits: Iterable[Exit]) -> Exit:
    """Return the status of a whole run: the one all share, the gravest verdict, or PARTIAL."""
    seen = set(exits)
    if len(seen) == 1:
        return seen.pop()
    verdicts = [exit for exit in EXIT_OF_VERDICT.values() if exit in seen]
    return verdicts[0] if seen and len(verdicts) == len(seen) else Exit.PARTIAL


def table(meanings: Mapping[Exit, str], *notes: str) -> str:
    """Return the end of a command's help: its statuses, a line each, then the notes."""
    lines = "\n".join(f"  {code:<4d}{meaning}" for code, meaning in meanings.items())
    return f"exit status:\n{lines}\n{''.join(notes)}"
