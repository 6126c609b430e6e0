"""Ten thousand requests that somebody caught, kept, changed or cut: all are refused alike, none is acted on."""

import asyncio
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from starlette.requests import Request

from service.errors import Problem
from tests.access.signing import Signing, digest_of, new_signing, register
from tests.web.shared import log, shared
from tests.world import World

__all__ = ["log", "shared"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNT = 10_000
AT_ONCE = 500
ROUTES = [("POST", f"/v1/tokens/{number}/{verb}") for number in range(20) for verb in ("mint", "burn", "transfer")]


@dataclass(slots=True)
class Sent:
    """A request as it reaches the API."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes

    def without(self, *names: str) -> "Sent":
        return replace(self, headers=[(name, value) for name, value in self.headers if name not in names])

    def given(self, name: str) -> str:
        return next(value for each, value in self.headers if each == name)

    def but(self, **changed: str) -> "Sent":
        told = {name.replace("_", "-"): value for name, value in changed.items()}
        return replace(self, headers=[(name, told.get(name, value)) for name, value in self.headers])


def caught(signing: Signing, chance: random.Random) -> Sent:
    """A good request."""
    method, path = chance.choice(ROUTES)
    query, body = f"wait={chance.randrange(9)}", b'{"to":"0x%040x","amount":"1"}' % chance.getrandbits(160)
    headers = {"idempotency-key": f"k-{chance.getrandbits(64):x}"}
    made = signing.headers(method, f"{path}?{query}", body, headers=headers)
    return Sent(method, path, query, list(made.items()), body)


def flipped(text: str, chance: random.Random) -> str:
    """A text with another character at one place."""
    at = chance.randrange(len(text))
    return text[:at] + chance.choice([c for c in 'aZ09_-=:"();, ' if c != text[at]]) + text[at + 1 :]


def stale(sent: Sent, signing: Signing, chance: random.Random) -> Sent:
    at = int(time.time()) + chance.choice([-1, 1]) * chance.randrange(70, 100_000)
    made = signing.headers(sent.method, f"{sent.path}?{sent.query}", sent.body, headers=dict(sent.headers), at=at)
    return replace(sent, headers=list(made.items()))


Change = Callable[[Sent, Signing, random.Random], Sent]
HEADERS = ("signature", "signature-input", "content-digest", "content-type", "idempotency-key")

CHANGES: dict[str, Change] = {
    "stale": stale,
    "tampered body": lambda sent, _, chance: replace(sent, body=flipped(sent.body.decode(), chance).encode()),
    "longer body": lambda sent, _, chance: replace(sent, body=sent.body + b" " * chance.randrange(1, 9)),
    "cut body": lambda sent, _, chance: replace(sent, body=sent.body[: chance.randrange(len(sent.body))]),
    "tampered header": lambda sent, _, chance: sent.but(
        **{(name := chance.choice(HEADERS[2:])).replace("-", "_"): flipped(sent.given(name), chance)}
    ),
    "tampered input": lambda sent, _, chance: sent.but(signature_input=flipped(sent.given("signature-input"), chance)),
    "tampered signature": lambda sent, _, chance: sent.but(signature=flipped(sent.given("signature"), chance)),
    "fitting digest": lambda sent, _, chance: replace(sent.but(content_digest=digest_of(b"{}")), body=b"{}"),
    "stripped": lambda sent, _, chance: sent.without(*chance.sample(HEADERS, chance.randrange(1, 5))),
    "uncovered": lambda sent, _, chance: sent.but(
        signature_input=sent.given("signature-input").replace(f'"{chance.choice(HEADERS[2:])}"', "")
    ),
    "another route": lambda sent, _, chance: replace(
        sent, path=chance.choice([path for _, path in ROUTES if path != sent.path])
    ),
    "another method": lambda sent, _, chance: replace(sent, method=chance.choice(["PUT", "PATCH", "DELETE", "GET"])),
    "another query": lambda sent, _, chance: replace(sent, query=f"wait=1{chance.randrange(9)}"),
    "doubled": lambda sent, _, chance: replace(
        sent, headers=[*sent.headers, (name := chance.choice(HEADERS), sent.given(name))]
    ),
    "another's": lambda sent, _, chance: replace(
        sent, headers=list(new_signing().headers(sent.method, sent.path, sent.body, headers=dict(sent.headers)).items())
    ),
}


async def outcome(world: World, sent: Sent) -> str:
    """What becomes of a request: `acted on`, or the problem that it is told."""
    scope = {
        "type": "http",
        "app": world.app,
        "method": sent.method,
        "path": sent.path,
        "raw_path": sent.path.encode(),
        "query_string": sent.query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in sent.headers],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": sent.body, "more_body": False}

    state = world.app.state
    try:
        await state.signed_requests.caller_of(Request(scope, receive), state.admission, "127.0.0.1")
    except Problem as problem:
        told = {name: value for name, value in problem.body().items() if name != "server_time"}
        SHAPES[problem.slug].add(json.dumps(told))
        return problem.slug
    return "acted on"


SHAPES: defaultdict[str, set[str]] = defaultdict(set)


async def test_of_ten_thousand_that_were_replayed_kept_changed_or_cut_none_is_acted_on(shared: World) -> None:
    signings, chance = [new_signing(kind) for kind in ("ed25519", "hmac")], random.Random(9_421)
    for each in signings:
        await register(shared.db, shared.settings, each, like_key=shared.key.split("_")[2][:11])
    good = [caught(chance.choice(signings), chance) for _ in range(AT_ONCE)]
    found = [await asyncio.gather(*(outcome(shared, sent) for sent in good)) for _ in range(2)]
    assert found == [["acted on"] * AT_ONCE, ["nonce-replayed"] * AT_ONCE]
    told: Counter[tuple[str, str]] = Counter()
    left = COUNT - AT_ONCE
    while left > 0:
        asked = []
        for _ in range(AT_ONCE):
            name, signing = chance.choice(list(CHANGES)), chance.choice(signings)
            asked.append((name, CHANGES[name](caught(signing, chance), signing, chance)))
        told.update(
            zip((n for n, _ in asked), await asyncio.gather(*(outcome(shared, s) for _, s in asked)), strict=True)
        )
        left -= AT_ONCE
    assert {slug for _, slug in told} == {"unauthorized", "signature-stale"}
    assert {name for name, slug in told if slug == "signature-stale"} == {"stale"}
    assert {name for name, _ in told} == set(CHANGES)
    assert {len(each) for each in SHAPES.values()} == {1}
