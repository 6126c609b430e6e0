"""What does a signature cost the server, beyond the same request with a bearer key? How fast are nonces spent?

A Postgres and the API run in a throw-away folder; the same write, a registered asset, comes with a key and with a
signature of each kind, in turns. Processor time is what counts: of the API's process, and of Postgres beside it. The
limit for a signed write is 1.5 ms of both more than for an unsigned one.
"""

import argparse
import asyncio
import itertools
import json
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from eth_account import Account
from http_message_signatures import HTTPMessageVerifier, MappingKeyResolver
from http_message_signatures.algorithms import ED25519, HMAC_SHA256

from scripts import signals
from scripts.bench_load import send
from scripts.bench_mirror_costs import cpu_s
from scripts.bench_mirror_numbers import Numbers
from scripts.bench_vault_system import System, running
from scripts.local import NotInstalled, ProcessDied
from scripts.stack import CHAIN_ID
from service.access import signatures, signing_secrets
from service.access.apikeys import new_public_id
from service.access.nonces import Nonces, Spent
from service.access.signatures import Target
from service.client.credentials import (
    BearerCredential,
    Credential,
    Ed25519Credential,
    HmacCredential,
    WalletCredential,
)
from service.client.signing import Message

PATH = "/v1/assets"
BODY = json.dumps({"name": "12 Harbour Street", "category": "house"}).encode()
CLIENTS = 8
"""Fewer than the API has connections to Postgres: beyond them requests wait in turn, and come out of it in step."""
LIMIT_MS = 1.5

