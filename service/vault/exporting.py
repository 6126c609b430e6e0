"""An export: the active vault tokens of an exportable policy with their values, page by page, each page a reveal.

A record that does not open is told as such, among the others: else nothing that comes after it could be exported.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.access.queries import Caller
from service.keys.wrapping import KeyAltered
from service.keys.wrapping_local import opened_key
from service.vault import opening, queries, revealing
from service.vault.envelope import Tampered
from service.vault.indexes import export_key
from service.vault.keyring import Purpose
from service.vault.keys import Vault
from service.vault.masks import View
from service.vault.opening import Loaded
from service.vault.policies import Mapping, Policy
from service.vault.queries import Record, StoredRecord
from service.vault.reveal_granting import Wanted, Wish, granting
from service.vault.reveal_orders import ExportOrder
from service.vault.reveal_problems import ApprovalMissing, NotExportable

Stored = tuple[StoredRecord, bytes | None]
"""A record, and its sealed vault token."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A vault token, its record, and its value as it was given; None of what was altered, and why."""

    record: Record
    token: str | None = field(repr=False)
    value: str | None = field(repr=False)
    problem: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ExportedPage:
    """A page of an export; the next one begins after the record `next_after`, and None is the end."""

    data: Sequence[Exported]
    next_after: UUID | None


async def export(
    vault: Vault, caller: Caller, order: ExportOrder, *, after: UUID | None, count_max: int
) -> ExportedPage:
    """A page of an export. What ends meanwhile is not in it; what is tokenized meanwhile may be.

    A record that was altered is told without its value, as an alarm, and in the journal. A policy without active
    records has no page to write down.

    Raises:
        PolicyNotFound: none of the issuer's.
        NotExportable: the policy's vault tokens are stored nowhere.
        ApprovalMissing: the policy wants approvals, and those are of vault tokens that are named.
        RevealRefused, RevealSuspended, RevealUnrecorded: see `granting`.
        VaultKeysUnavailable: the provider does not unwrap now.
    """
    policy = await queries.policy(vault.db, issuer_id=caller.issuer_id, id=order.policy)
    if policy.mapping is not Mapping.EXPORTABLE:
        raise NotExportable("bring its vault tokens to POST /v1/vault/reveal: they are kept by you alone")
    found = await queries.live_records(vault.db, policy, after=after, count_max=count_max + 1)
    rows, more = found[:count_max], len(found) > count_max
    if not rows:
        return ExportedPage([], None)
    wanted = [Wanted(policy, stored.record.subject_id, stored.record.index, True) for stored, _ in rows]
    wish = Wish(order.purpose, order.reason, View.PLAIN, wanted, kind="vault.exported")
    async with granting(vault, caller, wish) as granted:
        if needed := policy.rules.approvals:
            raise ApprovalMissing(
                "approvals are of vault tokens that are named: reveal those, or have the policy's rules changed first",
                approvals_needed=needed,
            )
    live = [each for each in rows if each[0].record.index in granted.live]
    return ExportedPage(await _opened(vault, caller, policy, live), rows[-1][0].record.id if more else None)


async def _opened(vault: Vault, caller: Caller, policy: Policy, rows: Sequence[Stored]) -> list[Exported]:
    key = await vault.newest(policy.issuer_id, Purpose.RECORD, policy.id)
    cipher = AESGCM(export_key(key.secret))
    tokens = [_token(cipher, policy, each) for each in rows]
    loaded = [Loaded("", policy, stored) for stored, _ in rows]
    values = await opening.opened(vault, policy.issuer_id, loaded)
    exported: list[Exported] = []
    altered: dict[UUID, Tampered] = {}
    for (stored, _), token, value in zip(rows, tokens, values, strict=True):
        for each in (value, token):
            if isinstance(each, Tampered):
                altered[stored.record.id] = each
        told = None if isinstance(token, Tampered) else token
        shown = None if isinstance(value, Tampered) or told is None else value.original
        exported.append(Exported(stored.record, told, shown))
    if not altered:
        return exported
    problem = (await revealing.alarmed(vault, caller, [*altered], next(iter(altered.values())))).body()
    return [replace(each, problem=problem) if each.record.id in altered else each for each in exported]


def _token(cipher: AESGCM, policy: Policy, row: Stored) -> str | Tampered:
    stored, sealed = row
    try:
        return opened_key(cipher, sealed or b"", policy.id.bytes + stored.record.index).decode()
    except KeyAltered:
        return Tampered("the vault token of a record does not open: altered, cut short, or another row's")
