"""Documents about an issuer's contracts: every version is readable, whatever became of it."""

import pytest

from service.addresses import checksum
from service.compliance.views import name_text, read_name
from tests.compliance.office import Office
from tests.web.answers import pointers, problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

HASHES = ["0x" + digit * 64 for digit in "123"]


def document(subject: str, **changed: object) -> dict[str, object]:
    given = {"subject": subject, "name": "prospectus", "uri": "https://example.com/1", "document_hash": HASHES[0]}
    return {**given, **changed}


async def test_versions_follow_each_other_through_a_removal(shared: World) -> None:
    registry = await shared.contract("documents")
    office = Office(shared, registry)
    subject = (await shared.get(f"/v1/tokens/{await shared.token()}")).json()["address"]
    await office.write("/v1/documents", document(subject, effective_from="2031-01-31T00:00:00Z"))
    first = (await shared.get("/v1/documents", subject=subject)).json()
    (shown,) = first["data"]
    assert (shown["name"], shown["version"], shown["document_hash"]) == ("prospectus", 1, HASHES[0])
    assert (shown["uri"], shown["effective_from"]) == ("https://example.com/1", "2031-01-31T00:00:00Z")
    await office.write("/v1/documents", document(subject, document_hash=HASHES[1], uri="https://example.com/2"))
    await office.write("/v1/documents/remove", {"subject": subject, "name": "prospectus"})
    assert (await shared.get("/v1/documents", subject=subject)).json()["data"] == []
    await office.write("/v1/documents", document(subject, document_hash=HASHES[2]))
    await office.write("/v1/documents", document(registry, name="by-laws ½"))

    told = (await shared.get("/v1/documents/history", subject=subject, name="prospectus")).json()["data"]
    versions = [entry["state"] and (entry["state"]["version"], entry["state"]["document_hash"]) for entry in told]
    assert versions == [(1, HASHES[0]), (2, HASHES[1]), None, (3, HASHES[2])]
    then = (await shared.get("/v1/documents", subject=subject, at_block=first["at"]["block"])).json()
    assert then["data"] == first["data"]
    every = (await shared.get("/v1/documents")).json()["data"]
    assert {(each["subject"], each["name"]) for each in every} == {(subject, "prospectus"), (registry, "by-laws ½")}
    assert (await shared.get("/v1/documents/history", subject=subject, name="accounts")).json()["data"] == []


async def test_what_is_not_the_issuers_has_no_documents(shared: World) -> None:
    for subject in (checksum(shared.signer), shared.settings.factory_address):
        problem(await shared.post("/v1/documents", document(str(subject))), "subject-not-found")


async def test_a_document_that_proves_nothing(shared: World) -> None:
    subject = (await shared.get("/v1/contracts")).json()[0]["address"]
    refused = await shared.post("/v1/documents", document(subject, document_hash="0x" + "00" * 32))
    problem(refused, "document-hash-missing")


async def test_a_document_that_is_not_in_force(shared: World) -> None:
    subject = (await shared.get("/v1/contracts")).json()[0]["address"]
    problem(await shared.post("/v1/documents/remove", {"subject": subject, "name": "nothing"}), "document-not-found")


async def test_names_that_do_not_fit(shared: World) -> None:
    subject = (await shared.get("/v1/contracts")).json()[0]["address"]
    for name in ("", "x" * 33, "½" * 17, "a\nb"):
        assert pointers(await shared.post("/v1/documents", document(subject, name=name))) == ["#/name"]
    problem(await shared.get("/v1/documents/history", subject=subject, name="x" * 33), "invalid-request")
    problem(await shared.get("/v1/documents", subject="0x12"), "invalid-request")


async def test_an_issuer_without_documents(shared: World) -> None:
    key = await shared.new_issuer("Undocumented")
    problem(await shared.get("/v1/documents", key=key), "contract-missing")


@pytest.mark.parametrize(
    "name",
    [
        b"prospectus".ljust(32, b"\0"),
        "½".encode() * 16,
        b"\xff" * 32,
        bytes(32),
        b"a\0b".ljust(32, b"\0"),
        b"\n".ljust(32, b"\0"),
    ],
)
async def test_every_name_is_written_so_that_it_can_be_read(name: bytes) -> None:
    assert read_name(name_text(name)) == name