REGISTER = """INSERT INTO credentials (id, family_id, version, caller_id, environment, kind, name, scopes, activated_at,
    public_key, sealed_secret, account, chain_id)
SELECT %(id)s, gen_random_uuid(), 1, caller_id, environment, %(kind)s, %(kind)s, scopes, now(),
    %(public_key)s, %(sealed_secret)s, %(account)s, %(chain_id)s FROM credentials WHERE kind = 'bearer' LIMIT 1"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    rounds: int
    writes: int
    nonces: int
    checks: int


FULL = Sizes(8, 2_000, 20_000, 3_000)
QUICK = Sizes(4, 400, 4_000, 1_000)
WARM_UP = Sizes(1, 100, 200, 100)


@dataclass(slots=True)
class Bench:
    """A running system with a credential of each kind, and all numbers that were measured, by name."""

    system: System
    api_pid: int
    postgres_pid: int
    sizes: Sizes
    numbers: Numbers
    credentials: dict[str, Credential] = field(default_factory=dict)
    keys: dict[str, bytes] = field(default_factory=dict)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _turn: int = 0

    def register(self) -> None:
        """A credential of each kind, of the caller that has the key."""
        seed, secret, wallet = (secrets.token_bytes(32) for _ in range(3))
        ids = {kind: new_public_id() for kind in ("ed25519", "hmac", "wallet")}
        self.keys = {
            "ed25519": Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw(),
            "hmac": secret,
        }
        sealed = signing_secrets.sealed(self.system.settings.key_encryption_key, ids["hmac"], secret)
        account = bytes.fromhex(Account.from_key(wallet).address[2:])
        proofs: dict[str, dict[str, Any]] = {
            "ed25519": {"public_key": self.keys["ed25519"]},
            "hmac": {"sealed_secret": sealed},
            "wallet": {"account": account, "chain_id": CHAIN_ID},
        }
        nothing = dict.fromkeys(("public_key", "sealed_secret", "account", "chain_id"))
        with psycopg.connect(self.system.database, autocommit=True) as connection:
            for kind, id_ in ids.items():
                connection.execute(REGISTER, {**nothing, "id": id_, "kind": kind, **proofs[kind]})
        self.credentials = {
            "bearer": BearerCredential(self.system.key),
            "ed25519": Ed25519Credential(ids["ed25519"], seed),
            "hmac": HmacCredential(ids["hmac"], secret),
            "wallet": WalletCredential.of_private_key(CHAIN_ID, wallet),
        }

    def headers(self, kind: str) -> dict[str, str]:
        """Of one write that was never sent before."""
        sent = {"content-type": "application/json", "idempotency-key": f"bench-{next(self._numbers)}"}
        message = Message("POST", f"{self.system.url}{PATH}", sent, BODY)
        if kind != "bearer":
            made = self.credentials[kind].headers(message, time.time())
            message = Message(message.method, message.url, {**sent, **_lower(made)}, BODY)
            return {**sent, **_lower(made)}
        return {**sent, **_lower(self.credentials[kind].headers(message, time.time()))}

    def of_writes(self) -> None:
        """One round over HTTP, each kind in turn."""
        kinds = list(self.credentials)
        first = self._turn % len(kinds)  # whatever comes first in a round pays for what was cold
        self._turn += 1
        for kind in kinds[first:] + kinds[:first]:
            requests = [_written(self.system, self.headers(kind)) for _ in range(self.sizes.writes)]
            began = (cpu_s(self.api_pid), cpu_s(self.postgres_pid))
            answers = send(self.system.url, requests, clients=CLIENTS, status=201)
            api, postgres = (cpu_s(self.api_pid) - began[0], cpu_s(self.postgres_pid) - began[1])
            self.numbers.note(f"{kind}, ms of the API for a write", api / len(requests) * 1_000)
            self.numbers.note(f"{kind}, ms of the server for a write", (api + postgres) / len(requests) * 1_000)
            self.numbers.note(f"{kind}, p99 ms", answers.latency_ms(99))
        for kind in kinds[1:]:
            for part in ("API", "server"):
                ours, reference = (
                    self.numbers.found[f"{k}, ms of the {part} for a write"][-1] for k in (kind, kinds[0])
                )
                self.numbers.note(f"{kind}, ms of the {part} more than a bearer key", ours - reference)

    def of_checks(self) -> None:
        """One round of signatures checked by functions alone, ours and the library's."""
        for kind, algorithm in (("ed25519", ED25519), ("hmac", HMAC_SHA256)):
            made = [self.headers(kind) for _ in range(self.sizes.checks)]
            key: Any = self.keys[kind]
            self._pace(f"{kind}, checks a second", made, partial(self._checked, kind, key))
            if kind == "ed25519":
                key = Ed25519PublicKey.from_public_bytes(key)
            known = MappingKeyResolver(public_keys=dict.fromkeys([_key_id(made[0])], key), private_keys={})
            verifier = HTTPMessageVerifier(signature_algorithm=algorithm, key_resolver=known)

            def library(headers: dict[str, str], verifier: HTTPMessageVerifier = verifier) -> bool:
                message = SimpleNamespace(method="POST", url=f"{self.system.url}{PATH}", headers=headers)
                return bool(verifier.verify(message, body=BODY))

            self._pace(f"{kind}, checks a second by http-message-signatures", made, library)

    def _pace(self, name: str, made: Sequence[dict[str, str]], check: Callable[[dict[str, str]], bool]) -> None:
        began_s = time.process_time()
        assert all(check(headers) for headers in made), "a signature of ours is not taken"
        self.numbers.note(name, len(made) / (time.process_time() - began_s))

    def _checked(self, kind: str, key: bytes, headers: dict[str, str]) -> bool:
        target = Target("POST", self.system.settings.authority, PATH, "", {n: [v] for n, v in headers.items()})
        given = signatures.read(headers["signature-input"], headers["signature"])
        signatures.insist_on_profile(given, target, wallet=False, has_body=True)
        good = signatures.proves(kind, key, given, signatures.base(given, target))
        return good and signatures.fits_digest(headers["content-digest"], BODY)

    def of_nonces(self) -> None:
        """One round of nonces, at the function level."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            for callers in (1, CLIENTS, 64):
                runner.run(self._of_nonces(callers))

    async def _of_nonces(self, callers: int) -> None:
        db, _ = self.system.opened()
        await db.open()
        store, left = Nonces(db), iter(range(self.sizes.nonces // (4 if callers == 1 else 1)))

        async def work() -> int:
            done = 0
            for _ in left:
                now = int(time.time())
                spent = await store.spend("bench", secrets.token_urlsafe(16), created=now, until=now + 60)
                assert spent is Spent.FRESH, spent
                done += 1
            return done

        began_s, began_cpu_s = time.monotonic(), cpu_s(self.postgres_pid)
        count = sum(await asyncio.gather(*(work() for _ in range(callers))))
        self.numbers.note(f"nonces a second, {callers} at once", count / (time.monotonic() - began_s))
        self.numbers.note(
            f"us of Postgres for a nonce, {callers} at once", (cpu_s(self.postgres_pid) - began_cpu_s) / count * 1e6
        )
        await db.close()

    def run(self) -> None:
        """All rounds, after one that is thrown away."""
        self.register()
        wanted, self.sizes = self.sizes, WARM_UP
        for number in range(wanted.rounds + 1):
            if number == 1:
                self.numbers.found.clear()
                self.sizes = wanted
            print(f"round {number}" if number else "warm-up", flush=True)
            self.of_writes()
            self.of_checks()
            self.of_nonces()


def _lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _key_id(headers: dict[str, str]) -> str:
    return headers["signature-input"].partition('keyid="')[2].partition('"')[0]


def _written(system: System, headers: dict[str, str]) -> bytes:
    """A request as bytes on a connection that stays open."""
    lines = [f"POST {PATH} HTTP/1.1", f"host: {system.settings.authority}", f"content-length: {len(BODY)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + BODY


def told(numbers: Numbers, sizes: Sizes) -> list[dict[str, Any]]:
    """One JSON object for each question."""
    settings = {"clients": CLIENTS, "rounds": sizes.rounds, "writes": sizes.writes}
    found = []
    for kind in ("ed25519", "hmac", "wallet"):
        more = numbers.medians(f"{kind}, ms of", f"{kind}, p99", "bearer, p99")
        found.append(
            numbers.told(
                f"a write signed with {kind}",
                unit="ms of processor",
                ours=f"{kind}, ms of the server for a write",
                references={"the same with a bearer key": "bearer, ms of the server for a write"},
                less_is_better=True,
                settings={**settings, **more, "limit_more_ms": LIMIT_MS},
            )
        )
    for kind in ("ed25519", "hmac"):
        library = {"http-message-signatures": f"{kind}, checks a second by http-message-signatures"}
        name = f"{kind}, checks a second"
        found.append(
            numbers.told(f"a signature checked, {kind}", unit="1/s", ours=name, references=library, settings=settings)
        )
    of_nonces = {**settings, **numbers.medians("nonces a second", "us of Postgres")}
    name = f"nonces a second, {CLIENTS} at once"
    found.append(numbers.told("nonces spent", unit="1/s", ours=name, references={}, settings=of_nonces))
    return found


def main() -> None:
    """Measure, and tell each answer as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="four small rounds: a minute")
    sizes = QUICK if parser.parse_args().quick else FULL
    numbers = Numbers()
    signals.listen()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="muniment-bench-") as folder,
            running(Path(folder)) as (system, _, api_pid),
        ):
            postgres_pid = int((Path(folder) / "postgres" / "postmaster.pid").read_text().split()[0])
            Bench(system, api_pid, postgres_pid, sizes, numbers).run()
    except (NotInstalled, ProcessDied, TimeoutError) as error:
        sys.exit(f"bench: {error}")
    except signals.Interrupted:
        sys.exit(130)
    for each in told(numbers, sizes):
        print(json.dumps(each, ensure_ascii=False))
    sys.exit(too_dear(numbers))


def too_dear(numbers: Numbers) -> str | None:
    """What to say where a signature costs the server more than it may, by each round's own difference."""
    more_ms = numbers.median("ed25519, ms of the server more than a bearer key")
    return (
        f"bench: a signed write costs {more_ms:.2f} ms more, and {LIMIT_MS} is the limit"
        if more_ms > LIMIT_MS
        else None
    )


if __name__ == "__main__":
    main()
