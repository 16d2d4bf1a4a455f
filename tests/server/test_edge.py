"""What every request passes: id, source, accepted types. The judgements are pure."""

from __future__ import annotations

import pytest

from server.edge import check_accept
from server.refused import Refused
from tests.server.conftest import Api


@pytest.mark.parametrize(
    "accepted",
    [
        [],
        [""],
        ["*/*"],
        ["application/json"],
        ["text/html, application/*;q=0.1"],
        ["text/html", "APPLICATION/JSON"],
        ["application/problem+json"],
    ],
)
def test_accept_takes_json(accepted: list[str]) -> None:
    check_accept(accepted)


@pytest.mark.parametrize(
    "accepted", [["text/html"], ["application/json;q=0"], ["image/*, */*; q=0.0"]]
)
def test_accept_without_json_is_refused(accepted: list[str]) -> None:
    with pytest.raises(Refused, match="not_acceptable"):
        check_accept(accepted)


@pytest.mark.anyio
async def test_request_id_is_taken_over_when_it_is_sane(api: Api) -> None:
    answer = await api.client.get("/healthz", headers={"X-Request-Id": "mine-1.2:3_4"})

    assert answer.headers["x-request-id"] == "mine-1.2:3_4"


@pytest.mark.anyio
@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "a\tb", "<script>", "-leading"])
async def test_request_id_is_made_when_what_came_is_not_sane(api: Api, given: str) -> None:
    answer = await api.client.get("/healthz", headers={"X-Request-Id": given})

    assert answer.headers["x-request-id"].startswith("req_")
    assert len(answer.headers.get_list("x-request-id")) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/healthz", "/v1/nothing", "/v1/scans/scan_x"])
async def test_every_answer_names_its_request(api: Api, path: str) -> None:
    answer = await api.client.get(path)

    assert answer.headers["x-request-id"]
    if answer.is_error:
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.anyio
async def test_stopping_server_refuses_new_requests_and_says_when_to_come_back(api: Api) -> None:
    api.edge.stopping.set()

    answer = await api.client.get("/healthz")

    assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down")
    assert int(answer.headers["retry-after"]) > 0
