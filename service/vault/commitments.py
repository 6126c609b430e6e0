"""Commitments: attributes of an asset under one Merkle root, kept sealed, and disclosed one by one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import insert

from service.access.queries import Caller
from service.db import new_id
from service.vault import indexes
from service.vault.disclosure import Attribute, root_of, salted
from service.vault.document_orders import CommitmentOrder
from service.vault.document_problems import AttributeNotFound, CommitmentNotFound, VaultDocumentNotFound
from service.vault.document_seals import Place, of_subject, opened_object, sealed_object
from service.vault.document_tables import CommitmentRow
from service.vault.documents import require_policy
from service.vault.envelope import Tampered
from service.vault.keyring import Purpose
from service.vault.keys import Vault, damaged
from service.vault.subjects import insist_on_unerased
from service.web import idempotency

ROUTE = "POST /v1/vault/commitments"
_PATH = "vault/commitments/"


@dataclass(frozen=True, slots=True)
class Commitment:
    """A commitment as it is stored."""

    id: UUID
    issuer_id: UUID
    policy_id: UUID
    subject_id: UUID | None
    asset_token_id: UUID | None
    root: bytes
    created_at: datetime
    erased_at: datetime | None
    sealed: bytes | None = field(repr=False)

    @property
    def place(self) -> Place:
        """Where it is sealed."""
        return Place(self.issuer_id, self.policy_id, self.subject_id, self.id)


async def commit(vault: Vault, caller: Caller, key: str, order: CommitmentOrder) -> Commitment:
    """Commit to attributes: draw their salts, and keep both sealed.

    Raises:
        PolicyNotFound, PolicyNotForDocuments: as their names say.
        IdempotencyKeyReused: the key belongs to another request.
        RequestErased: the person whom the request of this key named was erased since.
        RecordDamaged: the subject's key was altered.
        VaultKeysUnavailable: the provider does not answer.
    """
    policy = await require_policy(vault, caller.issuer_id, order.policy)
    index_key = (await vault.newest(caller.issuer_id, Purpose.INDEX)).secret
    print_ = indexes.request_print(index_key, idempotency.fingerprint(ROUTE, None, order.asked()))
    attributes = salted(order.attributes)
    told = [{"name": each.name, "salt": each.salt.hex(), "value": each.value} for each in attributes]
    id_ = new_id()
    async with vault.transaction() as (session, connection):
        await insist_on_unerased(connection, caller.id, key)
        if await idempotency.claim(session, caller.id, key, print_, f"{_PATH}{id_}"):
            place = Place(caller.issuer_id, policy.id, None, id_)
            place, inner_key = await of_subject(vault, connection, caller, key, place, order.subject, index_key)
            sealed = await sealed_object(vault, place, inner_key, {"attributes": told})
            await session.execute(
                insert(CommitmentRow).values(
                    id=place.id,
                    issuer_id=caller.issuer_id,
                    policy_id=policy.id,
                    subject_id=place.subject_id,
                    asset_token_id=order.asset_token_id,
                    root=root_of(attributes),
                    data_version=sealed.data_version,
                    sealed=sealed.sealed,
                )
            )
    first = await idempotency.first_resource(vault.db, caller.id, key, print_)
    assert first is not None, "the key is spent"
    return await commitment(vault, issuer_id=caller.issuer_id, id=UUID(first.removeprefix(_PATH)))


async def commitment(vault: Vault, *, issuer_id: UUID, id: UUID) -> Commitment:
    """A commitment of the issuer.

    Raises:
        CommitmentNotFound: there is none.
    """
    rows = await vault.db.fetch(
        """SELECT id, issuer_id, policy_id, subject_id, asset_token_id, root, created_at, erased_at, sealed
        FROM vault.commitments WHERE id = %s AND issuer_id = %s""",
        (id, issuer_id),
    )
    if not rows:
        raise CommitmentNotFound("make one with POST /v1/vault/commitments")
    return Commitment(*rows[0])


async def attributes(vault: Vault, found: Commitment) -> list[Attribute]:
    """All attributes of a commitment, in its order.

    Raises:
        CommitmentNotFound: their subject was erased.
        VaultKeysUnavailable: they cannot be opened now.
        RecordDamaged: they do not open, or are not what the root is over.
    """
    with unerased():
        if found.sealed is None:
            raise VaultDocumentNotFound("its subject was erased")
        told = await opened_object(vault, found.place, found.sealed)
    opened = [Attribute(each["name"], each["value"], bytes.fromhex(each["salt"])) for each in told["attributes"]]
    if root_of(opened) != found.root:
        raise damaged(Tampered("the root of a commitment is not over its attributes"))
    return opened


@contextmanager
def unerased() -> Iterator[None]:
    """That a subject was erased, inside the block, as a problem of its commitment.

    Raises:
        CommitmentNotFound: it was.
    """
    try:
        yield
    except VaultDocumentNotFound:
        raise CommitmentNotFound("its subject was erased, and with that one its attributes and salts") from None


def require_names(held: list[Attribute], names: list[str]) -> None:
    """Make sure that all names are among the attributes.

    Raises:
        AttributeNotFound: one is not.
    """
    known = {each.name for each in held}
    for position, name in enumerate(names):
        if name not in known:
            raise AttributeNotFound(
                f"name {position} is none of this commitment's: check its spelling", position=position
            )
