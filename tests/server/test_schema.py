"""The OpenAPI document: the committed copy is fresh, and the routes and answers are as it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from sdk.codes import PROBLEMS, ProblemCode
from sdk.wire import Problem, Scan, ScanRequest, Upload
from server import schema
from tests.server.conftest import Api
from tests.server.scenes import URL, completed

ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = msgspec.json.decode(schema.encoded())


def _operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, verbs in DOCUMENT["paths"].items():
        for method, operation in verbs.items():
            yield method, path, operation


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for child in node.values():
            yield from _references(child)
    elif isinstance(node, list):
        for child in node:
            yield from _references(child)


def test_committed_document_is_fresh() -> None:
    committed = (ROOT / "docs" / "openapi.json").read_bytes()

    assert committed == schema.encoded(), "run: python -m server.schema > docs/openapi.json"


@pytest.mark.anyio
async def test_server_gives_out_the_document(api: Api) -> None:
    answer = await api.client.get("/schema")

    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == DOCUMENT


@pytest.mark.anyio
async def test_document_has_all_routes_and_no_other(api: Api) -> None:
    litestar = api.edge._app
    assert isinstance(litestar, Litestar)
    routes = {
        (method.lower(), route.path_format)
        for route in litestar.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods
        if method != "OPTIONS"
    }

    assert {(method, path) for method, path, _ in _operations()} == routes


def test_operation_ids_are_those_of_the_first_version() -> None:
    # Generated clients name their functions after these: a change breaks them.
    assert sorted(operation["operationId"] for _, _, operation in _operations()) == [
        "createUpload",
        "getErrorCode",
        "getHealth",
        "getReadiness",
        "getScan",
        "getSchema",
        "submitScan",
    ]


def test_every_reference_leads_somewhere() -> None:
    for reference in _references(DOCUMENT):
        node: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_every_problem_has_an_example_that_is_one() -> None:
    seen = set()
    for _, _, operation in _operations():
        for status, answer in operation["responses"].items():
            told = answer["content"].get("application/problem+json")
            for name, example in (told or {"examples": {}})["examples"].items():
                problem = msgspec.convert(example["value"], Problem)
                assert (problem.code, str(problem.status)) == (name, status)
                assert problem.hint == PROBLEMS[problem.code].hint
                seen.add(problem.code)

    # Refused before any operation is known: not part of one.
    assert set(ProblemCode) - seen == {ProblemCode.UNKNOWN, ProblemCode.METHOD_NOT_ALLOWED}


def test_there_is_one_problem_schema() -> None:
    schemas = {
        answer["content"]["application/problem+json"]["schema"]["$ref"]
        for _, _, operation in _operations()
        for answer in operation["responses"].values()
        if "application/problem+json" in answer["content"]
    }

    assert schemas == {"#/components/schemas/Problem"}


def test_example_of_a_request_is_one() -> None:
    body = DOCUMENT["paths"]["/v1/scans"]["post"]["requestBody"]["content"]["application/json"]

    assert msgspec.convert(body["example"], ScanRequest).url


@pytest.mark.anyio
async def test_answers_have_every_field_that_the_document_requires(api: Api) -> None:
    upload = (await api.client.post("/v1/uploads", files={"file": ("a.png", b"a")})).json()
    queued = (await api.client.post("/v1/scans", json={"url": URL})).json()
    await api.records.close([completed(queued["id"])])
    final = (await api.client.get(f"/v1/scans/{queued['id']}")).json()

    schemas = DOCUMENT["components"]["schemas"]
    for name, value in (("Upload", upload), ("Scan", queued), ("Scan", final)):
        assert set(value) == set(schemas[name]["required"]) == set(schemas[name]["properties"])
    assert msgspec.convert(final, Scan).id == msgspec.convert(queued, Scan).id
    assert msgspec.convert(upload, Upload).bytes == 1
