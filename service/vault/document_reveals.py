"""Before a document or attributes leave the vault: what every reveal is held to, and a durable entry in the journal."""

from typing import Any

from service.access.queries import Caller
from service.errors import Problem
from service.vault import queries
from service.vault.document_problems import VaultDocumentNotFound
from service.vault.document_seals import Place
from service.vault.keys import Vault
from service.vault.masks import View
from service.vault.reveal_granting import Wanted, Wish, granting
from service.vault.reveal_problems import ApprovalMissing, RevealRefused, RevealSuspended, RevealUnrecorded

REVEAL: tuple[type[Problem], ...] = (ApprovalMissing, RevealRefused, RevealSuspended, RevealUnrecorded)
"""Problems of whatever is revealed here."""


async def granted(
    vault: Vault,
    caller: Caller,
    place: Place,
    *,
    purpose: str,
    reason: str,
    count: int,
    kind: str,
    what: dict[str, Any],
) -> None:
    """Hold a reveal to its policy's rules and budgets, and write it down; when this returns, the entry is committed.

    Approvals are of values: a policy that wants them for so many lets none of this out.

    Args:
        count: so many values are taken off the budgets.
        kind: of the entry.
        what: what the entry says besides; nothing of a content.

    Raises:
        VaultDocumentNotFound: its subject was erased meanwhile.
        RevealRefused, RevealSuspended, ApprovalMissing, RevealUnrecorded: see `granting`.
    """
    policy = await queries.policy(vault.db, issuer_id=caller.issuer_id, id=place.policy_id)
    wanted = [Wanted(policy, place.subject_id, place.row.index)] * count
    async with granting(vault, caller, Wish(purpose, reason, View.PLAIN, wanted, kind=kind, what=what)) as grant:
        if place.subject_id is not None:
            # An erasure waits for the end of this, or was there before.
            cursor = await grant.connection.execute(
                "SELECT 1 FROM vault.subjects WHERE id = %s AND erased_at IS NULL FOR SHARE", (place.subject_id,)
            )
            if await cursor.fetchone() is None:
                raise VaultDocumentNotFound("its subject was erased")
