"""Persons: what the chain may know a subject by, whose an account is, and what an erasure leaves of both."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from service.access.apikeys import Scope
from service.addresses import checksum
from tests.vault.desk import Desk
from tests.vault.reveals import entries, limited, reveal
from tests.web.answers import pointers, problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREFIX = {"kind": "prefix", "environment": "test"}
UNKNOWN_ID = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"


def account(number: int) -> str:
    """An address that nobody else has."""
    return checksum(bytes.fromhex("ab" * 18) + number.to_bytes(2))


async def named(desk: Desk, reference: str, name: str = "Ada Lovelace") -> tuple[dict[str, Any], str]:
    """A person with a name, and the name's vault token."""
    policy = await desk.policy(data_class="name", format=PREFIX)
    token = await desk.token(policy, {"value": name, "subject": reference})
    return await told(desk, reference, token), token


async def told(desk: Desk, reference: str, name: str | None = None) -> dict[str, Any]:
    """The person of a subject."""
    answer = await desk.post("/persons", {"reference": reference, "name": name})
    assert answer.status_code == 200, answer.text
    person: dict[str, Any] = answer.json()
    return person


async def set_accounts(desk: Desk, person: dict[str, Any], *accounts: str) -> httpx.Response:
    """Say which accounts are a person's."""
    return await desk.send("PUT", f"/persons/{person['id']}/accounts", {"accounts": list(accounts)})


async def accounts(desk: Desk, person: dict[str, Any]) -> set[str]:
    """The accounts of a person."""
    answer = await desk.get(f"/persons/{person['id']}/accounts")
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return set(answer.json()["accounts"])


async def test_a_subject_is_one_person_with_one_investor_id_however_often_it_is_told(desk: Desk) -> None:
    first, _ = await named(desk, "stable")
    again = await asyncio.gather(*(told(desk, "stable") for _ in range(8)))
    assert again == [first] * 8
    other, _ = await named(desk, "another")
    assert len(bytes.fromhex(first["investor_id"][2:])) == 32
    assert other["investor_id"] != first["investor_id"]
    assert (await desk.get(f"/persons/{first['id']}")).json() == first


async def test_a_person_is_told_a_name_later_and_keeps_it(desk: Desk) -> None:
    policy = await desk.policy(data_class="name", format=PREFIX)
    token = await desk.token(policy, {"value": "Grace Hopper", "subject": "late"})
    assert not (await told(desk, "late"))["named"]
    assert (await told(desk, "late", token))["named"]
    assert (await told(desk, "late"))["named"]


async def test_who_has_no_record_is_no_person(desk: Desk) -> None:
    await desk.policy()
    problem(await desk.post("/persons", {"reference": "nobody"}), "vault-subject-not-found")
    empty = await desk.new_issuer("Empty Estates")
    problem(await desk.post("/persons", {"reference": "nobody"}, key=empty), "vault-subject-not-found")


async def test_a_name_is_of_the_persons_own_records(desk: Desk) -> None:
    _, token = await named(desk, "own")
    _, others = await named(desk, "others")
    problem(await desk.post("/persons", {"reference": "own", "name": others}), "name-of-another-subject")
    problem(await desk.post("/persons", {"reference": "own", "name": "tok_test_unknown"}), "vault-token-not-found")
    await desk.post("/revoke", {"tokens": [token]})
    problem(await desk.post("/persons", {"reference": "own", "name": token}), "vault-token-not-found")


async def test_accounts_are_set_as_a_whole_and_told_to_whom_they_may_be_revealed(desk: Desk) -> None:
    person, _ = await named(desk, "accounts")
    assert await accounts(desk, person) == set()
    assert (await set_accounts(desk, person, account(1), account(2))).status_code == 200
    assert await accounts(desk, person) == {account(1), account(2)}
    assert (await set_accounts(desk, person, account(2), account(3))).status_code == 200
    assert await accounts(desk, person) == {account(2), account(3)}
    assert (await set_accounts(desk, person)).status_code == 200
    assert await accounts(desk, person) == set()
    searching = await desk.new_key(Scope.VAULT_SEARCH)
    problem(await desk.get(f"/persons/{person['id']}/accounts", key=searching), "scope-missing")
    assert len(await entries(desk, "vault.accounts-revealed", person["id"])) == 4


async def test_an_account_is_one_persons_at_most(desk: Desk) -> None:
    one, _ = await named(desk, "one")
    two, _ = await named(desk, "two")
    await set_accounts(desk, one, account(11), account(12))
    problem(await set_accounts(desk, two, account(13), account(12)), "account-of-another-person")
    assert await accounts(desk, two) == set()
    problem(await set_accounts(desk, one, account(11), account(11)), "invalid-request")
    assert pointers(await set_accounts(desk, one, "0x12")) == ["#/accounts/0"]
    many = [await set_accounts(desk, one, *(account(100 + number) for number in range(count))) for count in (100, 101)]
    assert [each.status_code for each in many] == [200, 422]


async def test_of_many_who_claim_an_account_at_once_one_gets_it(desk: Desk) -> None:
    persons = [(await named(desk, f"claims-{number}"))[0] for number in range(6)]
    answers = await asyncio.gather(*(set_accounts(desk, each, account(21), account(22)) for each in persons))
    assert sorted(each.status_code for each in answers) == [200, *[409] * 5]
    holding = [await accounts(desk, each) for each in persons]
    assert sorted(map(len, holding)) == [*[0] * 5, 2]


