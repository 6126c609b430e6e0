"""/v1/vault: policies, vault tokens, records without their values, and erasure."""

import re
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from service.access.http import REFUSED, Governing, Searching, Tokenizing
from service.vault import commands, problems, queries, reveal_problems, searching, tokenizing
from service.vault.asset_labels import TokensAmong, insist_on_tokens
from service.vault.keys import Vault
from service.vault.orders import EraseOrder, PointerOrder, Reference, SearchOrder, TokenizeOrder, TokensOrder
from service.vault.policies import PolicyChange, PolicyOrder
from service.vault.queries import State, Wanted
from service.vault.views import (
    ErasedView,
    LookupView,
    OutcomeView,
    RecordsView,
    RecordView,
    TokenizedView,
    VaultPolicyView,
)
from service.web.bodies import StrictJsonRoute
from service.web.catalogue import documented
from service.web.http import IdempotencyKey, Time
from service.web.idempotency import IdempotencyKeyReused
from service.web.paging import (
    PAGE_ROWS_MAX,
    BadCursor,
    CursorParameter,
    Limit,
    Page,
    decode_cursor,
    encode_cursor,
    page,
)
from service.web.problems import BodyTooLarge

router = APIRouter(prefix="/vault", tags=["vault"], route_class=StrictJsonRoute)

BODY_BYTES_MAX = 4 * 2**20
BODY_LIMITS = ((re.compile(r"/v1/vault/(tokenize|lookup|revoke|tokens|search|reveal|approvals)"), BODY_BYTES_MAX),)
"""Paths whose bodies may be larger than others, with their limits in bytes."""


async def _vault(request: Request) -> Vault:
    vault: Vault = request.app.state.vault
    return vault


VaultDep = Annotated[Vault, Depends(_vault)]


async def _tokens_among(request: Request) -> TokensAmong:
    tokens_among: TokensAmong = request.app.state.tokens_among
    return tokens_among


TokensAmongDep = Annotated[TokensAmong, Depends(_tokens_among)]

_ASK = (*REFUSED, problems.VaultKeysUnavailable)
_WRITE = (*_ASK, BodyTooLarge)


@router.post(
    "/policies",
    status_code=201,
    responses=documented(*_WRITE, IdempotencyKeyReused, problems.PolicyExists, problems.PolicyUnfit),
)
async def create_vault_policy(
    order: PolicyOrder, caller: Governing, key: IdempotencyKey, vault: VaultDep, response: Response
) -> VaultPolicyView:
    """Decide about one kind of value; all but its reveal rules and its time to live is for good."""
    made = await commands.create_policy(vault, caller, key, order)
    response.headers["Location"] = f"/v1/vault/policies/{made.id}"
    return VaultPolicyView.of(made)


@router.get("/policies", responses=documented(*REFUSED, BadCursor))
async def list_vault_policies(
    caller: Governing, vault: VaultDep, cursor: CursorParameter = None, limit: Limit = 50
) -> Page[VaultPolicyView]:
    """The issuer's policies, newest first."""
    before = decode_cursor(cursor, "vault-policies", UUID)[0] if cursor else None
    rows = await queries.policies_page(vault.db, issuer_id=caller.issuer_id, before=before, count_max=limit + 1)
    views = [VaultPolicyView.of(row) for row in rows]
    data, next_cursor = page(views, limit=limit, cursor_of=lambda last: encode_cursor("vault-policies", last.id))
    return Page(data=data, next_cursor=next_cursor)


@router.get("/policies/{policy_id}", responses=documented(*REFUSED, problems.PolicyNotFound))
async def read_vault_policy(policy_id: UUID, caller: Governing, vault: VaultDep) -> VaultPolicyView:
    """One policy."""
    return VaultPolicyView.of(await queries.policy(vault.db, issuer_id=caller.issuer_id, id=policy_id))


@router.patch(
    "/policies/{policy_id}",
    responses=documented(
        *REFUSED, BodyTooLarge, problems.PolicyNotFound, problems.PolicyUnfit, problems.PolicyNeedsAnother
    ),
)
async def change_vault_policy(
    policy_id: UUID, change: PolicyChange, caller: Governing, vault: VaultDep
) -> VaultPolicyView:
    """Change who may see values again, or how long records live; what is left out stays.

    Rules that let more be seen take a caller none of whose keys may reveal.
    """
    return VaultPolicyView.of(await commands.change_policy(vault, caller, policy_id, change))


