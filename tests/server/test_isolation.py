"""An owner sees its own and nobody else's, and a key does what its scopes allow: on every route.

The OpenAPI document is walked, and test_schema.py holds it to the routes: a route that is added
without a word here, where its parameters and its meaning for publishable keys are unknown, fails.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from sdk.wire import Scope
from server import schema
from server.rules.keys import Kind
from server.schema.parts import BODIES
from server.schema.shape import Operation
from server.settings import ServerSettings
from tests.server.platform import HOOK, Headers, Platform, platform
from tests.server.scenes import URL

pytestmark = [pytest.mark.anyio, pytest.mark.redis]

OWNED = {"scan_id", "batch_id", "appeal_id", "endpoint_id", "delivery_id", "event_id"}
"""Path parameters that name what belongs to an owner."""
SHARED = {"code": "not_found", "model_id": "fixed", "prefix": "ababa", "secret": "sk_none"}
"""Those that do not, each with a value."""
LISTS = {"listScans", "listAppeals", "listFeedback", "listWebhooks"}
"""Operations that list an owner's own; listModels lists what everybody may know."""
PUBLIC = {
    "submitScan",
    "getScan",
    "followScan",
    "getReceipt",
    "createAppeal",
    "createFeedback",
    "createUpload",
    "lookUp",
    "lookUpRange",
    "listModels",
    "getModel",
    "getGateReport",
    "getModelFile",
    "getKey",
    "createModeration",
}
"""What a publishable key may ask for: anybody can read such a key in an extension."""
BY_ID = [one for one in schema.OPERATIONS if OWNED & set(one.parameters)]
GUARDED = [one for one in schema.OPERATIONS if one.scopes is not None]
SCOPED = [one for one in GUARDED if one.scopes]
LAST = ("eraseScan", "deleteWebhook")
"""What ends the things that the others are asked about."""


@dataclass(frozen=True, kw_only=True)
class Town:
    """Two owners. `of_acme` and `of_other` are ids by the name of their parameter."""

    api: Platform
    acme: Headers
    other: Headers
    of_acme: Mapping[str, str]
    of_other: Mapping[str, str]

    async def ask(
        self, operation: Operation, ids: Mapping[str, str], headers: Headers
    ) -> httpx.Response:
        """Send the request that the document has as its example, about these ids."""
        path = operation.path.format(**SHARED, **ids)
        sent: dict[str, Any] = {"json": dict(_example(operation))} if operation.body else {}
        if operation.body == "image":
            sent = {"content": b"an image", "headers": {"content-type": "image/png"}}
        return await self.api.client.request(
            operation.method.upper(),
            path,
            **{**sent, "headers": {**sent.get("headers", {}), **headers}},
        )


@pytest.fixture
async def town(settings: ServerSettings) -> AsyncIterator[Town]:
    async with platform(replace(settings, queue_limit=1000)) as api:
        acme, other = await api.key("acme"), await api.key("other")
        yield Town(
            api=api,
            acme=acme,
            other=other,
            of_acme=await things(api, acme),
            of_other=await things(api, other),
        )


async def things(api: Platform, key: Headers) -> dict[str, str]:
    """Make one of everything that an owner can have; return the ids."""
    made = await post(api, key, "/v1/webhooks", {"url": HOOK})
    endpoint = f"/v1/webhooks/{made['id']}"
    # Disabled: what happens is kept for it, and nothing is sent while we look.
    answer = await api.client.patch(endpoint, json={"state": "disabled"}, headers=key)
    assert answer.status_code == 200, answer.text
    batch = await post(api, key, "/v1/batches", {"scans": [{"url": URL}, {"url": URL}]})
    scan = await post(api, key, "/v1/scans", {"url": URL})
    for line in [*await results(api, key, batch["id"]), {"scan": scan}]:
        final = await api.client.get(
            f"/v1/scans/{line['scan']['id']}", headers={**key, "prefer": "wait=30"}, timeout=40
        )
        assert final.json()["verdict"] == "likely_ai", final.text
    appeal = await post(api, key, f"/v1/scans/{scan['id']}/appeals", {"reason": "It is mine."})
    feedback = await post(api, key, f"/v1/scans/{scan['id']}/feedback", {"label": "not_ai"})
    sent = (await api.client.get(f"{endpoint}/deliveries", headers=key)).json()["data"]
    return {
        "scan_id": scan["id"],
        "batch_id": batch["id"],
        "appeal_id": appeal["id"],
        "feedback_id": feedback["id"],
        "endpoint_id": made["id"],
        "delivery_id": sent[0]["id"],
        "event_id": sent[0]["event_id"],
    }


async def results(api: Platform, key: Headers, batch_id: str) -> list[dict[str, Any]]:
    answer = await api.client.get(f"/v1/batches/{batch_id}/results", headers=key)
    return [json.loads(line) for line in answer.text.splitlines()]


async def post(api: Platform, key: Headers, path: str, body: Any) -> dict[str, Any]:
    answer = await api.client.post(path, json=body, headers=key)
    assert answer.is_success, answer.text
    told: dict[str, Any] = answer.json()
    return told


def _example(operation: Operation) -> Mapping[str, Any]:
    body: Any = BODIES[operation.body or ""]
    example: Mapping[str, Any] = body.get("application/json", {}).get("example", {})
    return example


def test_every_path_parameter_is_known_here() -> None:
    names = {name for one in schema.OPERATIONS for name in re.findall(r"\{(\w+)\}", one.path)}

    assert names == OWNED | set(SHARED)


def test_every_list_is_known_here() -> None:
    found = {
        one.id
        for one in schema.OPERATIONS
        for answer in one.answers.values()
        if answer.struct and {"data"} <= set(answer.struct.__struct_fields__)
    }

    assert found == LISTS | {
        "listModels",
        "listDeliveries",
        "listScanFeedback",
        "lookUp",
        "lookUpRange",
    }


