"""`pinclip mcp`: lets an assistant ask about images, through the Model Context Protocol on stdio.

    argv --> AsyncClient, folders that may be read --> tools.build --> served until stdin ends

stdout belongs to the protocol. The protocol's own package is imported only once the arguments are
read, since that takes longer than all the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from sdk._client import AsyncClient
from sdk.settings import read

from .exits import MEANINGS, Exit
from .shell import asking, attempt

STATUSES = {
    Exit.DONE: "the assistant has closed the connection",
    Exit.USAGE: "the arguments cannot be used",
    Exit.AUTH: MEANINGS[Exit.AUTH],
}


def main(argv: Sequence[str]) -> int:
    """Serve tools on stdio until the other side closes it; returns the exit status."""
    options = _parser().parse_args(argv)
    return attempt(lambda: _run(options))


def _run(options: argparse.Namespace) -> Exit:
    import anyio

    roots = [Path(root).resolve(strict=True) for root in options.root or ["."]]
    read(base_url=options.base_url)  # what is wrong is said before an assistant waits for us
    anyio.run(_serve, options.base_url, roots)
    return Exit.DONE


async def _serve(base_url: str | None, roots: Sequence[Path]) -> None:
    from .tools import build

    async with AsyncClient(base_url=base_url) as client:
        await build(client, roots).run_stdio_async()


def _parser() -> argparse.ArgumentParser:
    parser = asking(
        "mcp",
        "Let an assistant ask about images: a Model Context Protocol server on stdio, with the\n"
        "tools check_image and get_scan. Put `pinclip mcp` into the assistant's settings.",
        STATUSES,
    )
    parser.add_argument(
        "--root",
        action="append",
        metavar="DIR",
        help="a folder whose pictures may be sent, with all below it; may be given several times "
        "(default: the folder it is started in)",
    )
    return parser
