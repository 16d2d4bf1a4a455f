"""/v1/uploads over HTTP: raw and as a form, counted as it arrives."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import pytest

from server.ports import Unavailable
from tests.server.conftest import Api
from worker.contract import UPLOAD_LIMIT_BYTES

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * 40
BOUNDARY = "b0undary"


def _part(disposition: str, data: bytes) -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n"
    return head.encode() + data + b"\r\n"


def _form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


FILE = _part('name="file"; filename="a.png"', DATA)
FORM_TYPE = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


async def in_pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize(
    "content_type", ["image/png", "image/x-anything", "application/octet-stream", "IMAGE/JPEG"]
)
async def test_upload_of_raw_bytes_is_kept(api: Api, content_type: str) -> None:
    answer = await api.client.post(
        "/v1/uploads", content=DATA, headers={"content-type": content_type}
    )

    assert answer.status_code == 201
    upload = answer.json()
    assert (upload["bytes"], upload["sha256"]) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    assert await api.spool.find(upload["id"], owner="local")


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
async def test_upload_as_a_form_is_kept_however_it_is_cut(api: Api, size: int) -> None:
    body = _form(_part('name="note"', b"hello"), FILE)

    answer = await api.client.post("/v1/uploads", content=in_pieces(body, size), headers=FORM_TYPE)

    assert answer.status_code == 201
    assert answer.json()["sha256"] == hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(_form(), "invalid_parameter", id="no part"),
        pytest.param(_form(_part('name="file"', DATA)), "invalid_parameter", id="no file name"),
        pytest.param(_form(FILE, FILE), "invalid_parameter", id="two files"),
        pytest.param(FILE, "invalid_parameter", id="cut off"),
        pytest.param(b"nonsense", "invalid_parameter", id="no form"),
        pytest.param(b"", "invalid_parameter", id="nothing"),
        pytest.param(
            _form(_part('name="file"; filename="a.png"', b"")), "upload_empty", id="empty file"
        ),
        pytest.param(
            _form(_part('name="note"', bytes(70_000)), FILE), "body_too_large", id="large field"
        ),
    ],
)
async def test_form_is_refused_and_leaves_nothing(api: Api, body: bytes, code: str) -> None:
    answer = await api.client.post("/v1/uploads", content=in_pieces(body, 999), headers=FORM_TYPE)

    assert answer.json()["code"] == code
    assert await api.spool.kept() == []


@pytest.mark.parametrize(
    "content_type",
    ["", "text/html", "application/json", "image", "multipart/form-data", "multipart/mixed"],
)
async def test_upload_of_another_type_is_refused(api: Api, content_type: str) -> None:
    answer = await api.client.post(
        "/v1/uploads", content=DATA, headers={"content-type": content_type}
    )

    expected = "invalid_parameter" if content_type == "multipart/form-data" else None
    assert answer.json()["code"] == (expected or "media_type_unsupported")


@pytest.mark.parametrize(
    ("size", "status"), [(UPLOAD_LIMIT_BYTES, 201), (UPLOAD_LIMIT_BYTES + 1, 413)]
)
async def test_upload_takes_20_mib_and_no_more_whatever_content_length_says(
    api: Api, size: int, status: int
) -> None:
    answer = await api.client.post(
        "/v1/uploads",
        content=in_pieces(bytes(size), 1 << 20),
        headers={"content-type": "image/png", "content-length": "3"},
    )

    assert answer.status_code == status


async def test_upload_on_a_full_disk_is_told_to_come_back(api: Api) -> None:
    api.spool.fault = Unavailable("store", "uploads: No space left on device")

    answer = await api.client.post("/v1/uploads", files={"file": ("a.png", DATA)})

    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert "No space left" in answer.json()["detail"]
