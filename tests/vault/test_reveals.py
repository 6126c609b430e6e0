"""A reveal shows what the rules allow, after its entry is durable, and nothing of what was altered."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from service.access.apikeys import Scope
from service.vault import revealing
from tests.vault.desk import CARD, Desk
from tests.vault.reveals import PREFIX, entries, key_id, limited, reveal, seen
from tests.web.answers import problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER_CARD = "5555555555554444"


async def test_each_view_shows_its_part_in_the_order_of_the_tokens(desk: Desk) -> None:
    cards = await desk.policy()
    tokens = [await desk.token(cards, CARD), await desk.token(cards, OTHER_CARD)]
    assert await seen(desk, *tokens, tokens[0]) == [CARD, OTHER_CARD, CARD]
    assert await seen(desk, *tokens, view="masked") == ["411111******1111", "555555******4444"]
    assert await seen(desk, *tokens, view="last_four") == ["1111", "4444"]
    first, second, again = await seen(desk, *tokens, tokens[0], view="hash")
    assert first == again != second


async def test_one_reveal_is_of_several_policies_and_subjects(desk: Desk) -> None:
    cards, emails = await desk.policy(), await desk.policy(data_class="email", format=PREFIX)
    card = await desk.token(cards, {"value": CARD, "subject": "ada"})
    email = await desk.token(emails, {"value": "ada@example.org", "subject": "ada"})
    assert await seen(desk, email, card) == ["ada@example.org", CARD]
    (entry,) = [each for each in await entries(desk, "vault.revealed", cards) if emails in each["values"]]
    assert [len(entry["values"][each]) for each in (cards, emails)] == [1, 1]


@pytest.mark.parametrize("daily_max", [5, None])
@pytest.mark.parametrize("ending", ["erased", "revoked", "expired"])
async def test_what_ends_while_it_is_asked_for_is_not_seen_and_not_counted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, ending: str, daily_max: int | None
) -> None:
    policy, key = await limited(desk, daily_max=daily_max), await desk.new_key(caller=ending)
    people = [f"{each} {ending} {daily_max}" for each in ("gone", "kept")]
    gone, kept = [await desk.token(policy, {"value": CARD, "subject": each}) for each in people]
    find = revealing.find

    async def then_it_ends(*given: Any) -> revealing.Found:
        found = await find(*given)
        if ending == "erased":
            await desk.post("/subjects/erase", {"reference": people[0]})
        elif ending == "revoked":
            await desk.post("/revoke", {"tokens": [gone]})
        else:
            id_ = found.live[0].stored.record.id
            await desk.alter(f"UPDATE vault.records SET expires_at = now() WHERE id = '{id_}'")
        return found

    monkeypatch.setattr(revealing, "find", then_it_ends)
    answer = await reveal(desk, gone, kept, key=key)
    assert [each["value"] for each in answer.json()["data"]] == [None, CARD]
    assert answer.json()["data"][0]["problem"]["type"] == "/problems/vault-token-not-found"
    (entry,) = await entries(desk, "vault.revealed", policy)
    assert len(entry["values"][policy]) == 1
    query = "SELECT values_count FROM vault.reveal_counts WHERE policy_id = %s"
    assert await desk.rows(query, policy) == ([] if daily_max is None else [(1,)])


@pytest.mark.parametrize("daily_max", [5, None])
async def test_a_reveal_of_which_nothing_is_left_has_no_entry(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, daily_max: int | None
) -> None:
    policy, find = await limited(desk, daily_max=daily_max), revealing.find
    token = await desk.token(policy, CARD)

    async def then_it_ends(*given: Any) -> revealing.Found:
        found = await find(*given)
        await desk.post("/revoke", {"tokens": [token]})
        return found

    monkeypatch.setattr(revealing, "find", then_it_ends)
    assert await seen(desk, token) == [None]
    assert await entries(desk, "vault.revealed", policy) == []


async def test_whatever_reveals_nothing_is_answered_alike(desk: Desk) -> None:
    policy = await desk.policy(ttl_max_s=3600)
    tokens = {each: await desk.token(policy, {"value": CARD, "subject": each}) for each in ("live", "old", "ended")}
    forgotten = await desk.token(await desk.policy(), {"value": CARD, "subject": "forgotten"})
    theirs = await desk.token(await desk.policy(), CARD)
    found = await desk.lookup(tokens["old"])
    assert found[0] is not None
    await desk.alter(f"UPDATE vault.records SET expires_at = now() WHERE id = '{found[0]['id']}'")
    await desk.post("/revoke", {"tokens": [tokens["ended"]]})
    await desk.post("/subjects/erase", {"reference": "forgotten"})
    stranger = await desk.new_issuer("Lake Estates")
    policies = {"name": "theirs", "kind": "vault", "data_class": "card", "format": {"kind": "card"}}
    assert (await desk.post("/policies", policies, key=stranger)).status_code == 201
    dead = (tokens["old"], tokens["ended"], forgotten, "9" * 16)
    answer = (await reveal(desk, tokens["live"], *dead)).json()["data"]
    assert [each["value"] for each in answer] == [CARD, None, None, None, None]
    assert len({str(each["problem"]) for each in answer[1:]}) == 1
    other = (await reveal(desk, theirs, "9" * 16, key=stranger)).json()["data"]
    assert {str(each["problem"]) for each in other} == {str(answer[1]["problem"])}
    assert answer[1]["problem"]["type"] == "/problems/vault-token-not-found"


async def test_an_issuer_without_a_vault_is_answered_alike(desk: Desk) -> None:
    stranger = await desk.new_issuer("Sea Estates")
    (shown,) = (await reveal(desk, "9" * 16, key=stranger)).json()["data"]
    assert shown["problem"]["type"] == "/problems/vault-token-not-found"
    body = {"tokens": ["9" * 16], "purpose": "support", "reason": "x", "view": "plain"}
    problem(await desk.post("/approvals", body, key=stranger), "vault-token-not-found")


async def test_vaultless_tokens_are_revealed_under_their_policy_and_context(desk: Desk) -> None:
    policy = await desk.policy(kind="vaultless")
    answer = await desk.post("/tokenize", {"policy": policy, "items": [{"value": CARD}], "context": "2026"})
    token = answer.json()["data"][0]["token"]
    shown = await seen(desk, token, "no card", policy=policy, context="2026")
    assert shown == [CARD.replace(" ", ""), None]
    assert await seen(desk, token, policy=policy) != shown[:1]
    assert await seen(desk, token) == [None]
    problem(await reveal(desk, token, context="2026"), "not-of-this-policy")
    problem(await reveal(desk, token, policy=await desk.policy()), "not-of-this-policy")
    problem(await reveal(desk, token, policy="0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"), "policy-not-found")


@pytest.mark.parametrize(
    ("rules", "wish", "reason"),
    [
        ({}, {"purpose": "curiosity"}, "purpose-not-allowed"),
        ({"views": ["masked"]}, {}, "view-not-allowed"),
        ({"callers": ["somebody else"]}, {}, "caller-not-allowed"),
    ],
)
async def test_a_rule_that_says_no_refuses_all_of_the_request(
    desk: Desk, rules: dict[str, Any], wish: dict[str, Any], reason: str
) -> None:
    strict, lax = await limited(desk, **rules), await desk.policy(reveal={"purposes": ["curiosity", "support"]})
    tokens = await desk.token(strict, CARD), await desk.token(lax, OTHER_CARD)
    told = problem(await reveal(desk, *tokens, **{"view": "masked", **wish} if wish else {}), "reveal-refused")
    assert told["reason"] == reason
    assert told["policy"] in (strict, lax)


async def test_refusals_are_written_down_whenever_their_number_doubles(desk: Desk) -> None:
    key = await desk.new_key(caller="curious")
    token = await desk.token(await desk.policy(), CARD)
    for _ in range(9):
        problem(await reveal(desk, token, purpose="curiosity", key=key), "reveal-refused")
    for _ in range(3):
        await reveal(desk, "9" * 16, key=key)
    told = await entries(desk, "vault.reveal-refused", key_id(key))
    assert [(each["reason"], each["count"]) for each in told] == [
        *(("purpose-not-allowed", count) for count in (1, 2, 4, 8)),
        *(("vault-token-not-found", count) for count in (1, 2)),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"purpose": None},
        {"purpose": "No Slug"},
        {"reason": ""},
        {"reason": "x" * 501},
        {"reason": "the card is 4111 1111 1111 1111"},
        {"reason": "Ticket: 4711 4111 1111 1111 1111"},
        {"reason": "4111.1111.1111.1111"},
        {"reason": "4111  1111 / 1111_1111"},
        {"reason": "\u0664\u0661\u0661\u0661 \uff11\uff11\uff11\uff11 \u2460111-1111"},
        {"view": "all"},
        {"tokens": []},
        {"tokens": ["x"] * 501},
        {"tokens": [7]},
        {"approval": "x"},
        {"cvv": "123"},
    ],
)
async def test_a_malformed_wish_is_refused(desk: Desk, wrong: dict[str, Any]) -> None:
    answer = await desk.post("/reveal", {"tokens": ["x"], "purpose": "p", "reason": "r", "view": "plain", **wrong})
    problem(answer, "invalid-request")
    assert "4111" not in answer.text


async def test_a_key_without_the_scope_sees_nothing(desk: Desk) -> None:
    key = await desk.new_key(Scope.VAULT_SEARCH, Scope.VAULT_TOKENIZE)
    problem(await reveal(desk, "x", key=key), "scope-missing")


async def test_the_entry_says_who_saw_what_and_why_but_no_value(desk: Desk) -> None:
    policy = await desk.policy()
    token = await desk.token(policy, CARD)
    ((index,),) = await desk.rows("SELECT index FROM vault.records WHERE policy_id = %s", policy)
    await seen(desk, token, view="masked")
    (entry,) = await entries(desk, "vault.revealed", policy)
    ((caller,),) = await desk.rows("SELECT id FROM callers WHERE name = 'tests' AND id = %s", entry["caller"])
    assert entry == {
        "kind": "vault.revealed",
        "caller": str(caller),
        "key": key_id(desk.key),
        "purpose": "support",
        "reason": "Ticket 4711",
        "view": "masked",
        "approval": None,
        "values": {policy: [index.hex()]},
    }


async def test_no_value_is_opened_before_its_entry_is_committed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = await desk.policy()
    token, before = await desk.token(policy, CARD), []
    opened = revealing.opened

    async def watched(*given: Any) -> Any:
        before.append(await entries(desk, "vault.revealed", policy))
        return await opened(*given)

    monkeypatch.setattr(revealing, "opened", watched)
    assert await seen(desk, token) == [CARD]
    assert [len(each) for each in before] == [1]


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        (
            "ALTER TABLE journal_entries ADD CONSTRAINT broken CHECK (kind NOT LIKE 'vault.revealed') NOT VALID",
            "ALTER TABLE journal_entries DROP CONSTRAINT broken",
        ),
        (
            "REVOKE INSERT ON journal_entries FROM muniment_api",
            "GRANT INSERT ON journal_entries TO muniment_api",
        ),
    ],
)
@pytest.mark.parametrize("daily_max", [1, None])
async def test_what_cannot_be_recorded_is_not_revealed(
    desk: Desk, log: Any, broken: str, mended: str, daily_max: int | None
) -> None:
    token = await desk.token(await limited(desk, daily_max=daily_max), CARD)
    await desk.alter(broken)
    answer = await reveal(desk, token)
    await desk.alter(mended)
    problem(answer, "reveal-unrecorded")
    assert "4111" not in answer.text
    assert "vault_reveal_unrecorded" in log.getvalue()
    assert await seen(desk, token) == [CARD]  # and its budget was not spent


async def test_an_entry_is_on_disk_even_where_postgres_was_told_not_to_wait(desk: Desk) -> None:
    await desk.alter("CREATE TABLE waited (kind varchar, setting varchar)")
    await desk.alter(
        """CREATE FUNCTION waits() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
        INSERT INTO public.waited VALUES (NEW.kind, current_setting('synchronous_commit')); RETURN NEW; END $$"""
    )
    await desk.alter("CREATE TRIGGER waits AFTER INSERT ON journal_entries FOR EACH ROW EXECUTE FUNCTION waits()")
    assert await desk.rows("SELECT current_setting('synchronous_commit')") == [("off",)]
    await seen(desk, await desk.token(await desk.policy(), CARD))
    await desk.alter("DROP TRIGGER waits ON journal_entries")
    assert await desk.rows("SELECT setting FROM waited WHERE kind = 'vault.revealed'") == [("on",)]


DAMAGE = {
    "altered": "UPDATE vault.records SET sealed = set_byte(sealed, 40, get_byte(sealed, 40) # 1) WHERE id = '{first}'",
    "cut short": "UPDATE vault.records SET sealed = substring(sealed FOR 50) WHERE id = '{first}'",
    "empty": "UPDATE vault.records SET sealed = '' WHERE id = '{first}'",
    "another row's": """UPDATE vault.records SET sealed = (SELECT sealed FROM vault.records WHERE id = '{second}')
        WHERE id = '{first}'""",
    "swapped": """UPDATE vault.records a SET sealed = b.sealed FROM vault.records b
        WHERE a.id IN ('{first}', '{second}') AND b.id IN ('{first}', '{second}') AND a.id <> b.id""",
    "of another subject": "UPDATE vault.records SET subject_id = NULL WHERE id = '{first}'",
    "of another policy": "UPDATE vault.records SET policy_id = '{policy}' WHERE id = '{first}'",
    "of another issuer": """UPDATE vault.records SET issuer_id = '0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01'
        WHERE id = '{first}'""",
    "of another issuer's policy": "UPDATE vault.records SET policy_id = '{theirs}' WHERE id = '{first}'",
    "a key of another": """UPDATE vault.subjects SET wrapped = (
        SELECT wrapped FROM vault.subjects WHERE id = '{other_subject}') WHERE id = '{subject}'""",
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_what_was_altered_is_refused_alarmed_and_written_down(desk: Desk, log: Any, damage: str) -> None:
    policy, other, stranger = await desk.policy(), await desk.policy(), await desk.new_issuer(f"Estates {damage}")
    order = {"name": "theirs", "kind": "vault", "data_class": "card", "format": {"kind": "card"}}
    theirs = (await desk.post("/policies", order, key=stranger)).json()["id"]
    items = [{"value": CARD, "subject": f"ada {damage}"}, {"value": OTHER_CARD, "subject": f"bob {damage}"}]
    first, second = await desk.tokenize(policy, *items)
    subjects = [
        (await desk.rows("SELECT subject_id FROM vault.records WHERE id = %s", each["record_id"]))[0][0]
        for each in (first, second)
    ]
    named = {"first": first["record_id"], "second": second["record_id"], "policy": other, "theirs": theirs}
    named |= {"subject": subjects[0], "other_subject": subjects[1]}
    before = len(await entries(desk, "vault.record-damaged", ""))
    await desk.alter(DAMAGE[damage].format(**named))
    answer = await reveal(desk, second["token"], first["token"])
    problem(answer, "record-damaged")
    assert not any(each in answer.text for each in ("4111", "5555"))
    assert "vault_record_damaged" in log.getvalue()
    assert len(await entries(desk, "vault.record-damaged", "")) == before + 1


@pytest.mark.parametrize("daily_max", [100, None])
async def test_reveals_at_once_each_have_an_entry(desk: Desk, daily_max: int | None) -> None:
    policy = await limited(desk, daily_max=daily_max)
    token = await desk.token(policy, CARD)
    assert await asyncio.gather(*(seen(desk, token) for _ in range(16))) == [[CARD]] * 16
    assert len(await entries(desk, "vault.revealed", policy)) == 16
    ((count, last, end),) = await desk.rows(
        "SELECT count(*), max(e.position), min(j.position) FROM journal_entries e, journal_end j"
    )
    assert count == last == end  # no place is left out


async def test_who_ends_a_record_waits_for_the_entry_that_says_it_is_seen(desk: Desk) -> None:
    policy = await desk.policy()
    token = await desk.token(policy, CARD)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    async def wait_for(count: int) -> None:
        while (await desk.rows(waiting))[0][0] < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async with asyncio.timeout(10), asyncio.TaskGroup() as group, desk.db.transaction() as session:
        await session.execute(text("SELECT * FROM journal_end FOR UPDATE"))
        revealed = group.create_task(seen(desk, token))
        await wait_for(1)
        revoked = group.create_task(desk.post("/revoke", {"tokens": [token]}))
        await wait_for(2)
    assert (revealed.result(), revoked.result().status_code) == ([CARD], 200)
    kinds = await desk.rows("SELECT kind FROM journal_entries ORDER BY position DESC LIMIT 2")
    assert kinds == [("vault.records-revoked",), ("vault.revealed",)]
