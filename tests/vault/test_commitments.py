"""Attributes are committed to, disclosed one by one, and checked without the service."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service import cli
from service.vault.disclosure import DisclosureFalse, check
from service.vault.document_reveals import granted
from tests.flows.liars import Said, server
from tests.vault.desk import Desk
from tests.web.answers import pointers, problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

VALUES = {"parcel": "CH-1204-77", "valuation": "1250000", "owner": "Canary of Harbour Street"}
WHY = {"purpose": "audit", "reason": "Annual audit"}
SUBJECT = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
UNKNOWN_ID = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"


async def policy(desk: Desk) -> str:
    """A policy for documents and attributes."""
    reveal = {"purposes": ["audit"], "views": ["plain"]}
    return await desk.policy(data_class="document", format={"kind": "prefix"}, reveal=reveal)


async def committed(desk: Desk, values: dict[str, str] | None = None) -> dict[str, Any]:
    """A commitment."""
    answer = await desk.post("/commitments", {"policy": await policy(desk), "attributes": values or VALUES})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    assert (await desk.get(f"/commitments/{found['id']}")).json() == found
    return found


async def disclosed(desk: Desk, commitment: dict[str, Any], *names: str) -> bytes:
    """The disclosure of some of its attributes."""
    answer = await desk.post("/disclosures", {"commitment": commitment["id"], "names": list(names), **WHY})
    assert answer.status_code == 200, answer.text
    return answer.content


async def test_a_disclosure_proves_what_was_asked_and_tells_nothing_else(desk: Desk) -> None:
    commitment = await committed(desk)
    told = await disclosed(desk, commitment, "valuation")
    assert check(told, bytes.fromhex(commitment["root"][2:])) == {"valuation": "1250000"}
    for word in ("parcel", "CH-1204-77", "owner", "Canary"):
        assert word.encode() not in told
    with pytest.raises(DisclosureFalse):
        check(told, bytes.fromhex((await committed(desk))["root"][2:]))


async def test_a_reason_with_a_card_number_discloses_nothing(desk: Desk) -> None:
    order = {"commitment": (await committed(desk))["id"], "names": ["parcel"], "purpose": "audit"}
    problem(await desk.post("/disclosures", {**order, "reason": "4111/1111/1111/1111"}), "invalid-request")


async def test_256_attributes_are_disclosed_at_once(desk: Desk) -> None:
    values = {f"attribute {number}": "½" * 2_000 for number in range(256)}
    commitment = await committed(desk, values)
    told = await disclosed(desk, commitment, *values)
    assert check(told, bytes.fromhex(commitment["root"][2:])) == values


async def test_a_commitment_is_repeated_by_its_key(desk: Desk) -> None:
    order = {"policy": await policy(desk), "attributes": VALUES}
    first = (await desk.post("/commitments", order, idempotency_key="attributes")).json()
    assert (await desk.post("/commitments", order, idempotency_key="attributes")).json() == first
    refused = await desk.post("/commitments", {**order, "attributes": {"a": "b"}}, idempotency_key="attributes")
    problem(refused, "idempotency-key-reused")


async def test_what_is_not_there_cannot_be_disclosed(desk: Desk) -> None:
    commitment, theirs = await committed(desk), await desk.new_issuer("Valley Estates")
    order = {"commitment": commitment["id"], "names": ["valuation", "height"], **WHY}
    assert problem(await desk.post("/disclosures", order), "attribute-not-found")["position"] == 1
    problem(await desk.post("/disclosures", order, key=theirs), "commitment-not-found")
    problem(await desk.post("/disclosures", {**order, "commitment": UNKNOWN_ID}), "commitment-not-found")
    problem(await desk.get(f"/commitments/{commitment['id']}", key=theirs), "commitment-not-found")
    problem(await desk.post("/disclosures", {**order, "purpose": "curiosity"}), "reveal-refused")
    assert pointers(await desk.post("/disclosures", {**order, "names": ["valuation", "valuation"]})) == ["#/names"]


async def test_who_had_what_disclosed_is_in_the_journal(desk: Desk) -> None:
    commitment = await committed(desk)
    await disclosed(desk, commitment, "parcel", "owner")
    ((body,),) = await desk.rows("SELECT body FROM journal_entries WHERE body LIKE %s", f"%{commitment['id']}%")
    told = json.loads(body)
    assert (told["kind"], told["purpose"], told["count"]) == ("vault.attributes-disclosed", "audit", 2)


async def test_an_erased_persons_attributes_and_salts_are_gone_and_their_root_stays(desk: Desk) -> None:
    order = {"policy": await policy(desk), "attributes": VALUES}
    theirs = (await desk.post("/commitments", {**order, "subject": "leaves"}, idempotency_key="theirs")).json()
    other = (await desk.post("/commitments", {**order, "subject": "stays"})).json()
    await disclosed(desk, theirs, "valuation")
    await desk.post("/subjects/erase", {"reference": "leaves"})
    left = (await desk.get(f"/commitments/{theirs['id']}")).json()
    assert left["erased_at"] is not None
    assert left == {**theirs, "erased_at": left["erased_at"]}
    asked = {"commitment": theirs["id"], "names": ["valuation"], **WHY}
    problem(await desk.post("/disclosures", asked), "commitment-not-found")
    problem(await desk.post("/disclosures", {**asked, "names": ["height"]}), "commitment-not-found")
    rows = await desk.rows("SELECT sealed, data_version FROM vault.commitments WHERE id = %s", theirs["id"])
    assert rows == [(None, None)]
    assert check(await disclosed(desk, other, "parcel"), bytes.fromhex(other["root"][2:])) == {"parcel": "CH-1204-77"}
    for values in (VALUES, {"parcel": "another"}):
        again = {**order, "subject": "leaves", "attributes": values}
        problem(await desk.post("/commitments", again, idempotency_key="theirs"), "request-erased")


async def test_attributes_that_are_erased_while_they_are_asked_for_are_not_seen(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = {"policy": await policy(desk), "attributes": VALUES, "subject": "meanwhile"}
    commitment = (await desk.post("/commitments", order)).json()
    asked = {"commitment": commitment["id"], "names": ["valuation"], **WHY}

    async def late(*given: Any, **named: Any) -> None:
        await desk.post("/subjects/erase", {"reference": "meanwhile"})
        await granted(*given, **named)

    monkeypatch.setattr("service.vault.disclosure_routes.granted", late)
    problem(await desk.post("/disclosures", asked), "commitment-not-found")


async def test_under_an_altered_subjects_key_nothing_more_is_kept(desk: Desk) -> None:
    order = {"policy": await policy(desk), "subject": "altered"}
    found = (await desk.post("/commitments", {**order, "attributes": VALUES})).json()
    await desk.alter(
        f"UPDATE vault.subjects SET wrapped = set_byte(wrapped, 9, 255 - get_byte(wrapped, 9)) "
        f"WHERE id = '{found['subject_id']}'"
    )
    document = {**order, "name": "deed", "media_type": "application/pdf", "size_bytes": 1}
    for path, body in (("/commitments", {**order, "attributes": VALUES}), ("/documents", document)):
        problem(await desk.post(path, body), "record-damaged")


async def test_attributes_that_do_not_fit_are_refused(desk: Desk) -> None:
    order = {"policy": await desk.policy(), "attributes": VALUES}
    problem(await desk.post("/commitments", order), "policy-not-for-documents")
    for values in ({}, {"": "a"}, {"a": "x" * 2_001}, {"a": 1}, {str(number): "" for number in range(257)}):
        problem(await desk.post("/commitments", {**order, "attributes": values}), "invalid-request")


async def test_no_attribute_is_in_clear(desk: Desk, log: io.StringIO) -> None:
    commitment = await committed(desk)
    await disclosed(desk, commitment, "owner")
    assert "Canary" not in log.getvalue()
    for table in ("vault.commitments", "requests", "journal_entries"):
        for (row,) in await desk.rows(f"SELECT t::text FROM {table} t"):
            for name, value in VALUES.items():
                assert name not in row
                assert value not in row
                assert value.encode().hex() not in row


async def test_altered_attributes_are_refused_with_an_alarm(desk: Desk, log: io.StringIO) -> None:
    one, other = await committed(desk), await committed(desk)
    order = {"names": ["owner"], **WHY}
    for statement in (
        "UPDATE vault.commitments c SET root = o.root FROM vault.commitments o WHERE c.id = %s AND o.id = %s",
        "UPDATE vault.commitments c SET sealed = o.sealed FROM vault.commitments o WHERE c.id = %s AND o.id = %s",
    ):
        async with desk.db.transaction() as session:
            await (await session.connection()).exec_driver_sql(statement, (one["id"], other["id"]))
        problem(await desk.post("/disclosures", {**order, "commitment": one["id"]}), "record-damaged")
    assert log.getvalue().count("vault_record_damaged") == 2


Run = Callable[..., tuple[Any, str, str]]


@pytest.fixture
def check_disclosure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `muniment vault check-disclosure`: its exit code, what it wrote, and what it said."""

    def run(*arguments: str) -> tuple[Any, str, str]:
        monkeypatch.setattr("sys.argv", ["muniment", "vault", "check-disclosure", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        return ended.value.code, told.out, told.err

    return run


async def test_the_command_checks_what_the_api_answered(desk: Desk, check_disclosure: Run, tmp_path: Path) -> None:
    commitment = await committed(desk)
    root, file = commitment["root"], tmp_path / "disclosure.json"
    file.write_bytes(await disclosed(desk, commitment, "valuation"))
    code, out, _ = check_disclosure(str(file), "--root", root, "--json")
    assert (code, json.loads(out)["attributes"]) == (0, {"valuation": "1250000"})
    code, out, _ = check_disclosure(str(file), "--root", root)
    assert code == 0
    assert "1250000" in out
    code, _, err = check_disclosure(str(file), "--root", "0x" + "8f" * 32)
    assert code == 1
    assert "does not lead to this root" in err
    file.write_bytes(file.read_bytes().replace(b"1250000", b"9250000"))
    code, out, _ = check_disclosure(str(file), "--root", root, "--json")
    assert (code, json.loads(out)["proved"]) == (1, False)


async def test_the_command_refuses_what_it_cannot_check(check_disclosure: Run, tmp_path: Path) -> None:
    file = tmp_path / "disclosure.json"
    file.write_bytes(b"{}")
    root = "0x" + "8f" * 32
    for arguments in (
        ("nowhere", "--root", root),
        (str(file), "--root", "0x12"),
        (str(file), "--root", "0x" + "zz" * 32),
        (str(file),),
        (str(file), "--root", root, "--subject", SUBJECT),
        (str(file), "--subject", SUBJECT),
        (str(file), "--subject", "0x12"),
    ):
        code, out, err = check_disclosure(*arguments)
        assert (code, out) == (2, ""), arguments
        assert "Traceback" not in err


async def test_the_command_reads_the_root_that_the_chain_has(
    desk: Desk, check_disclosure: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commitment = await committed(desk)
    file = tmp_path / "disclosure.json"
    file.write_bytes(await disclosed(desk, commitment, "valuation"))
    other = {"name": "deed", "document_hash": "0x" + "8f" * 32}
    record = {"name": "attributes", "document_hash": commitment["root"]}
    pages: dict[str, Said] = {
        f"/v1/documents?subject={SUBJECT}": (200, {}, json.dumps({"data": [other], "next_cursor": "more"})),
        f"/v1/documents?subject={SUBJECT}&cursor=more": (200, {}, json.dumps({"data": [record], "next_cursor": None})),
    }
    with server(pages) as (url, keys):
        monkeypatch.setenv("MUNIMENT_URL", url)
        monkeypatch.setenv("MUNIMENT_API_KEY", desk.key)
        assert check_disclosure(str(file), "--subject", SUBJECT)[0] == 0
        assert check_disclosure(str(file), "--subject", SUBJECT, "--name", "deed")[0] == 1
        code, _, err = check_disclosure(str(file), "--subject", SUBJECT, "--name", "lease")
        assert (code, "lease" in err) == (2, True)
    assert set(keys) == {f"Bearer {desk.key}"}
