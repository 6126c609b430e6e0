"""Ten thousand requests that somebody caught, kept, changed or cut: all are refused alike, none reaches a handler."""

import asyncio
import itertools
import json
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import pytest
from fastapi import routing

from service.access.rates import quotas_of
from tests.access.desk import NOTICES, key_id
from tests.access.signing import Signing, digest_of, new_signing, register
from tests.web.shared import log, shared
from tests.world import World

__all__ = ["log", "shared"]

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

COUNT = 10_000
GOOD = 300
AT_ONCE = 16

ID = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"
METHODS = {
    "/v1/assets": ("POST", "GET"),
    "/v1/keys": ("POST", "GET"),
    f"/v1/keys/{'k' * 11}": ("PATCH", "GET"),
    **dict.fromkeys((f"/v1/webhooks/{ID}", f"/v1/webhooks/{ID[:-1]}2"), ("DELETE", "PATCH", "GET")),
    "/v1/vault/policies": ("GET", "POST"),
    f"/v1/vault/policies/{ID}": ("PATCH", "GET"),
    **dict.fromkeys((f"/v1/vault/persons/{each}/accounts" for each in (ID, ID[:-1] + "2")), ("PUT", "GET")),
    **dict.fromkeys((f"/v1/tokens/{ID}/{verb}" for verb in ("mint", "burn", "transfer", "forced-transfer")), ("POST",)),
    **dict.fromkeys(("/v1/vault/reveal", "/v1/roles/grant", "/v1/keys/revoke-all"), ("POST",)),
    **dict.fromkeys(("/v1/operations", f"/v1/tokens/{ID}/exports/cap-table", "/v1/transactions"), ("GET",)),
}
"""Paths of several kinds, with their methods; the first is what was caught."""

TRACE = {"access_refusals", "credential_uses", "nonce_replays"}
"""Tables in which refusals are told."""


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

    @property
    def fields(self) -> list[str]:
        """Its headers, those that carry the signature first."""
        return sorted((name for name, _ in self.headers), key=lambda name: "signature" not in name)


def signed(method: str, path: str, signing: Signing, chance: random.Random, **given: Any) -> Sent:
    """A good request."""
    query = "" if method != "GET" else f"limit={chance.randrange(1, 9)}"
    body = b"" if method in ("GET", "DELETE") else b'{"to":"0x%040x","amount":"1"}' % chance.getrandbits(160)
    headers = {"idempotency-key": f"k-{chance.getrandbits(64):x}"}
    target = f"{path}?{query}" if query else path
    return Sent(
        method, path, query, list(signing.headers(method, target, body, headers=headers, **given).items()), body
    )


def caught(signing: Signing, chance: random.Random, *methods: str) -> Sent:
    """A good request to any path, or to one of these methods."""
    path = chance.choice([path for path, (first, *_) in METHODS.items() if not methods or first in methods])
    return signed(METHODS[path][0], path, signing, chance)


def flipped(text: str, chance: random.Random) -> str:
    """A text with another character at one place."""
    at = chance.randrange(len(text))
    return text[:at] + chance.choice([c for c in 'aZ09_-=:"();, ' if c != text[at]]) + text[at + 1 :]


def stale(sent: Sent, signing: Signing, chance: random.Random) -> Sent:
    at = int(time.time()) + chance.choice([-1, 1]) * chance.randrange(70, 100_000)
    return signed(sent.method, sent.path, signing, chance, at=at)


def tampered(sent: Sent, chance: random.Random) -> Sent:
    name = chance.choice(sent.fields[2:])
    return sent.but(**{name.replace("-", "_"): flipped(sent.given(name), chance)})


def uncovered(sent: Sent, chance: random.Random) -> Sent:
    component = chance.choice(re.findall(r'"[@a-z-]+"', sent.given("signature-input").partition(")")[0]))
    return sent.but(signature_input=sent.given("signature-input").replace(component, "", 1))


def doubled(sent: Sent, chance: random.Random) -> Sent:
    name = chance.choice(sent.fields[:2])
    return replace(sent, headers=[*sent.headers, (name, sent.given(name))])


def another_route(sent: Sent, chance: random.Random) -> Sent:
    paths = [path for path, methods in METHODS.items() if sent.method in methods]
    return replace(sent, path=chance.choice([path for path in paths if path != sent.path]))


Change = Callable[[Sent, Signing, random.Random], Sent]
WRITES = ("POST", "PATCH", "PUT")

OF_BODIES: dict[str, Change] = {
    "tampered body": lambda sent, _, chance: replace(sent, body=flipped(sent.body.decode(), chance).encode()),
    "longer body": lambda sent, _, chance: replace(sent, body=sent.body + b" " * chance.randrange(1, 9)),
    "cut body": lambda sent, _, chance: replace(sent, body=sent.body[: chance.randrange(len(sent.body))]),
    "fitting digest": lambda sent, _, chance: replace(sent.but(content_digest=digest_of(b"{}")), body=b"{}"),
}
CHANGES: dict[str, Change] = {
    "stale": stale,
    "added body": lambda sent, _, chance: replace(sent, body=sent.body + b"{}"),
    "tampered header": lambda sent, _, chance: tampered(sent, chance),
    "tampered input": lambda sent, _, chance: sent.but(signature_input=flipped(sent.given("signature-input"), chance)),
    "tampered signature": lambda sent, _, chance: sent.but(signature=flipped(sent.given("signature"), chance)),
    "stripped": lambda sent, _, chance: sent.without(*chance.sample(sent.fields, chance.randrange(1, 3))),
    "uncovered": lambda sent, _, chance: uncovered(sent, chance),
    "another route": lambda sent, _, chance: another_route(sent, chance),
    "another query": lambda sent, _, chance: replace(sent, query=f"limit=1{chance.randrange(9)}"),
    "doubled": lambda sent, _, chance: doubled(sent, chance),
    "another's": lambda sent, _, chance: signed(sent.method, sent.path, new_signing(), chance),
    "another algorithm": lambda sent, signing, chance: signed(
        sent.method, sent.path, replace(signing, kind="hmac" if signing.kind == "ed25519" else "ed25519"), chance
    ),
    "another authority": lambda sent, signing, chance: signed(
        sent.method, sent.path, replace(signing, authority="api.example.org"), chance
    ),
    "a key beside": lambda sent, _, chance: replace(
        sent, headers=[*sent.headers, ("authorization", f"Bearer munsk_test_{chance.getrandbits(300):060x}"[:82])]
    ),
    **OF_BODIES,
}


