"""Second factors: what a code and a signature approve, how they are guessed at, added and removed."""

import asyncio
import base64
import json
import secrets
from typing import Any

import psycopg
import pytest

from service import journal
from service.access import step_factors
from service.client.signing import Message, profile
from service.web import idempotency
from tests.access.approving import APPROVER, NOWHERE, REVOKE_ALL, Desk, desk, desk_with_app, secret_of, signed
from tests.access.desk import key_id, sql
from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Codes


async def test_a_code_is_taken_once(shared: World) -> None:
    ours = await desk_with_app(shared)
    first = (await ours.asked(REVOKE_ALL, {"reason": "1"}))["approval_id"]
    second = (await ours.asked(REVOKE_ALL, {"reason": "2"}))["approval_id"]
    code = ours.code()
    assert (await ours.give(first, totp=code)).status_code == 200
    problem(await ours.give(second, totp=code), "second-factor-refused")
    problem(await ours.give(second, totp=ours.code(later=-1)), "second-factor-refused")


async def test_of_two_confirmations_at_once_by_one_code_one_counts(shared: World) -> None:
    ours = await desk_with_app(shared)
    asked = [(await ours.asked(REVOKE_ALL, {"reason": str(number)}))["approval_id"] for number in range(4)]
    answers = await asyncio.gather(*(ours.give(each, totp=ours.code()) for each in asked))
    assert sorted(each.status_code for each in answers) == [200, 403, 403, 403]


async def test_an_approval_given_by_many_at_once_is_given_once_and_none_is_kept_waiting(shared: World) -> None:
    ours = await desk_with_app(shared)
    for number in range(3):
        asked = (await ours.asked(REVOKE_ALL, {"reason": str(number)}))["approval_id"]
        code = ours.code()
        answers = await asyncio.gather(*(ours.give(asked, totp=code) for _ in range(3)))
        assert {each.status_code for each in answers} <= {200, 403}
        assert (await shared.get(f"/v1/approvals/{asked}", key=ours.key)).json()["given_by"] == ours.factor
        await ours.forget_code()
    assert [each["kind"] for each in await ours.told()].count("step-up.given") == 3


