"""/v1/vault/commitments and /v1/vault/disclosures: attributes under one root, and proofs of some of them."""

import re
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response

from service.access.http import REFUSED, Revealing, Searching, Tokenizing
from service.errors import Problem
from service.vault import commitments
from service.vault import document_problems as problems
from service.vault.asset_labels import insist_on_tokens
from service.vault.disclosure import disclose
from service.vault.document_orders import CommitmentOrder, DisclosureOrder
from service.vault.document_reveals import REVEAL, granted
from service.vault.document_views import CommitmentView, DisclosureView
from service.vault.problems import (
    AssetTokenNotFound,
    PolicyNotFound,
    RecordDamaged,
    RequestErased,
    VaultKeysUnavailable,
)
from service.vault.routes import TokensAmongDep, VaultDep
from service.web.bodies import StrictJsonRoute
from service.web.catalogue import documented
from service.web.http import IdempotencyKey
from service.web.idempotency import IdempotencyKeyReused
from service.web.problems import BodyTooLarge

router = APIRouter(prefix="/vault", tags=["vault"], route_class=StrictJsonRoute)

BODY_LIMITS = ((re.compile(r"/v1/vault/(commitments|disclosures)"), 4 * 2**20),)
"""Paths whose bodies may be larger than others, with their limits in bytes."""

_ONE: tuple[type[Problem], ...] = (*REFUSED, problems.CommitmentNotFound)


@router.post(
    "/commitments",
    status_code=201,
    responses=documented(
        *REFUSED,
        IdempotencyKeyReused,
        BodyTooLarge,
        PolicyNotFound,
        AssetTokenNotFound,
        RequestErased,
        RecordDamaged,
        VaultKeysUnavailable,
        problems.PolicyNotForDocuments,
    ),
)
async def commit_to_attributes(
    order: CommitmentOrder,
    caller: Tokenizing,
    key: IdempotencyKey,
    vault: VaultDep,
    tokens_among: TokensAmongDep,
    response: Response,
) -> CommitmentView:
    """Commit to up to 256 attributes of an asset under one salted Merkle root, which tells nothing of them."""
    await insist_on_tokens(tokens_among, caller.issuer_id, [order.asset_token_id])
    found = await commitments.commit(vault, caller, key, order)
    response.headers["Location"] = f"/v1/vault/commitments/{found.id}"
    return CommitmentView.of(found)


@router.get("/commitments/{commitment_id}", responses=documented(*_ONE))
async def read_commitment(commitment_id: UUID, caller: Searching, vault: VaultDep) -> CommitmentView:
    """The root of a commitment, without its attributes; also after the erasure of its subject."""
    return CommitmentView.of(await commitments.commitment(vault, issuer_id=caller.issuer_id, id=commitment_id))


@router.post(
    "/disclosures",
    response_model=DisclosureView,
    responses=documented(
        *_ONE,
        *REVEAL,
        BodyTooLarge,
        VaultKeysUnavailable,
        problems.AttributeNotFound,
        RecordDamaged,
    ),
)
async def disclose_attributes(order: DisclosureOrder, caller: Revealing, vault: VaultDep) -> Any:
    """Some attributes with proofs that they are under the root, and nothing of the others.

    Keep the answer as it is, byte for byte: `muniment vault check-disclosure` checks it with the root alone.
    """
    found = await commitments.commitment(vault, issuer_id=caller.issuer_id, id=order.commitment)
    with commitments.unerased():
        await granted(
            vault,
            caller,
            found.place,
            purpose=order.purpose,
            reason=order.reason,
            count=len(order.names),
            kind="vault.attributes-disclosed",
            what={"commitment_id": str(found.id), "count": len(order.names)},
        )
    held = await commitments.attributes(vault, found)
    commitments.require_names(held, order.names)
    return Response(disclose(held, order.names), media_type="application/json")