async def test_what_is_anothers_is_not_there_and_stays_as_it_is(town: Town) -> None:
    before = await town.api.rows()

    wrong = {}
    for operation in BY_ID:
        for ids in mixtures(operation, town):
            answer = await town.ask(operation, ids, town.other)
            if (answer.status_code, answer.json().get("code")) != (404, "not_found"):
                wrong[operation.id, *ids] = answer.text

    assert wrong == {}
    assert unchanged(await town.api.rows(), before)


def mixtures(operation: Operation, town: Town) -> Iterator[dict[str, str]]:
    """Yield ids of which at least one is another's."""
    names = [name for name in operation.parameters if name in OWNED]
    for owners in product((town.of_acme, town.of_other), repeat=len(names)):
        if town.of_acme in owners:
            yield {name: owner[name] for name, owner in zip(names, owners, strict=True)}


def unchanged(after: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """True if every table is as before, but for when a key was last used."""
    assert {name: rows for name, rows in after.items() if name != "keys"} == {
        name: rows for name, rows in before.items() if name != "keys"
    }
    return True


async def test_lists_have_nothing_of_another(town: Town) -> None:
    third = await town.api.key("third")
    asked = {one.id: one for one in schema.OPERATIONS}

    for name in LISTS:
        theirs = (await town.ask(asked[name], {}, town.other)).json()["data"]
        nobodys = (await town.ask(asked[name], {}, third)).json()["data"]
        assert theirs, name
        assert nobodys == [], name
        assert not {one["id"] for one in theirs} & set(town.of_acme.values())


async def test_filters_find_nothing_of_another(town: Town) -> None:
    for query in (
        {"batch_id": town.of_acme["batch_id"]},
        {"sha256": "ab" * 32, "limit": "100"},
        {"verdict": "likely_ai", "limit": "100"},
    ):
        answer = await town.api.client.get("/v1/scans", params=query, headers=town.other)

        found = {scan["id"] for scan in answer.json()["data"]}
        assert town.of_acme["scan_id"] not in found
        assert {scan["batch_id"] for scan in answer.json()["data"]} <= {
            None,
            town.of_other["batch_id"],
        }


async def test_idempotency_key_of_another_is_another(town: Town) -> None:
    for path, body in (("/v1/scans", {"url": URL}), ("/v1/webhooks", {"url": HOOK})):
        once = {"idempotency-key": f"the-same-{path}"}

        acme, again, other = [
            await town.api.client.post(path, json=body, headers={**key, **once})
            for key in (town.acme, town.acme, town.other)
        ]

        assert acme.json()["id"] == again.json()["id"] != other.json()["id"]


async def test_upload_of_another_is_not_there_and_stays_its_owners(town: Town) -> None:
    answer = await town.api.client.post(
        "/v1/uploads", content=b"an image", headers={**town.acme, "content-type": "image/png"}
    )
    named = {"upload_id": answer.json()["id"]}
    before = await town.api.rows()

    scan = await town.api.client.post("/v1/scans", json=named, headers=town.other)
    untouched = await town.api.rows()
    batch = await post(town.api, town.other, "/v1/batches", {"scans": [named]})
    (line,) = await results(town.api, town.other, batch["id"])

    assert (scan.status_code, scan.json()["code"]) == (410, "expired")
    assert unchanged(untouched, before)
    assert (line["scan"], line["problem"]["code"]) == (None, "expired")
    assert (await town.api.rows())["scans"] == before["scans"]
    mine = await town.api.client.post("/v1/scans", json=named, headers=town.acme)
    assert mine.status_code == 202, mine.text


async def test_nobody_asks_without_a_key_once_there_is_one(town: Town) -> None:
    before = await town.api.rows()

    for operation in GUARDED:
        answer = await town.ask(operation, town.of_acme, {})

        assert (answer.status_code, answer.json()["code"]) == (401, "auth_missing"), operation.id
        assert answer.headers["www-authenticate"] == "Bearer"
    assert unchanged(await town.api.rows(), before)


async def test_scopes_are_what_the_document_says(town: Town) -> None:
    """Each operation but with each scope alone: 403 where it is not listed, and only there."""
    keys = {scope: await town.api.key("acme", scope) for scope in Scope}
    before = await town.api.rows()

    wrong = {}
    for operation in SCOPED:
        for scope, key in keys.items():
            if scope not in (*(operation.scopes or ()), Scope.ADMIN):
                answer = await town.ask(operation, town.of_acme, key)
                if (answer.status_code, answer.json().get("code")) != (403, "scope_missing"):
                    wrong[operation.id, scope] = answer.text

    assert wrong == {}
    assert unchanged(await town.api.rows(), before)
    for operation in sorted(SCOPED, key=lambda one: LAST.index(one.id) if one.id in LAST else -1):
        for scope in (*(operation.scopes or ()), Scope.ADMIN):
            answer = await town.ask(operation, town.of_acme, keys[scope])
            if answer.status_code in (401, 403) or answer.status_code >= 500:
                wrong[operation.id, scope] = answer.text
    assert wrong == {}


async def test_publishable_key_does_little(town: Town) -> None:
    made = await town.api.made(
        "acme", Scope.SCAN, kind=Kind.PUBLISHABLE, origins=("https://acme.example",)
    )
    key = {"authorization": f"Bearer {made.text}"}

    taken, left = set(), set()
    for operation in GUARDED:
        answer = await town.ask(operation, town.of_acme, key)
        (left if answer.status_code == 403 else taken).add(operation.id)

    assert taken == PUBLIC
    assert left == {one.id for one in GUARDED} - PUBLIC
