"""Signed requests through the API: what was signed is done once; what was changed, kept or cut does nothing."""

import asyncio
import io
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from service.access import signatures
from service.access.http import Viewing
from service.access.nonces import replays
from service.client.credentials import Credential, Ed25519Credential, HmacCredential, WalletCredential
from service.client.signing import Message
from tests.access.desk import key_id, sql
from tests.access.signing import AUTHORITY, Signing, digest_of, new_signing, register
from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASSETS = "/v1/assets"
BODY = b'{"name":"12 Harbour Street","category":"house"}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def signings(shared: World) -> AsyncIterator[dict[str, Signing]]:
    """A credential of each kind, of the caller of the world's key."""
    made = {kind: new_signing(kind) for kind in ("ed25519", "hmac", "wallet")}
    for signing in made.values():
        await registered(shared, signing)
    yield made


async def registered(world: World, signing: Signing, **changed: Any) -> Signing:
    await register(world.db, world.settings, signing, like_key=world.key.split("_")[2][:11], **changed)
    return signing


@pytest_asyncio.fixture(loop_scope="module")
async def signing(signings: dict[str, Signing]) -> Signing:
    return signings["ed25519"]


async def send(
    world: World, headers: Any, method: str = "POST", path: str = ASSETS, body: Any = BODY
) -> httpx.Response:
    return await world.client.request(method, path, headers=headers, content=body)


def order(signing: Signing, path: str = ASSETS, body: bytes = BODY, **given: Any) -> dict[str, str]:
    headers = {"idempotency-key": secrets.token_urlsafe(8), **given.pop("headers", {})}
    return signing.headers("POST", path, body, headers=headers, **given)


async def assets_count(world: World) -> int:
    ((count,),) = await world.db.fetch("SELECT count(*) FROM assets", ())
    return int(count)


@pytest.mark.parametrize("kind", ["ed25519", "hmac", "wallet"])
async def test_a_signed_request_is_done_and_no_second_time(
    shared: World, signings: dict[str, Signing], kind: str
) -> None:
    headers, before = order(signings[kind]), await assets_count(shared)
    assert (await send(shared, headers)).status_code == 201
    replayed = problem(await send(shared, headers), "nonce-replayed")
    assert set(replayed) == {"type", "title", "status", "detail", "instance"}
    assert await assets_count(shared) == before + 1
    read = await send(shared, signings[kind].headers("GET", f"{ASSETS}?limit=5"), "GET", f"{ASSETS}?limit=5", None)
    assert read.status_code == 200


async def test_what_our_client_signs_is_taken(shared: World, signings: dict[str, Signing]) -> None:
    ed25519, hmac, wallet = signings.values()
    credentials: list[Credential] = [
        Ed25519Credential(ed25519.key_id, ed25519.secret),
        HmacCredential(hmac.key_id, hmac.secret.hex()),
        WalletCredential.of_private_key(31_337, wallet.secret),
    ]
    for number, credential in enumerate(credentials):
        sent = {"content-type": "application/json", "idempotency-key": f"client-{number}"}
        message = Message("POST", f"http://{AUTHORITY}{ASSETS}", sent, BODY)
        assert (await send(shared, {**sent, **credential.headers(message, time.time())})).status_code == 201


async def test_a_retry_signs_anew_under_the_same_idempotency_key(shared: World, signing: Signing) -> None:
    key = {"idempotency-key": "the-same"}
    first, again = [await send(shared, order(signing, headers=key)) for _ in range(2)]
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()


async def test_of_many_copies_at_once_one_is_done(shared: World, signing: Signing) -> None:
    headers = order(signing)
    answers = await asyncio.gather(*(send(shared, headers) for _ in range(16)))
    assert sorted(each.status_code for each in answers) == [201, *[401] * 15]
    for answer in answers:
        if answer.status_code == 401:
            problem(answer, "nonce-replayed")


@pytest.mark.parametrize("age_s", [90, -90, 66, -7])
async def test_a_signature_that_is_not_of_now_is_told_our_clock(shared: World, signing: Signing, age_s: int) -> None:
    told = problem(await send(shared, order(signing, at=int(time.time()) - age_s)), "signature-stale")
    assert abs(told["server_time"] - time.time()) < 5


@pytest.mark.parametrize("age_s", [58, -3])
async def test_a_clock_that_is_a_little_off_does_no_harm(shared: World, signing: Signing, age_s: int) -> None:
    assert (await send(shared, order(signing, at=int(time.time()) - age_s))).status_code == 201


async def test_a_credential_may_have_a_window_of_its_own(shared: World) -> None:
    short, long = [await registered(shared, new_signing(), limits={"window_s": each}) for each in (30, 120)]
    problem(await send(shared, order(short, at=int(time.time()) - 40)), "signature-stale")
    at = int(time.time()) - 100
    assert (await send(shared, order(long.but(expires=at + 120), at=at))).status_code == 201


