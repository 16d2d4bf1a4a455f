"""How keys are written, and who they let in. Pure: what is kept of them is in a dict."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.wire import Scope
from server.refused import Refused
from server.rules import keys as rules
from server.rules.caller import LOCAL, Caller, Limits
from server.rules.keys import Key, KeyRequest, KeysDesk, Kind, is_whole, judge, read_bearer
from tests.fakes import ManualClock

NOW = 1_790_000_000.0
EXTENSION = "chrome-extension://" + "abcdefghijklmnop" * 2


class MemoryKeys:
    """KeyStore over a dict."""

    def __init__(self) -> None:
        self.kept: dict[str, Key] = {}
        self.digests: list[str] = []

    async def add(self, key: Key, *, digest: str, actor: str) -> None:
        self.kept[key.id] = key
        self.digests.append(digest)

    async def all(self) -> list[Key]:
        return list(self.kept.values())

    async def get(self, key_id: str) -> Key | None:
        return self.kept.get(key_id)

    async def revoke(self, key_id: str, *, actor: str, now: float) -> bool:
        raise NotImplementedError

    async def replace(self, old: Key, *, until: float, new: Key, digest: str, actor: str) -> bool:
        raise NotImplementedError


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def desk() -> KeysDesk:
    return KeysDesk(store=MemoryKeys(), clock=ManualClock())


def request(**changes: object) -> KeyRequest:
    fields: dict[str, object] = {"owner": "acme", "name": "bot", "scopes": frozenset({Scope.SCAN})}
    return KeyRequest(**{**fields, **changes})  # type: ignore[arg-type]


def public(*origins: str, **changes: object) -> KeyRequest:
    return request(kind=Kind.PUBLISHABLE, origins=origins, **changes)


async def text_of(request: KeyRequest, desk: KeysDesk) -> str:
    return (await rules.create(request, actor="test", desk=desk)).text


@pytest.mark.anyio
@pytest.mark.parametrize("kind", list(Kind))
async def test_key_is_written_as_its_kind_and_each_is_another(kind: Kind, desk: KeysDesk) -> None:
    asked = request() if kind is Kind.SECRET else public(EXTENSION)

    texts = {await text_of(asked, desk) for _ in range(100)}

    assert len(texts) == 100
    assert all(is_whole(text) and text.startswith(f"{kind}_") for text in texts)
    assert all(len(text) == 3 + 43 + 6 for text in texts)


@pytest.mark.anyio
async def test_hint_shows_how_a_key_begins_and_ends_and_no_more(desk: KeysDesk) -> None:
    made = await rules.create(request(), actor="test", desk=desk)

    begin, _, end = made.key.hint.partition("...")
    assert made.text.startswith(begin)
    assert made.text.endswith(end)
    assert len(made.key.hint) <= 16


@pytest.mark.anyio
async def test_slip_of_the_hand_is_told_from_a_key(desk: KeysDesk) -> None:
    text = await text_of(request(), desk)
    letters = string.ascii_letters + string.digits

    slips = [
        text[:place] + letter + text[place + 1 :]
        for place in range(3, len(text))
        for letter in letters
        if letter != text[place]
    ]
    swaps = [
        text[:place] + text[place + 1] + text[place] + text[place + 2 :]
        for place in range(3, len(text) - 1)
        if text[place] != text[place + 1]
    ]
    cuts = [text[:end] for end in range(len(text))]

    assert not any(map(is_whole, [*slips, *swaps, *cuts, f"{text}0", f" {text}", text.lower()]))


@given(st.text(max_size=80))
def test_no_text_by_chance_is_a_key(text: str) -> None:
    assert not is_whole(text)
    assert not is_whole(f"sk_{text}")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        pytest.param(request(owner=""), "The owner is ''", id="no owner"),
        pytest.param(request(owner="a b"), "The owner is 'a b'", id="owner with a blank"),
        pytest.param(request(owner="a" * 65), "The owner is", id="owner too long"),
        pytest.param(request(name=" "), "The name is", id="no name"),
        pytest.param(request(name="a\nb"), "The name is", id="name of two lines"),
        pytest.param(request(scopes=frozenset()), "no scope", id="no scope"),
        pytest.param(request(lifetime_seconds=0.0), "would live 0 s", id="no time"),
        pytest.param(request(limits=Limits(rate_per_minute=0)), "rate_per_minute is 0", id="rate"),
        pytest.param(request(limits=Limits(parallel=-1)), "parallel is -1", id="parallel"),
        pytest.param(request(origins=(EXTENSION,)), "--publishable", id="origin of a secret key"),
        pytest.param(public(), "needs the origins", id="no origin"),
        pytest.param(public("*"), "The origin is '*'", id="every origin"),
        pytest.param(public("null"), "The origin is 'null'", id="null"),
        pytest.param(public("http://acme.example"), "The origin is", id="not https"),
        pytest.param(public("https://acme.example/"), "The origin is", id="path"),
        pytest.param(public("https://acme.example:443"), "The origin is", id="port of https"),
        pytest.param(public("https://acme.example:x"), "The origin is", id="no port"),
        pytest.param(public("https://*.acme.example"), "The origin is", id="pattern"),
        pytest.param(public("https://Acme.example"), "The origin is", id="capital"),
        pytest.param(public("chrome-extension://abc"), "The origin is", id="no extension"),
        pytest.param(
            public(EXTENSION, scopes=frozenset({Scope.SCAN, Scope.READ})),
            "may only have the scope scan",
            id="public key that reads",
        ),
    ],
)
def test_wrong_request_is_told(asked: KeyRequest, told: str) -> None:
    faults = list(rules.faults_of(asked))

    assert len(faults) == 1
    assert told in faults[0]


@pytest.mark.anyio
async def test_all_faults_are_told_at_once(desk: KeysDesk) -> None:
    with pytest.raises(Refused) as caught:
        await rules.create(request(owner="", name="", scopes=frozenset()), actor="x", desk=desk)

    assert len(caught.value.detail.splitlines()) == 3
    assert await desk.store.all() == []


@pytest.mark.parametrize(
    "origin",
    [
        EXTENSION,
        "https://acme.example",
        "https://acme.example:8443",
        "moz-extension://01234567-89ab-cdef-0123-456789abcdef",
    ],
)
def test_origin_of_a_page_or_an_extension_is_taken(origin: str) -> None:
    assert list(rules.faults_of(public(origin))) == []


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (["Basic abc"], "auth_invalid"),
        (["Bearer"], "auth_invalid"),
        (["Bearer "], "auth_invalid"),
        (["sk_abc"], "auth_invalid"),
        (["Bearer sk_abc"], "auth_invalid"),
        (["Bearer a", "Bearer b"], "auth_invalid"),
        ([""], "auth_invalid"),
    ],
)
def test_header_without_a_key_is_refused_without_being_repeated(
    values: list[str], code: str
) -> None:
    with pytest.raises(Refused, match=code) as caught:
        read_bearer(values)

    assert "sk_abc" not in caught.value.detail


@pytest.mark.anyio
async def test_key_is_read_out_of_its_header(desk: KeysDesk) -> None:
    text = await text_of(request(), desk)

    assert read_bearer([]) is None
    assert read_bearer([f"Bearer {text}"]) == text
    assert read_bearer([f" bearer   {text} "]) == text


def key(**changes: object) -> Key:
    fields: dict[str, object] = {
        "id": "key_1",
        "hint": "",
        "kind": Kind.SECRET,
        "owner": "acme",
        "name": "bot",
        "scopes": frozenset({Scope.SCAN}),
        "origins": (),
        "limits": Limits(rate_per_minute=60),
        "created_at": NOW - 100,
    }
    return Key(**{**fields, **changes})  # type: ignore[arg-type]


PAGE_KEY = key(kind=Kind.PUBLISHABLE, origins=(EXTENSION,))


def test_key_that_works_says_who_asks() -> None:
    assert judge(key(expires_at=NOW + 1), page=None, now=NOW) == Caller(
        owner="acme",
        key_id="key_1",
        scopes=frozenset({Scope.SCAN}),
        expires_at=NOW + 1,
        limits=Limits(rate_per_minute=60),
    )
    assert judge(PAGE_KEY, page=EXTENSION, now=NOW).is_publishable
    assert judge(PAGE_KEY, page=None, now=NOW).is_publishable


@pytest.mark.parametrize(
    ("key", "page", "code"),
    [
        pytest.param(None, None, "auth_invalid", id="unknown"),
        pytest.param(key(revoked_at=NOW - 1), None, "key_revoked", id="revoked"),
        pytest.param(key(expires_at=NOW), None, "key_revoked", id="expired"),
        pytest.param(key(), EXTENSION, "origin_not_allowed", id="secret in a page"),
        pytest.param(PAGE_KEY, "https://evil.example", "origin_not_allowed", id="other page"),
        pytest.param(PAGE_KEY, "", "origin_not_allowed", id="page without a name"),
        pytest.param(PAGE_KEY, "null", "origin_not_allowed", id="page of nowhere"),
    ],
)
def test_key_is_refused(key: Key | None, page: str | None, code: str) -> None:
    with pytest.raises(Refused, match=code):
        judge(key, page=page, now=NOW)


def test_facts_of_a_caller_without_a_key() -> None:
    told = rules.facts(caller=LOCAL)

    assert (told.id, told.owner, told.rate_per_minute) == (None, "local", None)
    assert set(told.scopes) == set(Scope)


@pytest.mark.anyio
@pytest.mark.parametrize("key_id", ["", "key_1", "scan_01KX3Q8RZ07M2V9C4H8T1B6N5D", "x" * 5000])
async def test_id_that_there_is_not_is_told(key_id: str, desk: KeysDesk) -> None:
    with pytest.raises(Refused, match="not_found"):
        await rules.revoke(key_id, actor="test", desk=desk)


@pytest.mark.anyio
@pytest.mark.parametrize("overlap", [-1.0, 31 * 86_400.0, float("nan")])
async def test_overlap_out_of_bounds_is_told(overlap: float, desk: KeysDesk) -> None:
    made = await rules.create(request(), actor="test", desk=desk)

    with pytest.raises(Refused, match="The overlap is"):
        await rules.rotate(made.key.id, overlap_seconds=overlap, actor="test", desk=desk)


@pytest.mark.anyio
async def test_expired_key_is_not_rotated(desk: KeysDesk) -> None:
    made = await rules.create(request(lifetime_seconds=1.0), actor="test", desk=desk)
    desk.clock.advance(2)  # type: ignore[attr-defined]

    with pytest.raises(Refused, match="is expired: make a new one"):
        await rules.rotate(made.key.id, overlap_seconds=1.0, actor="test", desk=desk)