async def test_a_code_is_spent_when_and_only_when_its_approval_is_stored(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = await desk_with_app(shared)
    asked, code = (await ours.asked(REVOKE_ALL, {"reason": "x"}))["approval_id"], ours.code()

    async def cut(*_given: object) -> None:
        raise psycopg.OperationalError("cut")

    with monkeypatch.context() as patched:
        patched.setattr(journal, "append", cut)
        problem(await ours.give(asked, totp=code), "database-unavailable")
    assert (await ours.give(asked, totp=code)).json()["given_by"] == ours.factor


async def test_an_approval_given_twice_is_given_once(shared: World) -> None:
    ours = await desk_with_app(shared)
    approval = await ours.approved(REVOKE_ALL, {"reason": "x"})
    assert (await ours.give(approval)).status_code == 200
    assert [each["kind"] for each in await ours.told()].count("step-up.given") == 1


async def wrong_codes(ours: Desk, count: int) -> None:
    """Wrong codes, each for an approval of its own."""
    for _ in range(count):
        asked = (await ours.asked(REVOKE_ALL, {"reason": secrets.token_hex(4)}))["approval_id"]
        problem(await ours.give(asked, totp=ours.wrong()), "second-factor-refused")


async def locked_s(ours: Desk) -> int:
    """For how long no code is looked at."""
    asked = (await ours.asked(REVOKE_ALL, {"reason": "x"}))["approval_id"]
    return int(problem(await ours.give(asked), "second-factor-locked")["retry_after_s"])


WAITED = "UPDATE second_factors SET locked_until = locked_until - make_interval(secs => :s) WHERE id = :id"


async def test_wrong_codes_lock_a_generator_for_longer_each_time_until_a_right_one(shared: World) -> None:
    ours = await desk_with_app(shared)
    for expected_s in (600, 1_200):
        await wrong_codes(ours, 5)
        assert expected_s - 5 < await locked_s(ours) <= expected_s
        await sql(shared, WAITED, id=ours.factor, s=expected_s)
    await sql(shared, "UPDATE second_factors SET locked_count = 12 WHERE id = :id", id=ours.factor)
    await wrong_codes(ours, 5)
    assert 86_395 < await locked_s(ours) <= 86_400
    await sql(shared, WAITED, id=ours.factor, s=86_400)
    await ours.approved(REVOKE_ALL, {"reason": "right"})
    await wrong_codes(ours, 5)
    assert await locked_s(ours) <= 600


async def test_a_code_that_is_mistyped_now_and_then_locks_nothing(shared: World) -> None:
    ours = await desk_with_app(shared)
    await wrong_codes(ours, 4)
    ago = "UPDATE second_factors SET failed_since = failed_since - interval '1 day' WHERE id = :id"
    await sql(shared, ago, id=ours.factor)
    await wrong_codes(ours, 4)
    await ours.approved(REVOKE_ALL, {"reason": "right"})
    await wrong_codes(ours, 4)
    await ours.approved(REVOKE_ALL, {"reason": "right again"})


async def test_three_wrong_codes_end_an_approval(shared: World) -> None:
    ours = await desk_with_app(shared)
    asked = (await ours.asked(REVOKE_ALL, {"reason": "x"}))["approval_id"]
    for _ in range(2):
        problem(await ours.give(asked, totp=ours.wrong()), "second-factor-refused")
    assert (await shared.get(f"/v1/approvals/{asked}", key=ours.key)).status_code == 200
    problem(await ours.give(asked, totp=ours.wrong()), "second-factor-refused")
    problem(await ours.give(asked), "step-up-not-found")
    anew = problem(await ours.post(REVOKE_ALL, {"reason": "x"}, approval=asked), "step-up-required")
    assert anew["approval_id"] != asked
    assert (await ours.give(anew["approval_id"])).status_code == 200


async def test_of_many_wrong_codes_at_once_three_are_looked_at(shared: World) -> None:
    ours = await desk_with_app(shared)
    asked = (await ours.asked(REVOKE_ALL, {"reason": "x"}))["approval_id"]
    answers = await asyncio.gather(*(ours.give(asked, totp=ours.wrong()) for _ in range(8)))
    assert sorted(each.status_code for each in answers) == [403] * 3 + [404] * 5
    problem(await ours.give(asked), "step-up-not-found")
    (row,) = await sql(shared, "SELECT failed_count FROM second_factors WHERE id = :id", id=ours.factor)
    assert row.failed_count == 3


# Approved by an account


async def test_an_account_approves_what_its_wallet_shows(shared: World) -> None:
    ours = await desk(shared)
    added = await ours.add({"kind": "account", "name": "treasury", "account": APPROVER.address})
    ours.factor = added["id"]
    confirm = f"/v1/second-factors/{ours.factor}/confirm"
    problem(await ours.post(confirm, {"signature": "0x" + "5a" * 65}), "second-factor-refused")
    assert (await ours.post(confirm, {"signature": signed(added["typed_data"])})).status_code == 200
    body = {"reason": "a laptop was stolen"}
    asked = await ours.asked(REVOKE_ALL, body)
    message = asked["typed_data"]["message"]
    assert json.loads(message["body"]) == body
    assert (message["method"], message["path"], message["approval"]) == ("POST", REVOKE_ALL, asked["approval_id"])
    other = {**asked["typed_data"], "message": {**message, "body": "{}"}}
    problem(await ours.give(asked["approval_id"], signature=signed(other)), "second-factor-refused")
    problem(await ours.give(asked["approval_id"], totp="123456"), "second-factor-refused")
    assert (await ours.give(asked["approval_id"], signature=signed(asked["typed_data"]))).status_code == 200
    assert (await ours.post(REVOKE_ALL, body, approval=asked["approval_id"])).status_code == 200


async def test_a_contract_is_asked_whether_it_signed(shared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = await desk(shared)
    contract = "0x" + "11" * 20
    added = await ours.add({"kind": "account", "name": "council", "account": contract})
    heard: list[bytes] = []

    async def says(_self: object, account: bytes, digest: bytes, signature: bytes) -> bool:
        heard.append(account)
        return signature == b"yes"

    monkeypatch.setattr("service.access.wallets.Wallets._says", says)
    confirm = f"/v1/second-factors/{added['id']}/confirm"
    problem(await ours.post(confirm, {"signature": "0x" + b"no".hex()}), "second-factor-refused")
    assert (await ours.post(confirm, {"signature": "0x" + b"yes".hex()})).status_code == 200
    assert heard == [bytes.fromhex(contract[2:])] * 2


async def contract_desk(shared: World, monkeypatch: pytest.MonkeyPatch) -> tuple[Desk, dict[str, Any]]:
    """An issuer whose approver is a contract that says yes, and a request that waits."""

    async def says(*_given: object) -> bool:
        return True

    monkeypatch.setattr("service.access.wallets.Wallets._says", says)
    ours = await desk(shared)
    ours.factor = (await ours.add({"kind": "account", "name": "council", "account": CONTRACT}))["id"]
    assert (await ours.post(f"/v1/second-factors/{ours.factor}/confirm", {"signature": "0x00"})).status_code == 200
    return ours, await ours.asked(REVOKE_ALL, {"reason": "x"})


CONTRACT = "0x" + "12" * 20


async def test_a_factor_that_is_removed_while_it_approves_approves_nothing(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, asked = await contract_desk(shared, monkeypatch)

    async def says(*_given: object) -> bool:
        await sql(shared, "UPDATE second_factors SET removed_at = now() WHERE id = :id", id=ours.factor)
        return True

    monkeypatch.setattr("service.access.wallets.Wallets._says", says)
    problem(await ours.give(asked["approval_id"], signature="0x00"), "second-factor-not-found")
    (row,) = await sql(shared, "SELECT given_at FROM step_ups WHERE id = :id", id=asked["approval_id"])
    assert row.given_at is None


async def test_while_a_contract_is_asked_no_db_transaction_is_open(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, asked = await contract_desk(shared, monkeypatch)
    held: list[int] = []

    async def says(*_given: object) -> bool:
        query = """SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
            WHERE d.datname = current_database() AND l.pid <> pg_backend_pid()
            AND l.relation IN ('second_factors'::regclass, 'step_ups'::regclass, 'credentials'::regclass)"""
        held.append((await sql(shared, query))[0][0])
        return True

    monkeypatch.setattr("service.access.wallets.Wallets._says", says)
    assert (await ours.give(asked["approval_id"], signature="0x00")).status_code == 200
    assert held == [0]


# Second factors


async def test_a_factors_secret_is_shown_once_and_kept_sealed(shared: World) -> None:
    ours = await desk(shared)
    order = {"kind": "totp", "name": "phone"}
    first = await ours.post("/v1/second-factors", order, idempotency_key="once")
    again = await ours.post("/v1/second-factors", order, idempotency_key="once")
    assert first.headers["Cache-Control"] == "no-store"
    assert problem(again, "secret-already-shown")["key"] == first.json()["id"]
    secret = secret_of(first.json())
    for table in ("second_factors", "journal_entries", "requests"):
        told = "".join(row[0] for row in await sql(shared, f"SELECT t::text FROM {table} t"))
        assert secret.hex() not in told
        assert base64.b32encode(secret).decode() not in told
    assert base64.b32encode(secret).decode() not in (await shared.get("/v1/second-factors", key=ours.key)).text


async def test_a_factor_that_did_not_prove_itself_asks_nobody_for_anything(shared: World) -> None:
    ours = await desk(shared)
    added = await ours.add({"kind": "totp", "name": "phone"})
    assert (await ours.post(REVOKE_ALL, {"reason": "x"})).status_code == 200
    await sql(
        shared, "UPDATE second_factors SET created_at = now() - interval '61 minutes' WHERE id = :id", id=added["id"]
    )
    ours.secret = secret_of(added)
    answer = await ours.post(f"/v1/second-factors/{added['id']}/confirm", {"totp": ours.code()})
    problem(answer, "second-factor-not-found")


async def test_an_issuers_first_factor_ends_those_that_nobody_approved(shared: World) -> None:
    ours = await desk(shared)
    before = await ours.add({"kind": "account", "name": "somebody's", "account": APPROVER.address})
    await ours.with_app()
    listed = (await shared.get("/v1/second-factors", key=ours.key)).json()["data"]
    assert [each["id"] for each in listed] == [ours.factor]
    proof = {"signature": signed(before["typed_data"])}
    problem(await ours.post(f"/v1/second-factors/{before['id']}/confirm", proof), "second-factor-not-found")


async def test_a_factor_that_was_added_while_the_first_one_was_confirmed_never_counts(shared: World) -> None:
    ours = await desk(shared)
    beside = await ours.add({"kind": "account", "name": "somebody's", "account": APPROVER.address})
    await ours.with_app()
    await sql(shared, "UPDATE second_factors SET removed_at = NULL WHERE id = :id", id=beside["id"])
    proof = {"signature": signed(beside["typed_data"])}
    problem(await ours.post(f"/v1/second-factors/{beside['id']}/confirm", proof), "second-factor-not-found")


async def test_a_factor_that_was_let_in_before_the_first_one_was_confirmed_waits_for_its_approval(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, looked = await desk(shared), idempotency.first_resource

    async def meanwhile(*given: Any) -> str | None:
        monkeypatch.undo()
        await ours.with_app()
        return await looked(*given)

    monkeypatch.setattr(idempotency, "first_resource", meanwhile)
    order, given = {"kind": "account", "name": "somebody's", "account": APPROVER.address}, {"idempotency_key": "late"}
    asked = await ours.asked("/v1/second-factors", order, **given)
    listed = (await shared.get("/v1/second-factors", key=ours.key)).json()["data"]
    assert [each["id"] for each in listed] == [ours.factor]
    assert (await ours.give(asked["approval_id"])).status_code == 200
    answer = await ours.post("/v1/second-factors", order, approval=asked["approval_id"], **given)
    assert answer.status_code == 201


async def test_a_factor_that_was_confirmed_while_it_was_to_be_removed_stays_until_that_is_approved(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, alone = await desk(shared), step_factors._alone
    added = await ours.add({"kind": "totp", "name": "phone"})
    ours.factor, ours.secret = added["id"], secret_of(added)

    async def meanwhile(*given: Any) -> None:
        monkeypatch.undo()
        assert (await ours.post(f"/v1/second-factors/{ours.factor}/confirm", {"totp": ours.code()})).status_code == 200
        await alone(*given)

    monkeypatch.setattr(step_factors, "_alone", meanwhile)
    path = f"/v1/second-factors/{ours.factor}/remove"
    asked = await ours.asked(path)
    listed = (await shared.get("/v1/second-factors", key=ours.key)).json()["data"]
    assert [each["id"] for each in listed] == [ours.factor]
    await ours.forget_code()
    assert (await ours.give(asked["approval_id"])).status_code == 200
    assert (await ours.post(path, approval=asked["approval_id"])).status_code == 200


async def test_a_factor_that_waits_cannot_approve(shared: World) -> None:
    ours = await desk_with_app(shared)
    order = {"kind": "account", "name": "treasury", "account": APPROVER.address}
    approval = await ours.approved("/v1/second-factors", order, idempotency_key="w")
    added = (await ours.post("/v1/second-factors", order, idempotency_key="w", approval=approval)).json()
    asked = await ours.asked(REVOKE_ALL, {"reason": "x"})
    answer = await ours.give(asked["approval_id"], factor_id=added["id"], signature=signed(asked["typed_data"]))
    problem(answer, "second-factor-not-found")


async def test_the_removal_of_a_factor_is_approved_and_then_it_confirms_nothing(shared: World) -> None:
    ours = await desk_with_app(shared)
    path = f"/v1/second-factors/{ours.factor}/remove"
    waiting = (await ours.asked(REVOKE_ALL, {"reason": "x"}))["approval_id"]
    approval = await ours.approved(path)
    assert (await ours.post(path, approval=approval)).json() == {"id": ours.factor, "removed": True}
    problem(await ours.give(waiting), "second-factor-not-found")
    problem(await ours.post(path), "second-factor-not-found")
    assert (await ours.post(REVOKE_ALL, {"reason": "x"})).status_code == 200


async def test_what_a_removed_factor_approved_waits_for_another(shared: World) -> None:
    ours = await desk_with_app(shared)
    order = {"kind": "account", "name": "treasury", "account": APPROVER.address}
    allowed = await ours.approved("/v1/second-factors", order, idempotency_key="t")
    added = (await ours.post("/v1/second-factors", order, idempotency_key="t", approval=allowed)).json()
    proof = {"signature": signed(added["typed_data"])}
    assert (await ours.post(f"/v1/second-factors/{added['id']}/confirm", proof)).status_code == 200
    approval = await ours.approved(REVOKE_ALL, {"reason": "x"})
    removal = await ours.approved(f"/v1/second-factors/{ours.factor}/remove")
    assert (await ours.post(f"/v1/second-factors/{ours.factor}/remove", approval=removal)).status_code == 200
    asked = problem(await ours.post(REVOKE_ALL, {"reason": "x"}, approval=approval), "step-up-required")
    assert (asked["approval_id"], [each["id"] for each in asked["factors"]]) == (approval, [added["id"]])


async def test_what_a_removed_factor_approved_and_is_over_stays_as_it_was(shared: World) -> None:
    ours = await desk_with_app(shared)
    approval = await ours.approved(REVOKE_ALL, {"reason": "x"})
    await sql(shared, "UPDATE step_ups SET expires_at = now() WHERE id = :id", id=approval)
    removal = await ours.approved(f"/v1/second-factors/{ours.factor}/remove")
    assert (await ours.post(f"/v1/second-factors/{ours.factor}/remove", approval=removal)).status_code == 200
    (row,) = await sql(shared, "SELECT given_by FROM step_ups WHERE id = :id", id=approval)
    assert str(row.given_by) == ours.factor


async def test_an_issuer_has_twenty_factors_at_most(shared: World) -> None:
    ours = await desk(shared)
    for number in range(20):
        await ours.add({"kind": "totp", "name": f"phone {number}"})
    answer = await ours.post("/v1/second-factors", {"kind": "totp", "name": "x"}, idempotency_key="many")
    problem(answer, "too-many-second-factors")


@pytest.mark.parametrize(
    "order",
    [
        {"kind": "totp", "name": "x", "account": APPROVER.address},
        {"kind": "account", "name": "x"},
        {"kind": "account", "name": "x", "account": "0x12"},
        {"kind": "sms", "name": "x"},
    ],
)
async def test_a_factor_that_is_none_is_refused(shared: World, order: dict[str, str]) -> None:
    ours = await desk(shared)
    problem(await ours.post("/v1/second-factors", order, idempotency_key="x"), "invalid-request")


@pytest.mark.parametrize("proof", [{}, {"totp": "12345"}, {"totp": "١٢٣٤٥٦"}, {"totp": "123456", "signature": "0x11"}])
async def test_a_proof_that_is_none_is_refused(shared: World, proof: dict[str, str]) -> None:
    ours = await desk(shared)
    problem(await ours.post(f"/v1/second-factors/{NOWHERE}/confirm", proof), "invalid-request")


async def test_a_factor_whose_secret_does_not_open_confirms_nothing(shared: World) -> None:
    ours = await desk_with_app(shared)
    asked = (await ours.asked(REVOKE_ALL, {"reason": "x"}))["approval_id"]
    await sql(shared, "UPDATE second_factors SET sealed_secret = sealed_secret || 'x' WHERE id = :id", id=ours.factor)
    problem(await ours.give(asked), "second-factor-refused")


async def test_our_client_signs_the_approval() -> None:
    headers = {"idempotency-key": "k", "muniment-approval": NOWHERE}
    assert profile(Message("POST", f"http://api{REVOKE_ALL}", headers, None))[-2:] == tuple(headers)


# The journal


async def test_each_step_is_a_fact_and_no_secret_is_among_them(shared: World) -> None:
    ours = await desk_with_app(shared)
    body, code = {"reason": "x"}, ours.code()
    approval = (await ours.asked(REVOKE_ALL, body))["approval_id"]
    wrong = ours.wrong()
    await ours.give(approval, totp=wrong)
    await ours.give(approval, totp=code)
    await ours.post(REVOKE_ALL, {"reason": "y"}, approval=approval)
    await ours.post(REVOKE_ALL, body, approval=approval)
    told = await ours.told()
    assert [each["kind"] for each in told] == [
        *("second-factor.added", "second-factor.confirmed", "step-up.asked", "step-up.refused"),
        *("step-up.given", "step-up.refused", "step-up.used"),
    ]
    assert [each["reason"] for each in told if each["kind"] == "step-up.refused"] == ["code", "mismatch"]
    assert {each["by"]["key"] for each in told} == {key_id(ours.key)}
    assert code not in (text := json.dumps(told))
    assert wrong not in text