async def test_a_signature_ends_when_it_says(shared: World, signing: Signing) -> None:
    at = int(time.time()) - 20
    problem(await send(shared, order(signing.but(expires=at + 10), at=at)), "signature-stale")


def mangled(signing: Signing) -> dict[str, tuple[Any, ...]]:
    """Requests that differ in one thing from a good one: headers, and what else is not as usual."""
    good = order(signing)
    lines = list(good.items())
    other = new_signing()
    fewer = [name for name in signing.components if name != "@query"]
    return {
        "another body": (good, "POST", ASSETS, BODY.replace(b"12", b"13")),
        "no body": (good, "POST", ASSETS, None),
        "another method": (good, "GET", ASSETS),
        "another path": (good, "POST", "/v1/accounts"),
        "a query": (good, "POST", f"{ASSETS}?dry_run=1"),
        "a query uncovered": (order(replace(signing, components=fewer), f"{ASSETS}?a=1"), "POST", f"{ASSETS}?a=2"),
        "escaped otherwise": (order(signing, "/v1/assets"), "POST", "/v1/%61ssets"),
        "another idempotency key": ({**good, "idempotency-key": "other"},),
        "no idempotency key": ({k: v for k, v in lines if k != "idempotency-key"},),
        "a digest of another body": ({**good, "content-digest": digest_of(b"{}")},),
        "no digest": ({k: v for k, v in lines if k != "content-digest"},),
        "another digest too": ([*lines, ("content-digest", digest_of(b"{}"))],),
        "another type": ({**good, "content-type": "text/plain"},),
        "a type twice": ([*lines, ("content-type", "application/json")],),
        "an idempotency key twice": ([*lines, ("idempotency-key", "other")],),
        "no signature": ({k: v for k, v in lines if k != "signature"},),
        "no signature input": ({k: v for k, v in lines if k != "signature-input"},),
        "two signatures": ([*lines, ("signature", good["signature"])],),
        "two inputs": ([*lines, ("signature-input", good["signature-input"])],),
        "two labels": (
            {
                **good,
                "signature": f"{good['signature']}, {good['signature'].replace('sig1', 'sig2')}",
                "signature-input": f"{good['signature-input']}, {good['signature-input'].replace('sig1', 'sig2')}",
            },
        ),
        "another label": ({**good, "signature": good["signature"].replace("sig1", "sig2")},),
        "another time": ({**good, "signature-input": good["signature-input"].replace("created=1", "created=2")},),
        "another nonce": ({**good, "signature-input": good["signature-input"].replace('nonce="', 'nonce="a')},),
        "an order of its own": (
            {
                **good,
                "signature-input": good["signature-input"].replace('"@method" "@authority"', '"@authority" "@method"'),
            },
        ),
        "a key beside it": ({**good, "authorization": "Bearer munsk_test_x"},),
        "another host": (order(replace(signing, authority="evil.example")),),
        "the host that was called": (order(replace(signing, authority="api")),),
        "unknown algorithm": (order(signing.but(alg="rsa-pss-sha512")),),
        "another algorithm": (order(signing.but(alg="hmac-sha256")),),
        "public key as a secret": (order(Signing("hmac", signing.key_id, signing.public_key)),),
        "another's key": (order(replace(other, key_id=signing.key_id)),),
        "a key nobody has": (order(other),),
        "no key": (order(signing.but(keyid=None)),),
        "a bearer key's id": (order(replace(other, key_id="A" * 11)),),
        "no tag": (order(signing.but(tag=None)),),
        "a wallet nobody has": (order(new_signing("wallet")),),
        "a wallet's name": (order(signing.but(keyid="erc8128:31337:0x" + "11" * 20)),),
        "a long life": (order(signing.but(expires=int(time.time()) + 1_000)),),
        "an input without end": ({**good, "signature-input": good["signature-input"] + ';x="' + "a" * 6_000 + '"'},),
        "many components": ({**good, "signature-input": good["signature-input"].replace("(", "(" + '"x" ' * 1_000)},),
        **{
            f"{odd!r} in {name}": ({**good, name: good[name].encode() + odd.encode()},)
            for name in ("signature", "signature-input", "content-digest", "idempotency-key")
            for odd in ("\0", "\u202e", "\uff11")
        },
        "an approval twice": ([*lines, *[("muniment-approval", "x")] * 2],),
        "latin": ({**good, "idempotency-key": "caf\u00e9".encode("latin-1")},),
    }


async def test_whatever_is_not_as_it_was_signed_is_refused_alike_and_does_nothing(
    shared: World, signing: Signing
) -> None:
    usual = await shared.client.post(ASSETS, content=BODY)
    expected, before = problem(usual, "unauthorized"), await assets_count(shared)
    for name, asked in mangled(signing).items():
        answer = await send(shared, *asked)
        assert answer.status_code == 401, name
        assert {**problem(answer, "unauthorized"), "instance": ""} == {**expected, "instance": ""}, name
        assert sorted(answer.headers) == sorted(usual.headers), name
    assert await assets_count(shared) == before


