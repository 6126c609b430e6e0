"""Routes that tie the vault to the document records of the chain: a document's digest, a commitment's root."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from service.addresses import Address
from service.compliance import commands, problems, queries
from service.compliance.orders import DocumentOrder, Time
from service.compliance.routes import AddressInQuery, AddressSchema, NameInQuery
from service.deployments import problems as deployments
from service.errors import Problem
from service.mirror import facts
from service.operations.http import CALL, ComplianceAsking, LedgerDep, accepted
from service.operations.labels import LabelView, label_view
from service.operations.reading import READ, Reading, ReadingAt
from service.operations.views import OperationView
from service.tokens.controls import ALICE, HASH, Uri
from service.vault import commitments, documents
from service.vault.document_problems import CommitmentNotFound, DocumentIncomplete, VaultDocumentNotFound
from service.vault.keys import Vault
from service.vault.problems import RecordDamaged, VaultKeysUnavailable
from service.vault.routes import VaultDep
from service.web.bodies import StrictJsonRoute
from service.web.catalogue import documented
from service.web.orders import Bytes32, Order, ShortText

router = APIRouter(prefix="/vault", tags=["documents"], route_class=StrictJsonRoute)

_DOCUMENT: tuple[type[Problem], ...] = (VaultDocumentNotFound, DocumentIncomplete, RecordDamaged, VaultKeysUnavailable)
_PUBLISH: tuple[type[Problem], ...] = (
    *CALL,
    deployments.ContractMissing,
    deployments.ContractNotDeployed,
    deployments.SignerLacksRole,
    deployments.OperationAlreadyExecuted,
    problems.SubjectNotFound,
)
_RECORD: tuple[type[Problem], ...] = (*READ, deployments.ContractMissing, problems.DocumentNotFound)

Subject = Annotated[bytes, Query(description="What the record is about."), AddressInQuery, AddressSchema]


class PublishOrder(Order):
    """Put the digest of something in the vault on chain, as a document record; what it is of stays where it is."""

    model_config = ConfigDict(json_schema_extra={"example": {"subject": ALICE, "name": "deed"}})

    subject: Address = Field(description="A token or another contract of the issuer.")
    name: ShortText
    uri: Uri | None = Field(default=None, description="Where to ask for it; `urn:uuid:` and its id when left out.")
    effective_from: Time | None = Field(None, description="Null where the document says so itself.")

    def record(self, id: UUID, digest: bytes) -> DocumentOrder:
        """The record on chain."""
        uri = self.uri or f"urn:uuid:{id}"
        return DocumentOrder(
            subject=self.subject, name=self.name, uri=uri, document_hash=digest, effective_from=self.effective_from
        )


class RecordView(BaseModel):
    """Whether the chain says of a document record what the vault holds."""

    matches: bool = Field(description="The record's hash is that of what is in the vault.")
    document_hash: Bytes32 = Field(description="On chain.", examples=[HASH])
    version: int = Field(examples=[1])
    at: LabelView


@router.post("/documents/{document_id}/publish", status_code=202, responses=documented(*_PUBLISH, *_DOCUMENT))
async def publish_document(
    document_id: UUID,
    order: PublishOrder,
    ask: ComplianceAsking,
    ledger: LedgerDep,
    vault: VaultDep,
    response: Response,
) -> OperationView:
    """Put the SHA-256 of a whole document on chain, as the next version of a document record."""
    found = order.record(document_id, await _digest(vault, ask(order).caller.issuer_id, document_id))
    return accepted(await commands.set_document(ledger, ask(found), found), response)


@router.get("/documents/{document_id}/record", responses=documented(*_RECORD, *_DOCUMENT))
async def read_document_record(
    document_id: UUID, reading: ReadingAt, vault: VaultDep, subject: Subject, name: NameInQuery
) -> RecordView:
    """Whether a document record on chain is of this document, now or as of a block."""
    return await _compared(reading, await _digest(vault, reading.caller.issuer_id, document_id), subject, name)


@router.post(
    "/commitments/{commitment_id}/publish", status_code=202, responses=documented(*_PUBLISH, CommitmentNotFound)
)
async def publish_commitment(
    commitment_id: UUID,
    order: PublishOrder,
    ask: ComplianceAsking,
    ledger: LedgerDep,
    vault: VaultDep,
    response: Response,
) -> OperationView:
    """Put the root of a commitment on chain, as the hash of a document record; `attributes` is its usual name."""
    found = await commitments.commitment(vault, issuer_id=ask(order).caller.issuer_id, id=commitment_id)
    record = order.record(commitment_id, found.root)
    return accepted(await commands.set_document(ledger, ask(record), record), response)


@router.get("/commitments/{commitment_id}/record", responses=documented(*_RECORD, CommitmentNotFound))
async def read_commitment_record(
    commitment_id: UUID, reading: ReadingAt, vault: VaultDep, subject: Subject, name: NameInQuery
) -> RecordView:
    """Whether a document record on chain is of this commitment, now or as of a block."""
    found = await commitments.commitment(vault, issuer_id=reading.caller.issuer_id, id=commitment_id)
    return await _compared(reading, found.root, subject, name)


async def _digest(vault: Vault, issuer_id: UUID, id: UUID) -> bytes:
    found = await documents.document(vault, issuer_id=issuer_id, id=id)
    found.require_whole()
    assert found.sha256 is not None, "a whole document has its digest"
    return found.sha256


async def _compared(reading: Reading, digest: bytes, subject: bytes, name: bytes) -> RecordView:
    async with reading.open() as (connection, label):
        registry = await queries.registry_of(
            connection, issuer_id=reading.caller.issuer_id, kind="documents", label=label
        )
        state: dict[str, Any] | None = None
        if registry is not None:
            state = await facts.state(
                connection, contract_id=registry.id, aspect="document", key=subject + name, block=label.block
            )
        view = label_view(label)
    if state is None:
        raise problems.DocumentNotFound(f"at block {label.block} there is no such record in force")
    on_chain = bytes.fromhex(state["hash"][2:])
    return RecordView(matches=on_chain == digest, document_hash=on_chain, version=state["version"], at=view)
