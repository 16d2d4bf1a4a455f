"""The OpenAPI document: the committed copy is fresh, and the routes and answers are as it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import schemathesis
from jsonschema import Draft202012Validator
from litestar import Litestar
from litestar.routes import HTTPRoute

from sdk.codes import PROBLEMS, ProblemCode
from sdk.wire import Problem, Scan, Upload
from server import auth, schema
from server.rules import requests
from tests.server.conftest import Api
from tests.server.scenes import URL, completed

ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = msgspec.json.decode(schema.encoded())
BODIES = [
    (operation["operationId"], operation["requestBody"]["content"]["application/json"])
    for verbs in DOCUMENT["paths"].values()
    for operation in verbs.values()
    if "application/json" in operation.get("requestBody", {"content": ()})["content"]
]


def _operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, verbs in DOCUMENT["paths"].items():
        for method, operation in verbs.items():
            yield method, path, operation


def _answers() -> Iterator[tuple[str, dict[str, Any]]]:
    for _, _, operation in _operations():
        for status, answer in operation["responses"].items():
            yield status, _found(answer)


def _found(node: dict[str, Any]) -> Any:
    """Return what a node is, or what it refers to."""
    found: Any = DOCUMENT if "$ref" in node else node
    for part in node.get("$ref", "#/").removeprefix("#/").split("/") if "$ref" in node else ():
        found = found[part]
    return found


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


def test_document_is_openapi() -> None:
    schemathesis.openapi.from_dict(DOCUMENT).validate()  # raises with the fault


@pytest.mark.anyio
async def test_document_has_all_routes_and_no_other(api: Api) -> None:
    litestar = api.edge._app
    assert isinstance(litestar, Litestar)
    routes = {
        (method.lower(), route.path_format): handler.operation_id
        for route in litestar.routes
        if isinstance(route, HTTPRoute)
        for method, (handler, _) in route.route_handler_map.items()
        if method != "OPTIONS"
    }

    assert {(m, path): one["operationId"] for m, path, one in _operations()} == routes


@pytest.mark.anyio
async def test_options_names_every_method_of_a_path(api: Api) -> None:
    for path, verbs in DOCUMENT["paths"].items():
        answer = await api.client.options(re.sub(r"[{}]", "", path))

        assert set(answer.headers["allow"].split(", ")) == {*map(str.upper, verbs), "OPTIONS"}


def test_operation_ids_are_those_of_the_first_version() -> None:
    # Generated clients name their functions after these: a change breaks them.
    assert sorted(operation["operationId"] for _, _, operation in _operations()) == [
        "cancelBatch",
        "cancelScan",
        "changeWebhook",
        "createAppeal",
        "createBatch",
        "createFeedback",
        "createModeration",
        "createUpload",
        "createWebhook",
        "decideAppeal",
        "deleteWebhook",
        "eraseScan",
        "followScan",
        "getAppeal",
        "getBatch",
        "getBatchResults",
        "getCallbackSecret",
        "getErrorCode",
        "getGateReport",
        "getHealth",
        "getKey",
        "getMetrics",
        "getModel",
        "getModelFile",
        "getReadiness",
        "getReceipt",
        "getScan",
        "getSchema",
        "getWebhook",
        "listAppeals",
        "listDeliveries",
        "listFeedback",
        "listModels",
        "listScanFeedback",
        "listScans",
        "listWebhooks",
        "lookUp",
        "lookUpRange",
        "replayDelivery",
        "replayEvent",
        "rescoreScan",
        "rotateCallbackSecret",
        "rotateWebhookSecret",
        "submitScan",
        "testWebhook",
        "vetForPictrs",
    ]


def test_every_reference_leads_somewhere() -> None:
    for reference in _references(DOCUMENT):
        _found({"$ref": reference})


def test_every_link_leads_to_an_operation() -> None:
    parameters = {
        operation["operationId"]: {_found(one)["name"] for one in operation.get("parameters", ())}
        for _, _, operation in _operations()
    }

    links = [link for _, answer in _answers() for link in answer.get("links", {}).values()]
    assert links
    for link in links:
        assert set(link.get("parameters", ())) <= parameters[link["operationId"]]


def test_every_path_parameter_is_described() -> None:
    for _, path, operation in _operations():
        described = map(_found, operation.get("parameters", ()))
        names = {one["name"] for one in described if one["in"] == "path"}
        assert names == set(re.findall(r"\{(\w+)\}", path))


def test_every_problem_has_an_example_that_is_one() -> None:
    seen = set()
    for status, answer in _answers():
        told = answer.get("content", {}).get("application/problem+json")
        for name, example in (told or {"examples": {}})["examples"].items():
            problem = msgspec.convert(_found(example)["value"], Problem)
            assert (problem.code, str(problem.status)) == (name, status)
            assert problem.hint == PROBLEMS[problem.code].hint
            seen.add(problem.code)

    # Refused before any operation is known: not part of one.
    assert set(ProblemCode) - seen == {ProblemCode.UNKNOWN, ProblemCode.METHOD_NOT_ALLOWED}


def test_there_is_one_problem_schema() -> None:
    schemas = {
        answer["content"]["application/problem+json"]["schema"]["$ref"]
        for _, answer in _answers()
        if "application/problem+json" in answer.get("content", {})
    }

    assert schemas == {"#/components/schemas/Problem"}


@pytest.mark.parametrize("operation_id", [id_ for id_, _ in BODIES])
def test_example_of_a_body_is_one(operation_id: str) -> None:
    body = dict(BODIES)[operation_id]
    struct = next(
        struct
        for struct in schema.SENT
        if body["schema"]["$ref"] == f"#/components/schemas/{struct.__name__}"
    )

    assert requests.read(msgspec.json.encode(body["example"]), struct)
    assert Draft202012Validator({**DOCUMENT, **body["schema"]}).is_valid(body["example"])


def test_who_may_ask_is_said_of_every_operation() -> None:
    # Kept by hand: who adds an operation says here whether everybody may ask for it.
    is_open = {one["operationId"] for _, _, one in _operations() if not one["security"]}

    assert is_open == {"getErrorCode", "getHealth", "getReadiness", "getSchema", "vetForPictrs"}
    for _, path, _ in (one for one in _operations() if one[2]["operationId"] in is_open):
        assert auth.is_open(path)


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
