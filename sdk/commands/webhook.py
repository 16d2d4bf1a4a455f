"""`pinclip webhook verify`: says whether a delivery is from pinclip, or why it is not.

    body (file or stdin) + headers + PINCLIP_WEBHOOK_SECRET --webhooks.unwrap--> valid | why not

For whoever builds a receiver: save one request, and see what it would be told. Asks no server.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from sdk.environment import Secret, load
from sdk.errors import InputError, WebhookSignatureError
from sdk.webhooks import TOLERANCE_SECONDS, unwrap

from .exits import Exit
from .shell import attempt, parser, refuse, seconds
from .words import encoded, error_facts, printable

STATUSES = {
    Exit.DONE: "the delivery is from pinclip and unchanged",
    Exit.USAGE: "the arguments, or the files named, cannot be used",
    Exit.AUTH: "PINCLIP_WEBHOOK_SECRET is not set, or is not a secret",
    Exit.SCAN_FAILED: "the delivery is not to be trusted: the sentence says why",
    Exit.SERVER: "the signature is right, but the body is no event of this version",
}

_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):\s*(.*?)\s*")


class WebhookSettings(Struct, frozen=True, kw_only=True):
    """What a receiver of deliveries knows."""

    webhook_secret: Secret = Secret("")
    """Secret of the endpoint whose deliveries `pinclip webhook verify` judges; begins `whsec_`."""


def main(argv: Sequence[str]) -> int:
    """Judge the delivery that `argv` names, say what it is, return the exit status."""
    options = _parser().parse_args(argv)
    return attempt(lambda: Exit(_verify(options)))


def headers_of(lines: Iterable[str]) -> dict[str, str]:
    """Return the headers among lines such as `webhook-id: evt_1`; others are passed over.

    So the head of a request can be given as it was saved, its first line included.
    """
    found = (_HEADER.fullmatch(line.strip("\r\n")) for line in lines)
    return {match[1]: match[2] for match in found if match}


def _verify(options: argparse.Namespace) -> int:
    secret = load(WebhookSettings).webhook_secret
    if not secret:
        return refuse(
            "PINCLIP_WEBHOOK_SECRET is not set: set it to the secret that the endpoint was "
            "registered with, whsec_ and all.",
            exit=Exit.AUTH,
        )
    headers = headers_of(options.header)
    if options.headers:
        headers |= headers_of(Path(options.headers).read_text("utf-8", "replace").splitlines())
    body = sys.stdin.buffer.read() if options.body == "-" else Path(options.body).read_bytes()
    try:
        event = unwrap(body, headers, secret, tolerance=options.tolerance)
    except InputError as error:
        return refuse(f"PINCLIP_WEBHOOK_SECRET: {error}", exit=Exit.AUTH)
    except WebhookSignatureError as error:
        if options.json:
            sys.stdout.write(encoded({"valid": False, "error": error_facts(error)}) + "\n")
        raise
    _tell(event.id, str(event.type), as_json=options.json)
    return Exit.DONE


def _tell(event_id: str, kind: str, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(encoded({"valid": True, "id": event_id, "type": kind}) + "\n")
    else:
        sys.stdout.write(printable(f"valid: {kind} {event_id}") + "\n")


def _parser() -> argparse.ArgumentParser:
    outer = argparse.ArgumentParser(
        prog="pinclip webhook",
        description="Help for whoever receives pinclip's deliveries.",
        allow_abbrev=False,
    )
    verbs = outer.add_subparsers(dest="verb", required=True, metavar="VERB")
    model = parser(
        "webhook verify",
        "Say whether a delivery is from pinclip: body, headers and secret in, one line out.",
        STATUSES,
        "PINCLIP_WEBHOOK_SECRET is the secret of the endpoint; it is no argument, so that it\n"
        "stays out of the list of processes.",
    )
    verify = verbs.add_parser(
        "verify",
        help="say whether a delivery is from pinclip",
        description=model.description,
        epilog=model.epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_arguments(verify)
    return outer


def _add_arguments(verify: argparse.ArgumentParser) -> None:
    verify.add_argument(
        "body", nargs="?", default="-", metavar="BODY",
        help="the file with the body as it came (default: -, which is stdin)",
    )  # fmt: skip
    verify.add_argument(
        "--header", action="append", default=[], metavar="'NAME: VALUE'",
        help="a header of the request; may be given several times",
    )  # fmt: skip
    verify.add_argument(
        "--headers", metavar="FILE", help="a file with the request's headers, a line each"
    )
    verify.add_argument(
        "--tolerance", type=seconds, default=TOLERANCE_SECONDS, metavar="N",
        help="seconds that the delivery may be old; more for one that was saved "
        "(default: %(default)g)",
    )  # fmt: skip
    verify.add_argument("--json", action="store_true", help="print one JSON object")
