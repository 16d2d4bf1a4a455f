"""/healthz, /readyz and /v1/errors over HTTP."""

from __future__ import annotations

import anyio
import pytest

from sdk.codes import SCAN_ERRORS, ScanErrorCode
from server.ports import Unavailable
from tests.server.conftest import Api

pytestmark = pytest.mark.anyio


async def test_healthz_asks_nobody(api: Api) -> None:
    api.records.fault = api.board.fault = Unavailable("store", "gone")

    answer = await api.client.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "checks": {}})


async def test_readyz_is_200_when_a_scan_can_be_taken(api: Api) -> None:
    answer = await api.client.get("/readyz")

    assert answer.status_code == 200
    assert {name: check["ok"] for name, check in answer.json()["checks"].items()} == {
        "store": True,
        "redis": True,
        "worker": True,
    }


async def test_readyz_is_503_and_says_what_is_wrong(api: Api) -> None:
    api.board.workers.clear()

    answer = await api.client.get("/readyz")

    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "no worker" in answer.json()["checks"]["worker"]["detail"]
    assert answer.json()["checks"]["store"]["ok"] is True


async def test_readyz_gives_up_on_a_store_that_is_silent(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.records, "ping", anyio.sleep_forever)

    with anyio.fail_after(30):
        answer = await api.client.get("/readyz")

    assert answer.status_code == 503
    assert "no answer" in answer.json()["checks"]["store"]["detail"]


@pytest.mark.parametrize("code", sorted(set(ScanErrorCode) - {ScanErrorCode.UNKNOWN}))
async def test_codes_of_failed_scans_are_explained_too(api: Api, code: ScanErrorCode) -> None:
    about = (await api.client.get(f"/v1/errors/{code}")).json()

    assert (about["hint"], about["status"]) == (SCAN_ERRORS[code].hint, None)