@router.post(
    "/tokenize",
    responses=documented(
        *_WRITE,
        IdempotencyKeyReused,
        problems.RequestErased,
        problems.PolicyNotFound,
        problems.AssetTokenNotFound,
        problems.NotOfThisPolicy,
        problems.RecordDamaged,
        # Told for one value each, within the answer.
        problems.ValueUnfit,
        problems.ValueOfAnotherSubject,
        problems.SpaceExhausted,
    ),
)
async def tokenize(
    order: TokenizeOrder, caller: Tokenizing, key: IdempotencyKey, vault: VaultDep, tokens_among: TokensAmongDep
) -> TokenizedView:
    """Swap values for vault tokens: 1 to 500, all in one DB transaction, each with its own outcome."""
    await insist_on_tokens(tokens_among, caller.issuer_id, (item.asset_token_id for item in order.items))
    outcomes = await tokenizing.tokenize(vault, caller, key, order)
    return TokenizedView(data=[OutcomeView.of(each) for each in outcomes])


@router.post("/lookup", responses=documented(*_WRITE))
async def lookup_vault_tokens(order: TokensOrder, caller: Searching, vault: VaultDep) -> LookupView:
    """What is known of vault tokens, without revealing their values."""
    return LookupView.of(await commands.looked_up(vault, caller, order.tokens))


@router.post(
    "/search",
    responses=documented(
        *_WRITE,
        problems.PolicyNotFound,
        problems.NotOfThisPolicy,
        problems.ValueUnfit,
        reveal_problems.RevealRefused,
        reveal_problems.RevealSuspended,
        reveal_problems.RevealUnrecorded,
    ),
)
async def search_vault(order: SearchOrder, caller: Searching, vault: VaultDep) -> RecordsView:
    """The records of a policy that hold exactly this value and were not revoked; the oldest 500 of them.

    Each search is one value of the policy's daily budget, for the callers that its reveal rules name.
    """
    found = await searching.search(vault, caller, order.policy, order.value, count_max=PAGE_ROWS_MAX)
    return RecordsView(data=[RecordView.of(each) for each in found])


@router.get("/records", responses=documented(*_ASK, BadCursor))
async def list_vault_records(
    caller: Searching,
    vault: VaultDep,
    policy: Annotated[UUID | None, Query(description="Only records of this policy.")] = None,
    subject: Annotated[Reference | None, Query(description="The issuer's own name for a person.")] = None,
    asset_token_id: Annotated[UUID | None, Query(description="Only what belongs to this token of an asset.")] = None,
    state: Annotated[State | None, Query(description="Only records that stand so.")] = None,
    older_than: Annotated[Time, Query(description="Only what was tokenized before.")] = None,
    cursor: CursorParameter = None,
    limit: Limit = 50,
) -> Page[RecordView]:
    """The issuer's records, oldest first, without their values."""
    after = decode_cursor(cursor, "vault-records", UUID)[0] if cursor else None
    index = None
    if subject is not None:
        index = await commands.subject_index_of(vault, caller.issuer_id, subject) or b""
    wanted = Wanted(policy, index, asset_token_id, state, older_than)
    rows = await queries.records_page(
        vault.db, issuer_id=caller.issuer_id, wanted=wanted, after=after, count_max=limit + 1
    )
    views = [RecordView.of(row) for row in rows]
    data, next_cursor = page(views, limit=limit, cursor_of=lambda last: encode_cursor("vault-records", last.id))
    return Page(data=data, next_cursor=next_cursor)


@router.put(
    "/tokens",
    responses=documented(
        *_WRITE, problems.VaultTokenNotFound, problems.NotOfThisPolicy, problems.ValueUnfit, problems.RecordDamaged
    ),
)
async def point_vault_token(order: PointerOrder, caller: Tokenizing, vault: VaultDep) -> RecordView:
    """Put a new value behind a vault token whose policy lets it follow."""
    return RecordView.of(await commands.point(vault, caller, order))


@router.post("/revoke", responses=documented(*_WRITE))
async def revoke_vault_tokens(order: TokensOrder, caller: Tokenizing, vault: VaultDep) -> LookupView:
    """End vault tokens for good; the answer says how each stands then."""
    return LookupView.of(await commands.revoke(vault, caller, order.tokens))


@router.post("/subjects/erase", responses=documented(*_WRITE, problems.VaultSubjectNotFound))
async def erase_subject(order: EraseOrder, caller: Governing, vault: VaultDep) -> ErasedView:
    """Forget a person: the one key of all their records is shredded. Asked again, it answers the same."""
    return ErasedView.of(await commands.erase(vault, caller, order.reference))
