"""Values become vault tokens: of their policy's format, once for each key, once for each value where that is asked."""

import asyncio
from typing import Any
from uuid import UUID

import psycopg
import pytest

from service.vault import formats, opening, queries
from service.vault.cards import luhn_sum
from service.vault.envelope import Tampered
from service.vault.opening import Plain
from service.vault.policies import Policy
from tests.vault.desk import CARD, Desk
from tests.web.answers import problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER_CARD = "5555555555554444"
DIGITS = {"kind": "digits", "length": 12}
PREFIX = {"kind": "prefix", "environment": "test"}


async def issuer_of(desk: Desk) -> Any:
    ((issuer_id,),) = await desk.rows("SELECT id FROM issuers WHERE name = 'Harbour Estates'")
    return issuer_id


async def policy_of(desk: Desk, policy_id: str) -> Any:
    return await queries.policy(desk.db, issuer_id=await issuer_of(desk), id=UUID(policy_id))


async def plain(desk: Desk, *tokens: str) -> list[str | None]:
    """The values behind vault tokens, as the heart of a reveal opens them."""
    issuer_id = await issuer_of(desk)
    loaded = await opening.load(desk.vault, issuer_id, tokens)
    opened = iter(await opening.opened(desk.vault, issuer_id, [each for each in loaded if each and each.open]))
    found: list[str | None] = []
    for each in loaded:
        value = next(opened) if each and each.open else None
        assert not isinstance(value, Tampered)
        found.append(value.original if isinstance(value, Plain) else None)
    return found


def slug(outcome: dict[str, Any]) -> str:
    """The problem that one item was refused with."""
    return str(outcome["problem"]["type"]).removeprefix("/problems/")


async def test_a_card_gets_a_token_that_is_no_card_and_keeps_its_last_four(desk: Desk) -> None:
    token = await desk.token(await desk.policy(), CARD)
    assert (len(token), token[0], token[-4:], luhn_sum(token) != 0) == (16, "9", "1111", True)
    assert await plain(desk, token) == [CARD]


@pytest.mark.parametrize("mapping", ["default", "exportable"])
@pytest.mark.parametrize("deterministic", [True, False])
async def test_what_was_tokenized_opens_again_letter_by_letter(desk: Desk, mapping: str, deterministic: bool) -> None:
    given = {"data_class": "email", "format": PREFIX, "mapping": mapping, "deterministic": deterministic}
    policy = await desk.policy(**given)
    values = [f"Person{n}@Example.ORG" for n in range(20)]
    items = [{"value": each, "subject": f"{policy} {n % 3}"} for n, each in enumerate(values)]
    outcomes = await desk.tokenize(policy, *items)
    assert {each["status"] for each in outcomes} == {"created"}
    assert await plain(desk, *(each["token"] for each in outcomes)) == values


async def test_thirty_two_callers_with_one_value_get_one_token(desk: Desk) -> None:
    policy = await desk.policy(deterministic=True)
    outcomes = await asyncio.gather(*(desk.tokenize(policy, CARD) for _ in range(32)))
    assert len({each["token"] for (each,) in outcomes}) == 1
    assert sorted(each["status"] for (each,) in outcomes) == ["created"] + ["existing"] * 31
    assert len(await desk.rows("SELECT 1 FROM vault.records WHERE policy_id = %s", policy)) == 1


async def test_overlapping_batches_at_once_agree_on_every_value(desk: Desk) -> None:
    policy = await desk.policy(data_class="name", format=PREFIX, deterministic=True)
    names = [f"Ada {chr(65 + n // 26)}{chr(97 + n % 26)}" for n in range(60)]
    batches = [names[at : at + 40] if at % 2 else names[at : at + 40][::-1] for at in range(0, 20, 2)]
    outcomes = await asyncio.gather(*(desk.tokenize(policy, *batch) for batch in batches))
    found: dict[str, set[str]] = {}
    for batch, each in zip(batches, outcomes, strict=True):
        for name, outcome in zip(batch, each, strict=True):
            found.setdefault(name, set()).add(outcome["token"])
    assert {len(tokens) for tokens in found.values()} == {1}


