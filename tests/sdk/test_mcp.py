"""`pinclip mcp`: the real client of the protocol, over stdio, with the real API behind."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

import sdk
from sdk.commands.exits import Exit
from sdk.commands.mcp import main

from .conftest import failed, scan
from .quiet_api import quiet_api

mcp = pytest.importorskip("mcp")
tools = pytest.importorskip("sdk.commands.tools")

pytestmark = pytest.mark.redis
URL = "https://example.org/picture.jpg"
PNG = b"\x89PNG\r\n\x1a\nand so on"
CODE = "import sys; from sdk.commands.mcp import main; sys.exit(main(sys.argv[1:]))"
T = TypeVar("T")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with quiet_api() as url:
        yield url


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder that may be read, in one that may not."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(PNG)
    (folder / "key.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----")
    (tmp_path / "hidden.png").write_bytes(PNG)
    (folder / "link.png").symlink_to(tmp_path / "hidden.png")
    return folder


def with_client(url: str, folder: Path, act: Callable[[Any], Awaitable[T]]) -> T:
    """Start the server as an assistant does, and do something with it."""

    async def run() -> T:
        server = mcp.StdioServerParameters(
            command=sys.executable,
            args=["-c", CODE, "--root", str(folder)],
            env={"PINCLIP_BASE_URL": url, "PYTHONPATH": str(Path(sdk.__file__).parent.parent)},
        )
        async with mcp.Client(mcp.stdio_client(server)) as client:
            return await act(client)

    return asyncio.run(run())


def test_assistant_is_told_the_verdict_its_rate_and_that_it_can_be_wrong(
    url: str, pictures: Path
) -> None:
    async def act(client: Any) -> list[Any]:
        offered = (await client.list_tools()).tools
        by_url = await client.call_tool("check_image", {"image": URL})
        by_file = await client.call_tool(
            "check_image", {"image": "a.png", "operating_point": "strict"}
        )
        again = await client.call_tool(
            "get_scan", {"scan_id": by_url.structured_content["scan_id"]}
        )
        return [offered, by_url, by_file, again]

    offered, *results = with_client(url, pictures, act)

    assert [tool.name for tool in offered] == ["check_image", "get_scan"]
    for result in results:
        assert not result.is_error
        answer = result.structured_content
        assert answer["verdict"] == "likely_ai"
        assert "about 3 in 100 real photos like this get this label" in answer["says"]
        assert "can be wrong" in answer["caution"]
        assert answer["says"] in result.content[0].text


def test_assistant_gets_no_file_from_elsewhere_and_none_that_is_no_picture(
    url: str, pictures: Path
) -> None:
    (pictures / "circle.png").symlink_to(pictures / "circle.png")
    names = ["../hidden.png", "link.png", "/etc/passwd", "key.pem", "gone.png", "."]
    odd = ["a\0.png", "circle.png", "a" * 5000]

    async def act(client: Any) -> list[Any]:
        asked = [client.call_tool("check_image", {"image": name}) for name in [*names, *odd]]
        return [await one for one in asked]

    results = with_client(url, pictures, act)

    assert all(result.is_error for result in results)
    said = [result.content[0].text for result in results]
    assert all("outside the folders" in text for text in said[:3])
    assert "not a picture" in said[3]
    assert all("There is no file" in text for text in said[4:6])
    assert all("not the name of a file" in text for text in said[6:8])
    assert "name too long" in said[8]


def test_assistant_is_told_in_a_sentence_what_went_wrong(url: str, pictures: Path) -> None:
    async def act(client: Any) -> list[Any]:
        return [
            await client.call_tool("check_image", {"image": "https://example.org/forbidden.jpg"}),
            await client.call_tool("get_scan", {"scan_id": "scan_unknown"}),
            await client.call_tool("check_image", {"image": URL, "operating_point": "loose"}),
        ]

    failed, unknown, misused = with_client(url, pictures, act)

    assert failed.is_error
    assert "fetch_forbidden" in failed.content[0].text
    assert unknown.is_error
    assert "404 not_found" in unknown.content[0].text
    assert misused.is_error


def test_answer_never_takes_a_scan_without_a_verdict_for_one() -> None:
    queued, refused = tools.answer(scan("queued")), tools.answer(failed())

    assert queued["verdict"] is refused["verdict"] is None
    assert "no verdict yet" in queued["says"]
    assert "there will be none" in refused["says"]
    assert "Send bytes." in refused["says"]


def test_mcp_tells_wrong_settings_and_roots(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(tmp_path / "gone")]) == Exit.USAGE
    monkeypatch.setenv("PINCLIP_BASE_URL", "nonsense")
    assert main(["--root", str(tmp_path)]) == Exit.AUTH

    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"pinclip: {tmp_path / 'gone'}: No such file")
    assert second.startswith("pinclip: PINCLIP_BASE_URL")
