"""The cap table with names: who may see it, what is written down of it, and what an erasure leaves."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio

from scripts.stack import CHAIN_ID
from service.access import commands as access
from service.access.apikeys import Scope
from service.mirror import queries as mirror
from service.mirror.digest_queries import mirror_digest
from service.mirror.verify import Scope as Compared
from service.mirror.verify import verify
from service.vault.person_problems import PersonNotFound
from service.vault.persons import investor_id
from tests.web.answers import problem
from tests.world import PEPPER, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

STRANGER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
ASKED = {"view": "plain", "reason": "Register for the general meeting"}


@dataclass(slots=True)
class Register:
    """A token whose holders the vault knows, but for one."""

    world: World
    token_id: str = ""
    policy: str = ""
    persons: dict[str, dict[str, Any]] = field(default_factory=dict)  # by name
    accounts: dict[str, list[str]] = field(default_factory=dict)

    async def put(self, path: str, body: Any) -> httpx.Response:
        """A change."""
        headers = {"Authorization": f"Bearer {self.world.key}"}
        return await self.world.client.put(path, headers=headers, json=body)

    async def know(self, name: str, *accounts: str) -> None:
        """Have the vault know a person of these accounts."""
        item = {"value": name, "subject": name.lower()}
        made = await self.world.post("/v1/vault/tokenize", {"policy": self.policy, "items": [item]})
        token = made.json()["data"][0]["token"]
        person = await self.world.post("/v1/vault/persons", {"reference": name.lower(), "name": token})
        assert person.status_code == 200, person.text
        told = await self.put(f"/v1/vault/persons/{person.json()['id']}/accounts", {"accounts": list(accounts)})
        assert told.status_code == 200, told.text
        self.persons[name], self.accounts[name] = person.json(), list(accounts)

    async def ask(self, key: str | None = None, query: str = "", **changed: Any) -> httpx.Response:
        """Ask for the cap table with names."""
        return await self.world.post(
            f"/v1/tokens/{self.token_id}/cap-table/named{query}", {**ASKED, **changed}, key=key
        )

    async def names(self, **changed: Any) -> dict[str, str | None]:
        """The names by account."""
        answer = await self.ask(**changed)
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        return {row["account"]: row["name"] for row in answer.json()["data"]}

    async def new_key(self, *scopes: Scope) -> str:
        """Another key of the issuer."""
        async with self.world.db.transaction() as session:
            made = await access.create_key(
                session, issuer="Harbour Estates", caller="auditor", environment="test", pepper=PEPPER, scopes=scopes
            )
        return made.text

    async def revealed(self, what: str) -> list[dict[str, Any]]:
        """The journal's entries of what was revealed for a cap table, oldest first."""
        rows = await self.world.db.fetch(
            "SELECT body FROM journal_entries WHERE kind = %s ORDER BY position", (f"vault.{what}",)
        )
        return [each for each in (json.loads(body) for (body,) in rows) if each["purpose"] == "cap-table"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def register(shared: World) -> AsyncIterator[Register]:
    found = Register(shared, await shared.token())
    one, two = await shared.account("one"), await shared.account("two")
    for to, amount in ((one, 100), (two, 50), (STRANGER, 30)):
        answer = await shared.mint(found.token_id, to, amount)
        assert answer.status_code == 202, answer.text
    await shared.finish()
    rules = {"purposes": ["cap-table"], "views": ["plain", "masked"]}
    order = {"name": "names", "kind": "vault", "data_class": "name", "format": {"kind": "prefix"}, "reveal": rules}
    found.policy = (await shared.post("/v1/vault/policies", order)).json()["id"]
    await found.know("Ada Lovelace", one, two)
    yield found


async def test_each_holder_has_the_name_that_the_vault_knows_and_strangers_have_none(register: Register) -> None:
    answer = (await register.ask()).json()
    plain = (await register.world.get(f"/v1/tokens/{register.token_id}/cap-table")).json()
    one, two = register.accounts["Ada Lovelace"]
    person = register.persons["Ada Lovelace"]["id"]
    added = ("person", "name", "erased")
    assert [tuple(row.pop(each) for each in added) for row in answer["data"]] == [
        (person, "Ada Lovelace", False),
        (person, "Ada Lovelace", False),
        (None, None, False),
    ]
    assert answer == plain
    assert [row["account"] for row in plain["data"]] == [one, two, STRANGER]
    assert not set(plain["data"][0]) & set(added)


async def test_names_are_masked_and_refused_as_their_policy_says(register: Register) -> None:
    assert set((await register.names(view="masked")).values()) == {"A*** L***", None}
    assert problem(await register.ask(view="hash"), "reveal-refused")["reason"] == "view-not-allowed"


async def test_a_page_is_one_reveal_that_takes_each_name_once(register: Register) -> None:
    before, of_accounts = await register.revealed("revealed"), await register.revealed("accounts-revealed")
    first = (await register.ask(query="?limit=2")).json()
    second = (await register.ask(query=f"?limit=2&cursor={first['next_cursor']}")).json()
    assert [row["name"] for row in first["data"] + second["data"]] == ["Ada Lovelace"] * 2 + [None]
    # Nobody on the second page is known: no name was revealed, but that they are nobody's was told.
    (entry,) = (await register.revealed("revealed"))[len(before) :]
    whose, nobodys = (await register.revealed("accounts-revealed"))[len(of_accounts) :]
    assert (whose["persons"], nobodys["persons"]) == ([register.persons["Ada Lovelace"]["id"]], [])
    assert (nobodys["reason"], nobodys["asset_token"]) == (ASKED["reason"], register.token_id)
    assert (entry["view"], entry["reason"]) == ("plain", ASKED["reason"])
    assert (entry["asset_token"], entry["block"]) == (register.token_id, first["at"]["block"])
    assert [len(each) for each in entry["values"].values()] == [1]


async def test_who_lacks_the_scope_keeps_the_cap_table_without_names(register: Register) -> None:
    without = await register.new_key(Scope.ISSUE)
    assert problem(await register.ask(key=without), "scope-missing")["scope"] == "vault:reveal"
    vault_only = await register.new_key(Scope.VAULT_REVEAL)
    assert problem(await register.ask(key=vault_only), "scope-missing")["scope"] == "read"
    auditor = await register.new_key(Scope.ISSUE, Scope.VAULT_REVEAL)
    assert "Ada Lovelace" in (await register.names(key=auditor)).values()
    theirs = await register.world.new_issuer("Hill Estates")
    problem(await register.ask(key=theirs), "token-not-found")


async def test_an_identity_names_a_person_in_place_of_an_id(register: Register) -> None:
    person = register.persons["Ada Lovelace"]
    await register.world.contract("compliance")
    attested = {"country": 756, "level": 1}
    answer = await register.world.post("/v1/identities", {**attested, "person": person["id"]})
    assert answer.status_code == 202, answer.text
    await register.world.finish()
    found = (await register.world.get(f"/v1/identities/{person['investor_id']}")).json()
    assert found["identity"]["level"] == 1
    both = await register.world.post(
        "/v1/identities", {**attested, "person": person["id"], "investor": person["investor_id"]}
    )
    problem(both, "invalid-request")
    nobody = await register.world.post("/v1/identities", {**attested, "person": register.token_id})
    problem(nobody, "person-not-found")
    async with register.world.db.read() as connection:
        with pytest.raises(PersonNotFound):
            await investor_id(connection, issuer_id=uuid4(), id=UUID(person["id"]))


async def test_an_erased_holder_shows_as_erased_and_ownership_still_verifies(register: Register) -> None:
    other = await register.world.account("three")
    await register.world.mint(register.token_id, other, 10)
    await register.world.finish()
    await register.know("Grace Hopper", other)
    assert (await register.names())[other] == "Grace Hopper"
    before = await proof(register)
    erased = await register.world.post("/v1/vault/subjects/erase", {"reference": "grace hopper"})
    assert erased.status_code == 200, erased.text
    rows = {row["account"]: row for row in (await register.ask()).json()["data"]}
    grace = register.persons["Grace Hopper"]["id"]
    assert [rows[other][each] for each in ("person", "name", "erased")] == [grace, None, True]
    assert rows[register.accounts["Ada Lovelace"][0]]["name"] == "Ada Lovelace"
    assert await proof(register) == before


async def proof(register: Register) -> tuple[Any, ...]:
    """What shows who owned how much: the mirror's digest, its comparison with the chain, and a file's manifest."""
    world = register.world
    async with world.db.read() as connection:
        label = await mirror.label(connection, chain_id=CHAIN_ID, at_block=None)
        digest = await mirror_digest(connection, label=label)
    report = await verify(
        world.db,
        world.chain,
        chain_id=CHAIN_ID,
        factory=world.settings.factory,
        scope=Compared(history_from=0),
        progress=None,
    )
    assert (report.differences, report.findings) == ((), ())
    manifest = await world.get(f"/v1/tokens/{register.token_id}/exports/cap-table/manifest", at_block=label.block)
    assert manifest.status_code == 200, manifest.text
    return label.hash, digest, manifest.json()["sha256"]


async def test_an_account_that_was_moved_to_another_person_is_an_alarm_and_no_name_is_told(register: Register) -> None:
    stranger = await register.world.account("four")
    await register.know("Edsger Dijkstra", stranger)
    theirs, ours = register.persons["Edsger Dijkstra"]["id"], register.persons["Ada Lovelace"]["id"]
    swap = "UPDATE vault.accounts SET person_id = %s WHERE person_id = %s RETURNING 1"
    assert len(await register.world.db.fetch(swap, (theirs, ours))) == 2
    problem(await register.ask(), "record-damaged")
    rows = await register.world.db.fetch("SELECT 1 FROM journal_entries WHERE kind = 'vault.record-damaged'", ())
    assert len(rows) == 1