async def test_another_issuers_person_is_not_there(desk: Desk) -> None:
    person, _ = await named(desk, "mine")
    theirs = await desk.new_issuer("Other Estates")
    for id_ in (person["id"], UNKNOWN_ID):
        for path in (f"/persons/{id_}", f"/persons/{id_}/accounts"):
            problem(await desk.get(path, key=theirs), "person-not-found")
        changed = await desk.send("PUT", f"/persons/{id_}/accounts", {"accounts": []}, key=theirs)
        problem(changed, "person-not-found")


async def test_a_suspended_key_is_told_no_accounts(desk: Desk) -> None:
    person, _ = await named(desk, "suspended")
    key = await desk.new_key(caller="curious")
    policy = await limited(desk, daily_max=1)
    cards = [await desk.token(policy, "4111 1111 1111 1111") for _ in range(2)]
    problem(await reveal(desk, *cards, key=key), "reveal-suspended")
    problem(await desk.get(f"/persons/{person['id']}/accounts", key=key), "reveal-suspended")


async def test_an_erasure_leaves_nothing_between_the_subject_and_what_the_chain_knows(desk: Desk) -> None:
    person, _ = await named(desk, "forgotten")
    await set_accounts(desk, person, account(31), account(32))
    erased = (await desk.post("/subjects/erase", {"reference": "forgotten"})).json()
    left = (await desk.get(f"/persons/{person['id']}")).json()
    assert left["erased_at"] == erased["erased_at"]
    assert (left["investor_id"], left["named"]) == (person["investor_id"], False)
    problem(await desk.get(f"/persons/{person['id']}/accounts"), "person-not-found")
    problem(await set_accounts(desk, person, account(33)), "person-not-found")
    rows = await desk.rows(
        """SELECT p.subject_id, p.sealed_name, a.sealed FROM vault.persons p JOIN vault.accounts a ON a.person_id = p.id
        WHERE p.id = %s""",
        person["id"],
    )
    assert rows == [(None, None, None)] * 2
    subject = (await desk.rows("SELECT subject_id FROM vault.records WHERE erased_at = %s", erased["erased_at"]))[0][0]
    bodies = [json.loads(body) for (body,) in await desk.rows("SELECT body FROM journal_entries WHERE kind ~ '^vault'")]
    assert not [each for each in bodies if person["id"] in str(each) and str(subject) in str(each)]


async def test_who_comes_back_after_an_erasure_is_another_person_and_may_have_the_old_account(desk: Desk) -> None:
    before, _ = await named(desk, "back")
    await set_accounts(desk, before, account(41))
    await desk.post("/subjects/erase", {"reference": "back"})
    problem(await desk.post("/persons", {"reference": "back"}), "vault-subject-not-found")
    after, _ = await named(desk, "back")
    assert after["id"] != before["id"]
    assert after["investor_id"] != before["investor_id"]
    assert (await set_accounts(desk, after, account(41))).status_code == 200
    assert await accounts(desk, after) == {account(41)}


async def test_of_an_erasure_and_what_is_told_at_once_nothing_is_left(desk: Desk) -> None:
    for number in range(4):
        person, _ = await named(desk, f"race-{number}")
        racing = [set_accounts(desk, person, account(51)), told(desk, f"race-{number}")]
        erasing = desk.post("/subjects/erase", {"reference": f"race-{number}"})
        await asyncio.gather(*racing, erasing, return_exceptions=True)
        rows = await desk.rows(
            """SELECT count(*) FROM vault.persons p LEFT JOIN vault.accounts a ON a.person_id = p.id
            WHERE p.id = %s AND (p.subject_id IS NOT NULL OR a.sealed IS NOT NULL)""",
            person["id"],
        )
        assert rows == [(0,)]


async def test_an_account_that_was_given_to_another_person_in_postgres_is_an_alarm(desk: Desk, log: Any) -> None:
    one, _ = await named(desk, "swapped-one")
    two, _ = await named(desk, "swapped-two")
    await set_accounts(desk, one, account(61))
    await desk.alter(f"UPDATE vault.accounts SET person_id = '{two['id']}' WHERE person_id = '{one['id']}'")
    problem(await desk.get(f"/persons/{two['id']}/accounts"), "record-damaged")
    assert "vault_record_damaged" in log.getvalue()


async def test_no_account_leaves_where_the_journal_refuses_the_entry(desk: Desk) -> None:
    person, _ = await named(desk, "unrecorded")
    await set_accounts(desk, person, account(71))
    await desk.alter(
        "ALTER TABLE journal_entries ADD CONSTRAINT broken CHECK (kind <> 'vault.accounts-revealed') NOT VALID"
    )
    refused = await desk.get(f"/persons/{person['id']}/accounts")
    await desk.alter("ALTER TABLE journal_entries DROP CONSTRAINT broken")
    problem(refused, "reveal-unrecorded")


async def test_two_persons_who_swap_accounts_at_once_wait_for_one_another_in_one_direction(desk: Desk) -> None:
    one, two = (await named(desk, "swaps-one"))[0], (await named(desk, "swaps-two"))[0]
    many, others = [[account(first + number) for number in range(0, 80, 2)] for first in (1_000, 1_001)]
    for _ in range(6):
        await asyncio.gather(set_accounts(desk, one, *many), set_accounts(desk, two, *others))
        answers = await asyncio.gather(set_accounts(desk, one, *others), set_accounts(desk, two, *many))
        assert {each.status_code for each in answers} <= {200, 409}
        await asyncio.gather(set_accounts(desk, one), set_accounts(desk, two))
