"""Whose accounts are, with names: revealed as every value is, under the rules and budgets of the names' policies."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString
from uuid import UUID

from service.access.queries import Caller
from service.vault import revealing
from service.vault.envelope import Tampered, unwrap_subject_key
from service.vault.keyring import KeyMissing, Purpose
from service.vault.keys import Vault
from service.vault.masks import View
from service.vault.person_seals import PersonSeals, account_index
from service.vault.persons import telling
from service.vault.problems import VaultKeysUnavailable
from service.vault.reveal_orders import RevealOrder

PURPOSE = "cap-table"
"""What the reveal rules of the names' policies must list."""

HOLDERS: LiteralString = """
SELECT a.index, a.sealed, p.id, p.erased_at IS NOT NULL, p.sealed_name, s.id, s.wrapped, s.wrapping_version
FROM vault.accounts a JOIN vault.persons p ON p.id = a.person_id AND p.issuer_id = a.issuer_id
LEFT JOIN vault.subjects s ON s.id = p.subject_id
WHERE a.issuer_id = %s AND a.index = ANY(%b)
"""
"""Whose accounts are, by their indexes, with what opens what is kept of them."""


@dataclass(frozen=True, slots=True)
class Named:
    """Whose an account is; `name` is None where none was told, its record is not active, or the person is erased."""

    person_id: UUID
    name: str | None = field(repr=False)
    erased: bool


@dataclass(frozen=True, slots=True)
class _Held:
    account: bytes = field(repr=False)
    person_id: UUID
    erased: bool
    name_token: str | None = field(repr=False)


async def named(
    vault: Vault, caller: Caller, accounts: Sequence[bytes], *, view: View, reason: str, what: dict[str, Any]
) -> dict[bytes, Named]:
    """The persons of these accounts, at most 500; those of nobody whom the vault knows are left out.

    Args:
        what: what the entry in the journal says of the cap table.

    Raises:
        RevealRefused, RevealSuspended, ApprovalMissing, RevealUnrecorded: see `revealing.reveal`; then no name is told.
        RecordDamaged: a row was altered or moved to another person.
        VaultKeysUnavailable: the provider does not unwrap now.
    """
    try:
        held = await _held(vault, caller.issuer_id, accounts)
    except Tampered as error:
        raise await revealing.alarmed(vault, caller, [], error) from None
    # Also where they are nobody's: that is an answer, too.
    whose = {"persons": sorted({str(each.person_id) for each in held}), "purpose": PURPOSE, "reason": reason}
    async with telling(vault, caller, whose | what):
        pass
    # Each name once, however many accounts its person has: that is what it takes off the budgets.
    tokens = sorted({each.name_token for each in held if each.name_token is not None})
    names: dict[str, str | None] = {}
    if tokens:
        order = RevealOrder(tokens=tokens, purpose=PURPOSE, reason=reason, view=view)
        shown = await revealing.reveal(vault, caller, order, what)
        names = {token: each.value for token, each in zip(tokens, shown, strict=True)}
    return {
        each.account: Named(each.person_id, None if each.name_token is None else names[each.name_token], each.erased)
        for each in held
    }


async def _held(vault: Vault, issuer_id: UUID, accounts: Sequence[bytes]) -> list[_Held]:
    """Raises: Tampered: a row was altered, or moved to another person."""
    try:
        key = await vault.newest(issuer_id, Purpose.INDEX)
    except KeyMissing:
        vault.keyring.forget(issuer_id)
        return []
    account_of = {account_index(key.secret, account): account for account in accounts}
    rows = await vault.db.fetch(HOLDERS, (issuer_id, list(account_of)))
    wrapping = await vault.versions(issuer_id, Purpose.SUBJECT_WRAPPING, {row[-1] for row in rows if not row[3]})
    return [_read(issuer_id, account_of[row[0]], row, wrapping) for row in rows]


def _read(issuer_id: UUID, account: bytes, row: Sequence[Any], wrapping: dict[int, bytes]) -> _Held:
    index, sealed, person_id, erased, sealed_name, subject_id, wrapped, version = row
    if erased:
        return _Held(account, person_id, True, None)
    if version not in wrapping:
        raise VaultKeysUnavailable("the version of the key that wraps this subject's is closed")
    key = unwrap_subject_key(wrapped or b"", wrapping[version], version, issuer=issuer_id, subject=subject_id)
    seals = PersonSeals(issuer_id, subject_id, key)
    if seals.opened_account(index, sealed or b"") != account:
        raise Tampered("an account is not the one that its index says")
    return _Held(account, person_id, False, None if sealed_name is None else seals.opened_name(sealed_name))