async def test_equal_values_in_a_batch_share_a_token_only_under_a_deterministic_policy(desk: Desk) -> None:
    values = [CARD, OTHER_CARD, "4111-1111-1111-1111"]
    once = await desk.tokenize(await desk.policy(deterministic=True), *values)
    assert [each["status"] for each in once] == ["created", "created", "existing"]
    assert once[0]["token"] == once[2]["token"] != once[1]["token"]
    each_time = await desk.tokenize(await desk.policy(), *values)
    assert [each["status"] for each in each_time] == ["created"] * 3
    assert len({each["token"] for each in each_time}) == 3


async def test_a_repeated_batch_of_random_tokens_is_answered_with_the_same_ones(desk: Desk) -> None:
    policy = await desk.policy()
    first, again = [await desk.tokenize(policy, CARD, "4111", idempotency_key="batch") for _ in range(2)]
    assert first == again
    assert [each["status"] for each in first] == ["created", "refused"]
    assert len(await desk.rows("SELECT 1 FROM vault.records WHERE policy_id = %s", policy)) == 1


async def test_repetitions_at_once_store_one_batch(desk: Desk) -> None:
    policy = await desk.policy()
    answers = await asyncio.gather(*(desk.tokenize(policy, CARD, idempotency_key="at-once") for _ in range(8)))
    assert all(each == answers[0] for each in answers)
    assert len(await desk.rows("SELECT 1 FROM vault.records WHERE policy_id = %s", policy)) == 1


async def test_another_batch_under_the_same_key_is_refused_and_not_even_hashed_in_the_open(desk: Desk) -> None:
    policy = await desk.policy()
    await desk.tokenize(policy, CARD, idempotency_key="reused")
    body = {"policy": policy, "items": [{"value": OTHER_CARD}]}
    problem(await desk.post("/tokenize", body, idempotency_key="reused"), "idempotency-key-reused")


async def test_each_item_is_refused_for_itself_and_no_refusal_repeats_it(desk: Desk) -> None:
    policy = await desk.policy(ttl_max_s=60)
    wrong = ["4111 1111 1111 1112", "411111", "４１１１１１１１１１１１１１１１", ""]
    outcomes = await desk.tokenize(policy, CARD, *wrong, {"value": OTHER_CARD, "ttl_s": 61})
    assert [each["status"] for each in outcomes] == ["created"] + ["refused"] * 5
    reasons = [each["problem"].get("reason") for each in outcomes[1:]]
    assert reasons == ["card-check-digit", "card-malformed", "card-malformed", "value-empty", None]
    assert [each["problem"]["type"] for each in outcomes[4:]] == [
        "/problems/value-unfit",
        "/problems/not-of-this-policy",
    ]
    assert not any(each in str(outcomes) for each in wrong if each)


async def test_card_verification_codes_are_refused(desk: Desk) -> None:
    policy = await desk.policy(data_class="text", format=PREFIX)
    (outcome,) = await desk.tokenize(policy, "123")
    assert outcome["problem"]["reason"] == "card-verification-code"


async def test_a_value_of_one_subject_is_not_handed_to_another(desk: Desk) -> None:
    policy = await desk.policy(deterministic=True)
    token = await desk.token(policy, {"value": CARD, "subject": "ada"})
    assert await desk.token(policy, CARD) == await desk.token(policy, {"value": CARD, "subject": "ada"}) == token
    (outcome,) = await desk.tokenize(policy, {"value": CARD, "subject": "bob"})
    assert slug(outcome) == "value-of-another-subject"


async def test_an_expired_value_of_a_deterministic_policy_gets_a_new_token(desk: Desk) -> None:
    policy = await desk.policy(deterministic=True, ttl_max_s=3600)
    token = await desk.token(policy, CARD)
    await desk.rows("UPDATE vault.records SET expires_at = now() WHERE policy_id = %s RETURNING 1", policy)
    assert [each and each["state"] for each in await desk.lookup(token)] == ["expired"]
    assert await desk.token(policy, CARD) != token


