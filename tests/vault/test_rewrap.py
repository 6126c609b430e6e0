"""A rewrap brings all under the newest version and nothing else changes; verify says what does not open."""

import asyncio
import io
from dataclasses import replace
from typing import Any

import pytest

from service.keys.wrapping import KeyContext
from service.vault import checking, rewrapping
from service.vault.checking import Finding
from service.vault.envelope import Tampered
from service.vault.keyring import Purpose
from service.vault.rewrapping_shelves import RECORDS
from tests.vault.desk import Desk
from tests.vault.keeping import Keeper, keeper, operators
from tests.vault.test_documents import CONTENT, SEE, send

pytestmark = pytest.mark.asyncio(loop_scope="module")

POLICY = {
    "name": "papers",
    "kind": "vault",
    "data_class": "document",
    "format": {"kind": "prefix"},
    "reveal": {"purposes": ["audit"], "views": ["plain"]},
}


async def findings(kept: Keeper) -> set[tuple[str, str]]:
    """What verify finds: what, and where."""
    checked = await checking.check(kept.vault, lambda *_: None)
    return {(each.what, each.table) for each in checked.findings}


async def document(kept: Keeper, **changed: Any) -> str:
    """A whole document of the keeper's."""
    desk, key = kept.desk, kept.key
    policy = (await desk.post("/policies", {**POLICY, "name": f"papers {changed}"}, key=key)).json()["id"]
    order = {"policy": policy, "name": "deed", "media_type": "application/pdf", "size_bytes": len(CONTENT), **changed}
    id_ = (await desk.post("/documents", order, key=key)).json()["id"]
    answer = await send(desk, id_, CONTENT, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    attributes = {"policy": policy, "attributes": {"owner": "Ada"}}
    assert (await desk.post("/commitments", attributes, key=key)).status_code == 201
    return str(id_)


async def test_everything_comes_under_the_newest_version_and_opens_as_before(desk: Desk) -> None:
    kept = await keeper(desk, "Harbour Keepers", count=40)
    papers = [await document(kept), await document(kept, subject="Ada")]
    await kept.rotate()
    found = await kept.rewrap(stretch_blocks=1)
    assert {table: each.rewrapped for table, each in found.items()} == {
        "vault.subjects": 1,
        "vault.records": 40,
        "vault.documents": 2,
        "vault.commitments": 2,
    }
    assert not any(each.left or each.damaged for each in found.values())
    for table in ("vault.records", "vault.documents", "vault.commitments"):
        assert await kept.versions(table) == {2}
    assert await kept.revealed() == kept.values
    for id_ in papers:
        assert (await desk.post(f"/documents/{id_}/reveal", SEE, key=kept.key)).content == CONTENT
    assert {each.rewrapped for each in (await kept.rewrap()).values()} == {0}
    assert await findings(kept) == set()


async def test_two_rewraps_at_once_share_the_rows(desk: Desk) -> None:
    kept = await keeper(desk, "Shared Keepers", count=200)
    await kept.rotate()
    both = await asyncio.gather(kept.rewrap(stretch_blocks=1), kept.rewrap(stretch_blocks=1))
    assert sum(each["vault.records"].rewrapped for each in both) == 200
    assert [each["vault.records"].left for each in both] == [0, 0]
    assert await kept.revealed() == kept.values


async def test_who_is_erased_during_a_rewrap_stays_erased(desk: Desk) -> None:
    kept = await keeper(desk, "Erasing Keepers", count=100)
    await kept.rotate()
    erasing = desk.post("/subjects/erase", {"reference": "Ada"}, key=kept.key)
    _, answer = await asyncio.gather(kept.rewrap(stretch_blocks=1), erasing)
    assert answer.json()["records_count"] == 50
    assert list((await kept.revealed()).values()).count(None) == 50
    assert await findings(kept) == set()


async def test_an_altered_row_is_left_and_told_and_all_others_are_rewrapped(desk: Desk, log: io.StringIO) -> None:
    kept = await keeper(desk, "Damaged Keepers", count=6)
    first, second, *_ = [f"'\\x{index.hex()}'" for (index,) in await indexes(kept)]
    await desk.alter(f"UPDATE vault.records SET sealed = substr(sealed, 1, 70) WHERE index = {first}")
    await kept.rotate()
    found = (await kept.rewrap())["vault.records"]
    assert (found.rewrapped, found.left, found.damaged) == (5, 1, 1)
    assert "vault_record_damaged" in log.getvalue()
    await desk.alter(f"UPDATE vault.records SET data_version = 7 WHERE index = {second}")
    assert {("does-not-open", "vault.records"), ("key-closed", "vault.records")} <= await findings(kept)
    await desk.alter(f"UPDATE vault.records SET data_version = 1 WHERE index = {second}")
    assert ("version-differs", "vault.records") in await findings(kept)
    await desk.alter(f"DELETE FROM vault.records WHERE index IN ({first}, {second})")


async def indexes(kept: Keeper) -> list[tuple[bytes]]:
    rows = await kept.desk.rows("SELECT index FROM vault.records WHERE issuer_id = %s ORDER BY index", kept.issuer_id)
    return [(index,) for (index,) in rows]


async def test_what_postgres_does_not_give_back_as_it_was_given_is_undone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = await keeper(desk, "Forgetful Keepers")
    await kept.rotate()
    wrong = replace(RECORDS, renewed=lambda rows, keys, version: RECORDS.renewed(reversed([*rows]), keys, version))
    monkeypatch.setattr(rewrapping, "SHELVES", [wrong])
    with pytest.raises(Tampered, match="nothing of this stretch"):
        await kept.rewrap()
    assert await kept.versions("vault.records") == {1}
    assert await kept.revealed() == kept.values


async def test_verify_opens_both_layers_of_what_needs_no_vault_token(desk: Desk) -> None:
    kept = await keeper(desk, "Exporting Keepers", count=2)
    await document(kept)
    order = {**POLICY, "name": "exported", "data_class": "email", "mapping": "exportable"}
    exported = (await desk.post("/policies", order, key=kept.key)).json()["id"]
    items = [{"value": "ada@example.org"}, {"value": "grace@example.org", "subject": "Grace"}]
    await desk.post("/tokenize", {"policy": exported, "items": items}, key=kept.key)
    assert await findings(kept) == set()
    rows = await desk.rows(
        "SELECT id, policy_id FROM vault.keys WHERE issuer_id = %s AND purpose = 'record' AND policy_id <> %s",
        kept.issuer_id,
        kept.policy,
    )
    for id_, policy_id in rows:
        other = await kept.vault.keyring.made(KeyContext(kept.issuer_id, Purpose.RECORD, 1, policy_id))
        await desk.alter(f"UPDATE vault.keys SET wrapped = '\\x{other.sealed.hex()}' WHERE id = '{id_}'")
    kept.vault = operators(desk)
    tables = ("vault.records", "vault.documents", "vault.commitments")
    assert await findings(kept) == {("does-not-open", table) for table in tables}
    await desk.alter(f"DELETE FROM vault.records WHERE policy_id = '{exported}'")
    for table in ("vault.document_chunks", "vault.documents", "vault.commitments"):
        await desk.alter(f"DELETE FROM {table}")


async def test_verify_tells_what_should_not_be(desk: Desk) -> None:
    kept = await keeper(desk, "Checked Keepers", count=2)
    id_ = await document(kept, subject="Grace")
    assert await findings(kept) == set()
    other = await keeper(desk, "Other Keepers", count=1)
    for broken, mended, expected in (
        (
            f"UPDATE vault.document_chunks SET number = 9 WHERE document_id = '{id_}' AND number = 1",
            f"UPDATE vault.document_chunks SET number = 1 WHERE document_id = '{id_}' AND number = 9",
            {("document-not-whole", "vault.documents")},
        ),
        (
            f"UPDATE vault.subjects SET wrapped = wrapped || '\\x00' WHERE issuer_id = '{kept.issuer_id}'",
            f"""UPDATE vault.subjects SET wrapped = substr(wrapped, 1, length(wrapped) - 1)
                WHERE issuer_id = '{kept.issuer_id}'""",
            {("does-not-open", "vault.subjects")},
        ),
        (
            f"UPDATE vault.records SET policy_id = '{other.policy}' WHERE issuer_id = '{kept.issuer_id}'",
            f"UPDATE vault.records SET policy_id = '{kept.policy}' WHERE issuer_id = '{kept.issuer_id}'",
            {("another-issuers", "vault.records"), ("does-not-open", "vault.records")},
        ),
        (
            f"UPDATE vault.keys SET purpose = 'ff1' WHERE policy_id = '{kept.policy}' AND purpose = 'record'",
            f"UPDATE vault.keys SET purpose = 'record' WHERE policy_id = '{kept.policy}' AND purpose = 'ff1'",
            {("key-missing", "vault.policies"), ("key-does-not-unwrap", "vault.keys")},
        ),
        (
            f"UPDATE vault.subjects SET wrapped = NULL, erased_at = now() WHERE issuer_id = '{kept.issuer_id}'",
            "SELECT 1",
            {("openable-after-erasure", "vault.records"), ("openable-after-erasure", "vault.documents")},
        ),
    ):
        await desk.alter(broken)
        assert await findings(kept) == expected, broken
        await desk.alter(mended)


async def test_a_finding_names_its_row(desk: Desk) -> None:
    checked = checking.Checked()
    checked.find("does-not-open", "vault.records", bytes(32), "altered")
    assert checked.findings == [Finding("does-not-open", "vault.records", "00" * 32, "altered")]
    for _ in range(checking.FINDINGS_MAX):
        checked.find("does-not-open", "vault.records", bytes(32))
    assert (len(checked.findings), checked.findings_count) == (checking.FINDINGS_MAX, checking.FINDINGS_MAX + 1)