def another_method(signing: Signing, chance: random.Random) -> Sent:
    """A good request with a method that its path has, too."""
    path = chance.choice([path for path, methods in METHODS.items() if len(methods) > 1])
    first, *others = METHODS[path]
    return replace(signed(first, path, signing, chance), method=chance.choice(others))


def changed(name: str, signing: Signing, chance: random.Random) -> Sent:
    """A good request that was changed so."""
    if name == "another method":
        return another_method(signing, chance)
    return CHANGES[name](caught(signing, chance, *(WRITES if name in OF_BODIES else ())), signing, chance)


class Told(NamedTuple):
    """What somebody was told: status and problem."""

    status: int
    slug: str


@dataclass
class Gate:
    """The API, with a count of the requests that its handlers saw, and of what was told in which form."""

    world: World
    handled: int = 0
    forms: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    async def ask(self, sent: Sent) -> Told:
        """Ask as a server does that has the request in hand."""
        scope = {
            **{"type": "http", "http_version": "1.1", "scheme": "http", "root_path": "", "method": sent.method},
            **{"path": sent.path, "raw_path": sent.path.encode(), "query_string": sent.query.encode()},
            "headers": [(name.encode(), value.encode()) for name, value in sent.headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
        }
        messages: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": sent.body, "more_body": False}

        async def send(message: Any) -> None:
            messages.append(message)

        await self.world.app(scope, receive, send)
        status = int(messages[0]["status"])
        if status < 400:
            return Told(status, "")
        told = json.loads(b"".join(each.get("body", b"") for each in messages[1:]))
        form = {name: value for name, value in told.items() if name not in ("instance", "server_time")}
        names = sorted(name.decode() for name, _ in messages[0]["headers"])
        self.forms[told["type"]].add(json.dumps([form, names]))
        return Told(status, told["type"].removeprefix("/problems/"))

    async def ask_all(self, asked: Iterable[Sent]) -> list[Told]:
        """What each was told, of so many at once."""
        left: Iterator[tuple[int, Sent]] = iter(enumerate(asked))
        told: dict[int, Told] = {}

        async def one_after_another() -> None:
            for number, sent in left:
                told[number] = await self.ask(sent)

        await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))
        return [told[number] for number in sorted(told)]

    async def rows(self) -> dict[str, int]:
        """How many rows each table has, besides those that tell of refusals."""
        tables = await self.world.db.fetch(
            """SELECT table_schema || '.' || table_name, table_name FROM information_schema.tables
            WHERE table_schema IN ('public', 'vault', 'mirror') AND table_type = 'BASE TABLE'""",
            (),
        )
        counts = [f"SELECT '{name}', count(*) FROM {name}" for name, alone in tables if alone not in TRACE]
        rows: dict[str, int] = dict(await self.world.db.fetch(" UNION ALL ".join(counts), ()))
        facts = "SELECT count(*) FROM journal_entries WHERE kind <> ALL(%s)"
        ((told,),) = await self.world.db.fetch(facts, (sorted(NOTICES),))
        return {**rows, "public.journal_entries": told}


@pytest.fixture
def gate(shared: World, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """The API, where so many refusals from one address are no attack."""
    shared.app.state.quotas = quotas_of(shared.settings.model_copy(update={"address_failures_max": 10**6}))
    made, run = Gate(shared), routing.run_endpoint_function

    async def counted(**given: Any) -> Any:
        made.handled += 1
        return await run(**given)

    monkeypatch.setattr(routing, "run_endpoint_function", counted)
    return made


async def test_of_ten_thousand_that_were_replayed_kept_changed_or_cut_none_reaches_a_handler(gate: Gate) -> None:
    signings, chance = [new_signing(kind) for kind in ("ed25519", "hmac", "wallet")], random.Random(9_421)
    for each in signings:
        await register(gate.world.db, gate.world.settings, each, like_key=key_id(gate.world.key))
    good = [signed("GET", "/v1/assets", chance.choice(signings), chance) for _ in range(GOOD)]
    assert set(await gate.ask_all(good)) == {Told(200, "")}
    assert gate.handled == GOOD
    before = await gate.rows()

    kinds = [*CHANGES, "another method"]
    names = ["replayed"] * GOOD + chance.choices(kinds, k=COUNT - GOOD)
    # They are made one by one: what is signed now is old in a minute.
    asked = (changed(name, chance.choice(signings), chance) for name in names[GOOD:])
    told = await gate.ask_all(itertools.chain(good, asked))

    assert len(told) == COUNT
    assert {name: {each for kind, each in zip(names, told, strict=True) if kind == name} for name in set(names)} == {
        **{kind: {Told(401, "unauthorized")} for kind in kinds},
        "stale": {Told(401, "signature-stale")},
        "replayed": {Told(401, "nonce-replayed")},
    }
    assert {slug: len(forms) for slug, forms in gate.forms.items()} == dict.fromkeys(gate.forms, 1)
    assert gate.handled == GOOD
    assert await gate.rows() == before