async def test_a_value_too_short_for_its_format_is_refused(desk: Desk) -> None:
    rule = {"pattern": "[0-9-]+", "length_max": 20}
    policy = await desk.policy(data_class="custom", rule=rule, format={"kind": "preserving"})
    outcomes = await desk.tokenize(policy, "12-345", "12-345-67")
    assert outcomes[0]["problem"]["reason"] == "space-too-small"
    token = outcomes[1]["token"]
    assert token[2] == token[6] == "-"
    assert len(token) == 9


@pytest.mark.parametrize(
    ("given", "value", "shape"),
    [
        ({"data_class": "card", "format": {"kind": "card", "luhn_valid": True}}, CARD, (16, "1111")),
        ({"data_class": "national_id", "format": {"kind": "ff1", "alphabet": "digits_upper"}}, "x12-345-67z", (9, "")),
    ],
)
async def test_a_vaultless_policy_stores_nothing_and_gives_the_value_back(
    desk: Desk, given: dict[str, Any], value: str, shape: tuple[int, str]
) -> None:
    policy_id = await desk.policy(kind="vaultless", **given)
    token = await desk.token(policy_id, value)
    assert (len(token), token[-4:] if shape[1] else "") == shape
    assert token == await desk.token(policy_id, value)
    assert await desk.rows("SELECT 1 FROM vault.records WHERE policy_id = %s", policy_id) == []
    loaded = await policy_of(desk, policy_id)
    (opened,) = await opening.opened_vaultless(desk.vault, loaded, [token], "")
    assert isinstance(opened, Plain)
    assert opened.canonical == loaded.canonical(value)


async def test_a_context_gives_another_vaultless_token(desk: Desk) -> None:
    policy = await desk.policy(kind="vaultless")
    body = {"policy": policy, "items": [{"value": CARD}], "context": "2026"}
    answer = (await desk.post("/tokenize", body)).json()
    assert answer["data"][0]["token"] != await desk.token(policy, CARD)


async def test_a_domain_too_small_for_ff1_refuses_that_value_alone(desk: Desk) -> None:
    policy = await desk.policy(kind="vaultless", data_class="national_id", format={"kind": "ff1"})
    outcomes = await desk.tokenize(policy, "12345", "1234567", "ABC1234")
    assert [each["status"] for each in outcomes] == ["refused", "created", "refused"]
    assert [each["problem"]["reason"] for each in outcomes[::2]] == ["domain-too-small", "not-in-alphabet"]


async def test_a_one_way_token_is_the_same_for_equal_values_and_differs_between_policies(desk: Desk) -> None:
    given = {"kind": "one_way", "data_class": "email", "format": {"kind": "hash"}, "reveal": {}}
    first, second = await desk.policy(**given), await desk.policy(**given)
    outcomes = await desk.tokenize(first, "a@example.org", "a@EXAMPLE.org", "b@example.org")
    assert outcomes[0]["token"] == outcomes[1]["token"] != outcomes[2]["token"]
    assert await desk.token(second, "a@example.org") != outcomes[0]["token"]


async def test_what_stores_nothing_takes_no_subject_and_what_stores_no_context(desk: Desk) -> None:
    vaultless, stored = await desk.policy(kind="vaultless"), await desk.policy()
    items = [{"value": CARD, "subject": "ada"}]
    problem(await desk.post("/tokenize", {"policy": vaultless, "items": items}), "not-of-this-policy")
    body = {"policy": stored, "items": items, "context": "x"}
    problem(await desk.post("/tokenize", body), "not-of-this-policy")