@pytest.mark.parametrize("kind", ["ed25519", "hmac", "wallet"])
async def test_nothing_that_signs_for_a_deleted_caller_opens_anything(shared: World, kind: str) -> None:
    first_key, signing = shared.key, new_signing(kind)
    shared.key = await shared.new_issuer(f"Gone Estates {kind}")
    await registered(shared, signing)
    assert (await send(shared, order(signing))).status_code == 201
    await sql(
        shared,
        "UPDATE callers SET deleted_at = now() WHERE id = (SELECT caller_id FROM credentials WHERE id = :id)",
        id=key_id(shared.key),
    )
    shared.key = first_key
    problem(await send(shared, order(signing)), "unauthorized")


async def test_a_refused_signature_spends_no_nonce(shared: World, signing: Signing) -> None:
    headers = order(signing)
    for _ in range(2):
        problem(await send(shared, headers, body=BODY + b" "), "unauthorized")
    assert (await send(shared, headers)).status_code == 201


async def test_the_host_and_forwarded_headers_prove_nothing(shared: World, signing: Signing) -> None:
    headers = {**order(signing), "host": "evil.example", "x-forwarded-host": "evil.example", "forwarded": "host=evil"}
    assert (await send(shared, headers)).status_code == 201
    lured = order(replace(signing, authority="evil.example"))
    problem(await send(shared, {**lured, "host": "evil.example"}), "unauthorized")


async def test_a_body_in_chunks_is_the_same_body(shared: World, signing: Signing) -> None:
    async def pieces(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 7):
            yield body[start : start + 7]

    assert (await send(shared, order(signing), body=pieces(BODY))).status_code == 201
    problem(await send(shared, order(signing), body=pieces(BODY.replace(b"12", b"13"))), "unauthorized")


async def test_an_empty_body_needs_no_digest_and_must_fit_one_that_is_there(shared: World, signing: Signing) -> None:
    for headers, good in (
        ({}, True),
        ({"content-digest": digest_of(b"")}, True),
        ({"content-digest": digest_of(b"x")}, False),
    ):
        made = signing.headers("GET", "/v1/status", headers=headers)
        answer = await send(shared, made, "GET", "/v1/status", None)
        assert answer.status_code == (200 if good else 401)


async def test_a_sha_512_digest_will_do(shared: World, signing: Signing) -> None:
    assert (
        await send(shared, order(signing, headers={"content-digest": digest_of(BODY, "sha-512")}))
    ).status_code == 201


@pytest.mark.parametrize(
    ("changed", "slug"),
    [
        ({"revoked_at": "now"}, "unauthorized"),
        ({"suspended_at": "now"}, "unauthorized"),
        ({"expires_at": "now"}, "key-expired"),
        ({"environment": "live"}, "unauthorized"),
        ({"limits": {"networks": ["203.0.113.0/24"]}}, "unauthorized"),
        ({"scopes": ["metrics"]}, "scope-missing"),
    ],
)
async def test_a_good_signature_opens_what_its_credential_does(
    shared: World, changed: dict[str, Any], slug: str
) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    given = {name: past if value == "now" else value for name, value in changed.items()}
    made = await registered(shared, new_signing(), **given)
    problem(await send(shared, order(made)), slug)


async def test_a_wallet_that_two_callers_claim_signs_for_neither(shared: World) -> None:
    wallet, first_key = await registered(shared, new_signing("wallet")), shared.key
    assert (await send(shared, order(wallet))).status_code == 201
    shared.key = await shared.new_issuer("Quay Estates")
    await registered(shared, wallet)
    shared.key = first_key
    problem(await send(shared, order(wallet)), "unauthorized")


async def test_what_a_wallet_signed_is_not_done_again_under_its_next_credential(shared: World) -> None:
    wallet = await registered(shared, new_signing("wallet"))
    headers = order(wallet)
    assert (await send(shared, headers)).status_code == 201
    await registered(shared, wallet)
    problem(await send(shared, headers), "nonce-replayed")


async def test_no_signature_is_in_a_log(shared: World, log: io.StringIO) -> None:
    signing = await registered(shared, new_signing())
    headers = order(signing)
    for _ in range(4):
        await send(shared, headers)
    told = log.getvalue()
    assert "nonces_replayed" in told
    assert signing.key_id in told
    assert headers["signature"][6:30] not in told
    assert (await replays(shared.db)).alarming_count >= 1


async def test_the_api_tells_how_to_sign() -> None:
    app = FastAPI()

    @app.post("/made")
    async def make(caller: Viewing) -> None:
        del caller

    document = app.openapi()
    scheme = document["components"]["securitySchemes"]["httpSignature"]
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "Signature")
    assert scheme["x-http-message-signature"] == {"profile": "muniment-1", "components": list(signatures.COMPONENTS)}
    assert document["paths"]["/made"]["post"]["security"] == [{"ApiKey": []}, {"httpSignature": []}]
