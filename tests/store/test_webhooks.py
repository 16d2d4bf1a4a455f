"""The outbox, endpoints and deliveries in SQL, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest
import sqlalchemy as sa

from sdk.wire import (
    Delivery,
    DeliveryState,
    EndpointState,
    EventData,
    EventType,
    Input,
    InputKind,
    Scan,
    Status,
)
from server import ids
from server.rules.deliveries import Answer, Health, Next
from server.rules.webhooks import Change, Hook, Signing, new_secret
from server.store import webhooks
from server.store.deliveries import Claimed, SqlDeliveries
from server.store.engine import Database
from server.store.tables import AuditRow, DeliveryRow, EndpointRow, EventRow
from server.store.webhooks import NewEvent, SqlWebhooks
from tests.fakes import ManualClock

pytestmark = pytest.mark.anyio

OK = Answer(status=200)
BAD = Answer(status=500, reason="h.com answered with status 500.")
GONE = Answer(status=410, reason="h.com answered with status 410.")
DONE = Next(at=None, health=Health())
LEASE_SECONDS = 45.0


@pytest.fixture
def store(database: Database) -> SqlWebhooks:
    return SqlWebhooks(database)


@pytest.fixture
def courier(database: Database, clock: ManualClock) -> Taker:
    return Taker(database, clock)


class Taker:
    """What a courier does with the store, in few words."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.deliveries = SqlDeliveries(database)
        self.clock = clock

    async def claim(self, *, limit: int = 100, but_not: Sequence[str] = ()) -> list[Claimed]:
        return await self.deliveries.claim(
            now=self.clock.now(),
            lease_seconds=LEASE_SECONDS,
            limit=limit,
            per_endpoint=2,
            but_not=but_not,
        )

    async def record(self, claimed: Claimed, answer: Answer, following: Next) -> Next | None:
        return await self.deliveries.record(
            claimed, answer, decide=lambda _: following, now=self.clock.now()
        )


async def hook(
    store: SqlWebhooks,
    clock: ManualClock,
    *,
    owner: str = "ada",
    url: str = "https://ada.example/hook",
    events: tuple[EventType, ...] = (),
) -> Hook:
    made = Hook(
        id=ids.new("whk", clock.now()),
        owner=owner,
        url=url,
        events=events,
        secrets=(Signing(new_secret()),),
        created_at=clock.now(),
    )
    assert await store.add_endpoint(made, limit=50, actor="key_1")
    return made


def scan_event(
    clock: ManualClock,
    *,
    owner: str = "ada",
    sequence: int = 4,
    scan_id: str | None = None,
    callback_url: str | None = None,
) -> NewEvent:
    scan = Scan(
        id=scan_id or ids.scan_id(clock.now()),
        status=Status.COMPLETED,
        input=Input(kind=InputKind.URL),
        sequence=sequence,
        created_at=ids.rfc3339(clock.now()),
    )
    return NewEvent(
        owner=owner,
        type=EventType.SCAN_COMPLETED,
        subject=scan.id,
        sequence=sequence,
        data=EventData(scan=scan),
        callback_url=callback_url,
    )


async def tell(database: Database, clock: ManualClock, *events: NewEvent) -> int:
    def work(connection: sa.Connection) -> int:
        return webhooks.add(connection, events, now=clock.now())

    return await database.write(work)


async def rows(database: Database, table: type) -> int:
    found = await database.rows(sa.select(sa.func.count()).select_from(table))
    return int(found[0][0])


async def only_delivery(store: SqlWebhooks, endpoint: Hook) -> Delivery:
    (found,) = await store.deliveries(endpoint.owner, endpoint.id, before=None, limit=10)
    return found


# --- the outbox ----------------------------------------------------------------------------


async def test_add_writes_nothing_for_an_owner_whom_nobody_listens_for(
    database: Database, store: SqlWebhooks, clock: ManualClock
) -> None:
    await hook(store, clock, owner="somebody-else")

    assert await tell(database, clock, scan_event(clock)) == 0
    assert await rows(database, EventRow) == 0


async def test_one_fact_is_one_event_however_often_it_is_told(
    database: Database, store: SqlWebhooks, clock: ManualClock
) -> None:
    await hook(store, clock)
    await hook(store, clock, url="https://ada.example/other")
    fact = scan_event(clock)

    assert await tell(database, clock, fact, fact) == 2
    clock.advance(5)
    assert await tell(database, clock, fact) == 0
    assert await tell(database, clock, scan_event(clock, scan_id=fact.subject, sequence=5)) == 2
    assert await rows(database, EventRow) == 2


