"""The tools that `pinclip mcp` offers to an assistant, and what it is told.

    check_image(image) --> URL | file below a root --> AsyncClient.check --> Answer
    get_scan(scan_id) -------------------------------> AsyncClient.get ----> Answer

An Answer always says how often its label is wrong, and that it can be. Who asks is a program that
follows texts of strangers, so a file is sent only if it lies below an allowed folder, links
followed, and begins as pictures do: a key or a letter never leaves the machine by this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from inspect import getdoc
from pathlib import Path
from typing import Literal, TypedDict

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from sdk._calls import load
from sdk._client import AsyncClient
from sdk.errors import PinclipError, ScanTimeout
from sdk.wire import Scan, Status

from .shell import is_url
from .words import finding, sentence

WAIT_SECONDS = 30.0
"""How long a tool call waits for a verdict; assistants give a tool about a minute."""

CAUTION = (
    "A detector can be wrong, in both directions. Pass on the rate of false alarms with the "
    "verdict; accuse nobody on this alone. No sign of AI is no proof that an image is real."
)
INSTRUCTIONS = (
    "Says whether an image is likely made by AI, and how often that label is wrong. " + CAUTION
)

Point = Literal["strict", "balanced", "sensitive"]


class Answer(TypedDict):
    """What is known of an image. `verdict` is null while there is none, which means nothing."""

    scan_id: str
    status: str
    verdict: str | None
    says: str
    caution: str


def build(client: AsyncClient, roots: Sequence[Path]) -> MCPServer[None]:
    """Return the server with its tools; files are sent only from below `roots`."""
    server: MCPServer[None] = MCPServer(
        "pinclip", instructions=INSTRUCTIONS, log_level="WARNING", version=_version()
    )

    async def check_image(image: str, operating_point: Point = "balanced") -> Answer:
        """Say whether an image is likely made by AI. `image`: an http(s) URL or a file's path.

        `operating_point` is how many real images may be flagged: strict flags the fewest. The
        answer can be wrong: pass on its `says` and its `caution`.
        """
        try:
            source = image if is_url(image) else picture(image, roots)
            scan = await client.check(source, wait=WAIT_SECONDS, operating_point=operating_point)
        except ScanTimeout as error:
            return answer(error.scan)
        except (PinclipError, OSError) as error:
            raise ToolError(sentence(error)) from error
        return answer(scan)

    async def get_scan(scan_id: str) -> Answer:
        """Say what is known by now of an image that check_image was asked about before."""
        try:
            return answer(await client.get(scan_id))
        except PinclipError as error:
            raise ToolError(sentence(error)) from error

    for tool in (check_image, get_scan):
        server.add_tool(tool, description=getdoc(tool))
    return server


def picture(name: str, roots: Sequence[Path]) -> bytes:
    """Return the bytes of a picture below one of `roots`; relative names begin at the first.

    Raises ToolError for any other file, InputError if it is too large, OSError.
    """
    try:
        path = (roots[0] / name).resolve()
    except (ValueError, RuntimeError) as error:  # a NUL in the name; links that lead in a circle
        raise ToolError(f"{name!r} is not the name of a file. Name a picture.") from error
    if not any(path.is_relative_to(root) for root in roots):
        allowed = ", ".join(map(str, roots))
        raise ToolError(
            f"{name} is outside the folders that may be read ({allowed}). Name a file there; "
            "whoever started `pinclip mcp` can allow another folder with --root."
        )
    if not path.is_file():
        raise ToolError(f"There is no file {name}. Name a picture that exists, or a URL.")
    data = load(path)
    if not _is_picture(data):
        raise ToolError(f"{name} is not a picture, so it is not sent. Name a picture.")
    return data


def answer(scan: Scan) -> Answer:
    """Return what an assistant is told of a scan."""
    if scan.status is Status.COMPLETED:
        says = f"{finding(scan)}."
    elif scan.status.is_final:
        why = f"{scan.error.detail} {scan.error.hint}" if scan.error else "It was canceled."
        says = f"There is no verdict and there will be none: {why}"
    else:
        says = f"There is no verdict yet. Ask get_scan for {scan.id} in a few seconds."
    return Answer(
        scan_id=scan.id, status=scan.status, verdict=scan.verdict, says=says, caution=CAUTION
    )


def _is_picture(data: bytes) -> bool:
    """Return whether bytes begin as JPEG, PNG, GIF, BMP, TIFF, WebP, AVIF or HEIC do."""
    starts = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
    is_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return data.startswith(starts) or is_webp or data[4:8] == b"ftyp"


def _version() -> str:
    try:
        return version("pinclip")
    except PackageNotFoundError:  # the sources are used without being installed
        return ""
