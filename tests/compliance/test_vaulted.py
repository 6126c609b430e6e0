"""What the vault holds, and what the chain's document records say of it."""

import hashlib

import pytest

from service.vault.document_routes import PARTIAL_UPLOAD
from tests.compliance.office import Office
from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEED = b"%PDF-1.7 the deed of 12 Harbour Street"


async def policy(shared: World) -> str:
    """A policy for documents."""
    order = {"name": "deeds", "kind": "vault", "data_class": "document", "format": {"kind": "prefix"}}
    return str((await shared.post("/v1/vault/policies", order, idempotency_key="deeds")).json()["id"])


async def document(shared: World, content: bytes) -> str:
    """A whole document of the vault."""
    order = {"policy": await policy(shared), "name": "Deed", "media_type": "application/pdf", "size_bytes": len(DEED)}
    id_ = str((await shared.post("/v1/vault/documents", order)).json()["id"])
    headers = {"Authorization": f"Bearer {shared.key}", "Content-Type": PARTIAL_UPLOAD}
    answer = await shared.client.patch(f"/v1/vault/documents/{id_}/content", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    return id_


async def test_the_chains_record_of_a_document_is_the_digest_of_its_content(shared: World) -> None:
    office, subject = Office(shared, ""), await shared.contract("documents")
    deed, other = await document(shared, DEED), await document(shared, DEED[::-1])
    order = {"policy": await policy(shared), "attributes": {"parcel": "CH-1204-77"}}
    commitment = (await shared.post("/v1/vault/commitments", order)).json()
    record = {"subject": subject, "name": "deed"}
    problem(await shared.get(f"/v1/vault/documents/{deed}/record", **record), "document-not-found")
    await office.writes(
        (f"/v1/vault/documents/{deed}/publish", record),
        (f"/v1/vault/commitments/{commitment['id']}/publish", {"subject": subject, "name": "attributes"}),
    )
    told = (await shared.get(f"/v1/vault/documents/{deed}/record", **record)).json()
    assert (told["matches"], told["version"]) == (True, 1)
    assert told["document_hash"] == "0x" + hashlib.sha256(DEED).hexdigest()
    assert not (await shared.get(f"/v1/vault/documents/{other}/record", **record)).json()["matches"]
    on_chain = {each["name"]: each for each in (await shared.get("/v1/documents", subject=subject)).json()["data"]}
    assert on_chain["deed"]["uri"] == f"urn:uuid:{deed}"
    assert on_chain["attributes"]["document_hash"] == commitment["root"]
    path = f"/v1/vault/commitments/{commitment['id']}/record"
    assert (await shared.get(path, subject=subject, name="attributes")).json()["matches"]
    assert not (await shared.get(path, **record)).json()["matches"]


async def test_half_a_document_has_no_digest_to_publish(shared: World) -> None:
    half = await document(shared, DEED[:5])
    subject = (await shared.get("/v1/contracts")).json()[0]["address"]
    refused = await shared.post(f"/v1/vault/documents/{half}/publish", {"subject": subject, "name": "deed"})
    problem(refused, "document-incomplete")


async def test_another_issuers_digest_is_not_published(shared: World) -> None:
    deed, theirs = await document(shared, DEED), await shared.new_issuer("Hill Estates")
    order = {"subject": (await shared.get("/v1/contracts")).json()[0]["address"], "name": "deed"}
    refused = await shared.post(f"/v1/vault/documents/{deed}/publish", order, key=theirs)
    problem(refused, "vault-document-not-found")