async def test_add_is_undone_with_the_transaction_of_the_fact(
    database: Database, store: SqlWebhooks, clock: ManualClock
) -> None:
    await hook(store, clock)

    def work(connection: sa.Connection) -> None:
        webhooks.add(connection, [scan_event(clock)], now=clock.now())
        raise KeyError("something else of this transaction")

    with pytest.raises(KeyError):
        await database.write(work)
    assert await rows(database, EventRow) == await rows(database, DeliveryRow) == 0


async def test_event_goes_to_those_endpoints_that_want_its_type(
    database: Database, store: SqlWebhooks, clock: ManualClock, courier: Taker
) -> None:
    wants = await hook(store, clock, events=(EventType.SCAN_COMPLETED, EventType.SCAN_FAILED))
    wants_all = await hook(store, clock)
    await hook(store, clock, events=(EventType.SCAN_FAILED,))

    await tell(database, clock, scan_event(clock))

    assert {claimed.endpoint_id for claimed in await courier.claim()} == {wants.id, wants_all.id}


async def test_callback_url_hears_of_its_scan_alone_signed_with_the_owners_callback_secret(
    database: Database, store: SqlWebhooks, clock: ManualClock, courier: Taker
) -> None:
    called = scan_event(clock, callback_url="https://ada.example/once")
    assert await tell(database, clock, called, scan_event(clock)) == 1

    (claimed,) = await courier.claim()

    secret = (await store.callback("ada", new_secret(), now=clock.now())).secrets[0]
    assert (claimed.url, claimed.secrets) == ("https://ada.example/once", (secret,))
    assert await store.endpoints("ada") == []


async def test_callback_url_of_two_owners_is_two_endpoints(
    database: Database, clock: ManualClock, courier: Taker
) -> None:
    url = "https://shared.example/"
    await tell(
        database,
        clock,
        scan_event(clock, callback_url=url),
        scan_event(clock, owner="bob", callback_url=url),
    )

    one, other = await courier.claim()

    assert one.endpoint_id != other.endpoint_id
    assert one.secrets != other.secrets


async def test_callback_url_that_was_given_up_is_tried_for_a_new_scan(
    database: Database, store: SqlWebhooks, clock: ManualClock, courier: Taker
) -> None:
    url = "https://ada.example/once"
    await tell(database, clock, scan_event(clock, callback_url=url))
    (claimed,) = await courier.claim()
    await courier.record(
        claimed, GONE, Next(at=None, health=Health(failing_since=1.0), disabled="Gone.")
    )

    await tell(database, clock, scan_event(clock, callback_url=url))

    (again,) = await courier.claim()
    assert again.endpoint_id == claimed.endpoint_id
    assert again.is_well


async def test_erased_scan_is_in_no_event(
    database: Database, store: SqlWebhooks, clock: ManualClock
) -> None:
    await hook(store, clock)
    erased, kept = scan_event(clock), scan_event(clock)
    await tell(database, clock, erased, kept)

    def work(connection: sa.Connection) -> None:
        webhooks.erase(connection, [erased.subject])

    await database.write(work)

    assert await store.event("ada", erased.id) is None
    assert await store.event("ada", kept.id) is not None
    assert await rows(database, DeliveryRow) == 1


# --- who delivers what ---------------------------------------------------------------------


async def test_delivery_is_taken_once_while_its_lease_lasts_and_again_after(
    database: Database, store: SqlWebhooks, clock: ManualClock, courier: Taker
) -> None:
    await hook(store, clock)
    await tell(database, clock, scan_event(clock))

    (first,) = await courier.claim()
    assert await courier.claim() == []
    clock.advance(LEASE_SECONDS + 1)
    (second,) = await courier.claim()

    assert (first.event_id, first.attempts) == (second.event_id, 1)
    assert second.attempts == 2
    assert await courier.record(first, OK, DONE) is None
    assert await courier.record(second, OK, DONE) == DONE


