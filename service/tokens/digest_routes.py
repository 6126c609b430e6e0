"""/v1/tokens/{token_id}/digest and /v1/mirror/digest: whether two mirrors saw the same, in one request."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from service.addresses import Address, Hash
from service.mirror import digest_queries as mirror
from service.operations.labels import LabelView, label_view
from service.operations.reading import READ, ReadingAt
from service.tokens import problems, queries
from service.tokens.controls import ALICE
from service.web.catalogue import documented

router = APIRouter()


class TokenDigest(BaseModel):
    """One hash over all that a token's contract announced, up to the block in `at`."""

    contract: Address = Field(examples=[ALICE])
    digest: Hash = Field(examples=["0x" + "5e" * 32])
    since_block: int | None = Field(
        description="The newest block with an event that it covers; null where there is none.", examples=[42]
    )
    state_digest: Hash | None = Field(
        description="One hash over what the events left behind; null unless `state` asks for it.", examples=[None]
    )
    at: LabelView


class MirrorDigestView(BaseModel):
    """One hash over the digests of all contracts of the deployment, whoever's they are."""

    digest: Hash = Field(examples=["0x" + "5e" * 32])
    contracts: int = Field(description="How many contracts it covers.", examples=[12])
    at: LabelView


@router.get(
    "/tokens/{token_id}/digest",
    tags=["ownership"],
    responses=documented(*READ, problems.TokenNotFound, problems.TokenNotDeployed),
)
async def read_token_digest(
    token_id: UUID,
    reading: ReadingAt,
    state: Annotated[
        bool, Query(description="Digest the holdings, titles and states, too: this reads all of them.")
    ] = False,
) -> TokenDigest:
    """The digest of one token: any deployment that saw the same chain answers the same."""
    async with reading.open() as (connection, label):
        token = await queries.token(connection, issuer_id=reading.caller.issuer_id, id=token_id)
        contract = await queries.contract_of(connection, token, label)
        found = await mirror.contract_digest(connection, contract=contract, label=label)
        state_digest = (
            await mirror.state_digest(connection, contract_id=contract.id, contract=contract.address, label=label)
            if state
            else None
        )
    return TokenDigest(
        contract=found.contract,
        digest=found.digest,
        since_block=found.since_block,
        state_digest=state_digest,
        at=label_view(label),
    )


@router.get("/mirror/digest", tags=["ownership"], responses=documented(*READ))
async def read_mirror_digest(reading: ReadingAt) -> MirrorDigestView:
    """The digest of the whole mirror: two deployments of the same chain and factory are compared in one request."""
    async with reading.open() as (connection, label):
        digest, contracts = await mirror.mirror_digest(connection, label=label)
    return MirrorDigestView(digest=digest, contracts=contracts, at=label_view(label))