@pytest.mark.parametrize("kind", ["vault", "one_way"])
async def test_a_large_batch_lets_others_have_their_turn(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    policy = await desk.policy(**({} if kind == "vault" else {"kind": kind, "format": {"kind": "hash"}, "reveal": {}}))
    done, read, seen = asyncio.Event(), Policy.canonical, [0]

    async def others() -> None:
        while not done.is_set():
            seen.append(0)
            await asyncio.sleep(0)

    def canonical(self: Policy, value: str) -> str:
        seen[-1] += 1
        return read(self, value)

    monkeypatch.setattr(Policy, "canonical", canonical)
    waiting = asyncio.create_task(others())
    await desk.tokenize(policy, *[CARD] * 100)
    done.set()
    await waiting
    assert sum(seen) >= 100
    assert max(seen) <= 20


async def test_a_failure_in_the_middle_leaves_nothing_and_spends_no_key(desk: Desk) -> None:
    policy = await desk.policy()
    tables = ("vault.records", "vault.subjects", "vault.answers", "requests")

    async def counts() -> list[Any]:
        return [(await desk.rows(f"SELECT count(*) FROM {each}"))[0][0] for each in tables]

    before = await counts()
    items = [{"value": CARD, "subject": "somebody new"}]
    await desk.alter("ALTER TABLE vault.answers ADD CONSTRAINT broken CHECK (false) NOT VALID")
    answer = await desk.post("/tokenize", {"policy": policy, "items": items}, idempotency_key="broken")
    problem(answer, "internal-error")
    assert await counts() == before
    await desk.alter("ALTER TABLE vault.answers DROP CONSTRAINT broken")
    (outcome,) = await desk.tokenize(policy, *items, idempotency_key="broken")
    assert outcome["status"] == "created"


async def test_a_connection_cut_in_the_middle_leaves_nothing_behind(desk: Desk) -> None:
    policy = await desk.policy()
    await desk.tokenize(policy, {"value": CARD, "subject": "held"})
    blocker = await psycopg.AsyncConnection.connect(desk.app.state.settings.database_url.get_secret_value())
    await blocker.execute("LOCK TABLE vault.answers IN EXCLUSIVE MODE")
    asked = asyncio.create_task(desk.post("/tokenize", {"policy": policy, "items": [{"value": OTHER_CARD}]}))
    killed: list[tuple[Any, ...]] = []
    while not killed:
        await asyncio.sleep(0.02)
        killed = await desk.rows(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'WITH given AS%%'"""
        )
    stored = "SELECT 1 FROM vault.records WHERE policy_id = %s"
    assert len(await desk.rows(stored, policy)) == 1
    await blocker.close()
    assert (await asked).json()["data"][0]["status"] == "created"  # by saying the same statement again
    assert len(await desk.rows(stored, policy)) == 2


async def test_a_crowded_space_is_told_and_one_that_is_used_up_refuses(desk: Desk, log: Any) -> None:
    policy = await desk.policy(data_class="custom", rule={"pattern": "v[0-9]+", "length_max": 9}, format=DIGITS)
    with pytest.MonkeyPatch.context() as patched:
        drawn = iter([f"{n % 60:012d}" for n in range(10_000)])
        patched.setattr(formats.Digits, "draw", lambda _self, _original: next(drawn))
        await desk.tokenize(policy, *(f"v{n}" for n in range(50)))
        await desk.tokenize(policy, *(f"v{n}" for n in range(10)))
        outcomes = await desk.tokenize(policy, "v0")
    assert slug(outcomes[0]) == "space-exhausted"
    assert (await desk.get(f"/policies/{policy}")).json()["crowded_at"] is not None
    assert log.getvalue().count("vault_space_crowded") == 1
    told = await desk.client.get("/metrics", headers={"Authorization": f"Bearer {desk.key}"})
    assert "muniment_vault_crowded_policies{} 1\n" in told.text


@pytest.mark.parametrize(
    "body",
    [
        {"items": None},
        {"policy": None, "items": [{"value": CARD}]},
        {"policy": "x", "items": [{"value": CARD}]},
        {"items": []},
        {"items": [{"value": 4111111111111111}]},
        {"items": [{"value": CARD, "cvv": "123"}]},
        {"items": [{"value": "\ud800"}]},
        {"items": [{"value": CARD, "ttl_s": 0}]},
        {"items": [{"value": CARD, "subject": ""}]},
        {"items": [{"value": CARD}] * 501},
    ],
)
async def test_a_malformed_batch_is_refused_as_a_whole_without_its_values(desk: Desk, body: dict[str, Any]) -> None:
    answer = await desk.post("/tokenize", {"policy": "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01", **body})
    problem(answer, "invalid-request")
    assert "4111" not in answer.text