async def test_two_couriers_at_once_never_take_the_same(
    database: Database, store: SqlWebhooks, clock: ManualClock, courier: Taker
) -> None:
    for number in range(8):
        await hook(store, clock, url=f"https://ada.example/{number}")
    await tell(database, clock, *[scan_event(clock) for _ in range(4)])
    taken: list[str] = []

    async def take() -> None:
        taken.extend(claimed.id for claimed in await courier.claim())

    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(take)

    assert len(taken) == len(set(taken)) == 16


async def test_busy_endpoint_holds_up_no_other(
    database: Database, store: SqlWebhooks, clock: ManualClock, courier: Taker
) -> None:
    slow = await hook(store, clock)
    await tell(database, clock, *[scan_event(clock) for _ in range(50)])
    clock.advance(1)
    quick = await hook(store, clock, owner="bob")
    await tell(database, clock, scan_event(clock, owner="bob"))

    taken = [claimed.endpoint_id for claimed in await courier.claim()]

    assert sorted(taken) == sorted([slow.id, slow.id, quick.id])
    assert await courier.claim() == []


async def test_released_delivery_is_due_at_once_as_if_never_taken(
    database: Database, store: SqlWebhooks, clock: ManualClock, courier: Taker
) -> None:
    await hook(store, clock)
    await tell(database, clock, scan_event(clock))

    await courier.deliveries.release(await courier.claim(), now=clock.now())

    (claimed,) = await courier.claim()
    assert claimed.attempts == 1


async def test_failed_attempt_is_kept_with_its_reason_and_due_again_later(
    database: Database, store: SqlWebhooks, clock: ManualClock, courier: Taker
) -> None:
    endpoint = await hook(store, clock)
    await tell(database, clock, scan_event(clock))
    (claimed,) = await courier.claim()
    again = Next(at=clock.now() + 300, health=Health(failing_since=clock.now()))

    await courier.record(claimed, BAD, again)

    shown = await only_delivery(store, endpoint)
    assert (shown.state, shown.attempts, shown.last_status) == (DeliveryState.PENDING, 1, 500)
    assert shown.last_error == BAD.reason
    assert await courier.claim() == []
    clock.advance(301)
    (second,) = await courier.claim()
    assert not second.is_well
    await courier.record(second, OK, DONE)
    delivered = await only_delivery(store, endpoint)
    assert (delivered.state, delivered.last_error) == (DeliveryState.DELIVERED, None)
    assert delivered.next_attempt_at is None


# --- disabled, and well again --------------------------------------------------------------


async def test_disabled_endpoint_misses_nothing(
    database: Database, store: SqlWebhooks, clock: ManualClock, courier: Taker
) -> None:
    endpoint = await hook(store, clock)
    await tell(database, clock, scan_event(clock))
    off = Change(state=EndpointState.DISABLED, disabled_reason="Disabled by its owner.")
    await store.change("ada", endpoint.id, off, now=clock.now(), actor="key_1")
    await tell(database, clock, scan_event(clock))

    assert await courier.claim() == []
    on = Change(state=EndpointState.ENABLED)
    enabled = await store.change("ada", endpoint.id, on, now=clock.now(), actor="key_1")

    assert enabled is not None
    assert enabled.disabled_reason is None
    assert len(await courier.claim()) == 2


async def test_disabling_tells_the_owners_other_endpoints_once(
    database: Database, store: SqlWebhooks, clock: ManualClock, courier: Taker
) -> None:
    broken = await hook(store, clock, events=(EventType.SCAN_COMPLETED,))
    await tell(database, clock, *[scan_event(clock) for _ in range(2)])
    other = await hook(store, clock, url="https://ada.example/other")
    one, two = await courier.claim()
    gone = Next(at=None, health=Health(failing_since=clock.now()), disabled="It is gone.")

    await courier.record(one, GONE, gone)
    await courier.record(two, GONE, gone)

    told = await only_delivery(store, other)
    assert told.event_type is EventType.WEBHOOK_DISABLED
    event = await store.event("ada", told.event_id)
    assert event is not None
    assert event.event.data.endpoint is not None
    assert event.event.data.endpoint.id == broken.id
    assert event.event.data.endpoint.disabled_reason == "It is gone."
    assert event.event.data.endpoint.secret is None


async def test_delivery_that_raced_with_a_change_of_its_endpoint_is_mended(
    database: Database, store: SqlWebhooks, clock: ManualClock, courier: Taker
) -> None:
    endpoint = await hook(store, clock)
    await tell(database, clock, scan_event(clock))

    def race(connection: sa.Connection) -> None:
        connection.execute(sa.update(DeliveryRow).values(next_at=None))

    await database.write(race)
    assert await courier.claim() == []

    await courier.deliveries.mend(now=clock.now())
    clock.advance(7)

    assert await courier.deliveries.mend(now=clock.now()) == pytest.approx(7)
    assert [claimed.endpoint_id for claimed in await courier.claim()] == [endpoint.id]


# --- what callers see ----------------------------------------------------------------------


async def test_owner_has_at_most_so_many_endpoints(store: SqlWebhooks, clock: ManualClock) -> None:
    made = await hook(store, clock)
    another = Hook(id=ids.new("whk", 1.0), owner="ada", url="https://b.example/", created_at=1.0)

    assert not await store.add_endpoint(another, limit=1, actor="key_1")
    assert [one.id for one in await store.endpoints("ada")] == [made.id]


async def test_rotated_out_secret_signs_a_day_more(
    database: Database, store: SqlWebhooks, clock: ManualClock, courier: Taker
) -> None:
    endpoint = await hook(store, clock)
    old, new = endpoint.secrets[0].secret, new_secret()

    rotated = await store.rotate("ada", endpoint.id, new, now=clock.now(), actor="key_1")

    assert rotated is not None
    assert rotated.secrets == (Signing(new), Signing(old, clock.now() + 86_400))
    await tell(database, clock, scan_event(clock))
    (claimed,) = await courier.claim()
    assert claimed.secrets == rotated.secrets


async def test_callback_secret_stays_the_same_until_rotated(
    store: SqlWebhooks, clock: ManualClock
) -> None:
    first = await store.callback("ada", new_secret(), now=clock.now())
    again = await store.callback("ada", new_secret(), now=clock.now())
    bobs = await store.callback("bob", new_secret(), now=clock.now())

    assert first == again
    assert bobs.secrets != first.secrets


async def test_other_owners_endpoint_does_not_exist(
    database: Database, store: SqlWebhooks, clock: ManualClock
) -> None:
    endpoint = await hook(store, clock)
    fact = scan_event(clock)
    await tell(database, clock, fact)
    delivery = await only_delivery(store, endpoint)
    off, now = Change(state=EndpointState.DISABLED), clock.now()

    assert await store.endpoint("bob", endpoint.id) is None
    assert await store.endpoints("bob") == []
    assert await store.change("bob", endpoint.id, off, now=now, actor="x") is None
    assert await store.rotate("bob", endpoint.id, "s", now=now, actor="x") is None
    assert not await store.remove("bob", endpoint.id, now=now, actor="x")
    assert await store.deliveries("bob", endpoint.id, before=None, limit=9) == []
    assert await store.delivery("bob", endpoint.id, delivery.id) is None
    assert await store.event("bob", fact.id) is None
    assert await store.endpoint("ada", endpoint.id) == endpoint


async def test_acts_are_in_the_audit_log_without_urls_and_secrets(
    database: Database, store: SqlWebhooks, clock: ManualClock
) -> None:
    endpoint = await hook(store, clock)
    await store.rotate("ada", endpoint.id, new_secret(), now=clock.now(), actor="key_1")
    await store.remove("ada", endpoint.id, now=clock.now(), actor="key_1")

    found = await database.rows(sa.select(AuditRow.action, AuditRow.detail_json))

    assert sorted(row.action for row in found) == [
        "webhook.create",
        "webhook.delete",
        "webhook.rotate",
    ]
    assert not any("http" in row.detail_json or "whsec" in row.detail_json for row in found)
    assert await rows(database, EndpointRow) == 0


async def test_retain_forgets_events_and_callbacks_that_are_old(
    database: Database, store: SqlWebhooks, clock: ManualClock, courier: Taker
) -> None:
    await hook(store, clock)
    await tell(database, clock, scan_event(clock, callback_url="https://ada.example/once"))
    clock.advance(100)
    kept = scan_event(clock)
    await tell(database, clock, kept)

    assert await courier.deliveries.retain(clock.now() - 50) == 1

    assert await store.event("ada", kept.id) is not None
    assert await rows(database, DeliveryRow) == 1
    assert await rows(database, EndpointRow) == 2  # the listed one, and the callback secret
