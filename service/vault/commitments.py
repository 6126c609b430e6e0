"""Commitments: attributes of an asset under one Merkle root, kept sealed, and disclosed one by one."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import insert

from service.access.queries import Caller
from service.db import new_id
from service.vault import indexes
from service.vault.disclosure import Attribute, root_of, salted
from service.vault.document_orders import CommitmentOrder
from service.vault.document_problems import AttributeNotFound, CommitmentNotFound
from service.vault.document_seals import Place, opened_object, record_key, sealed_object
from service.vault.document_tables import CommitmentRow
from service.vault.documents import require_policy
from service.vault.envelope import Tampered
from service.vault.keyring import Purpose
from service.vault.keys import Vault, damaged
from service.web import idempotency

ROUTE = "POST /v1/vault/commitments"
_PATH = "vault/commitments/"


@dataclass(frozen=True, slots=True)
class Commitment:
    """A commitment as it is stored."""

    id: UUID
    issuer_id: UUID
    policy_id: UUID
    asset_token_id: UUID | None
    root: bytes
    created_at: datetime
    sealed: bytes = field(repr=False)

    @property
    def place(self) -> Place:
        """Where it is sealed."""
        return Place(self.issuer_id, self.policy_id, None, self.id)


async def commit(vault: Vault, caller: Caller, key: str, order: CommitmentOrder) -> Commitment:
    """Commit to attributes: draw their salts, and keep both sealed.

    Raises:
        PolicyNotFound, PolicyNotForDocuments: as their names say.
        IdempotencyKeyReused: the key belongs to another request.
        VaultKeysUnavailable: the provider does not answer.
    """
    policy = await require_policy(vault, caller.issuer_id, order.policy)
    index_key = (await vault.newest(caller.issuer_id, Purpose.INDEX)).secret
    print_ = indexes.request_print(index_key, idempotency.fingerprint(ROUTE, None, order.asked()))
    attributes = salted(order.attributes)
    place = Place(caller.issuer_id, policy.id, None, new_id())
    told = [{"name": each.name, "salt": each.salt.hex(), "value": each.value} for each in attributes]
    sealed = await sealed_object(vault, place, await record_key(vault, place), {"attributes": told})
    async with vault.db.transaction() as session:
        if await idempotency.claim(session, caller.id, key, print_, f"{_PATH}{place.id}"):
            await session.execute(
                insert(CommitmentRow).values(
                    id=place.id,
                    issuer_id=caller.issuer_id,
                    policy_id=policy.id,
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
        """SELECT id, issuer_id, policy_id, asset_token_id, root, created_at, sealed FROM vault.commitments
        WHERE id = %s AND issuer_id = %s""",
        (id, issuer_id),
    )
    if not rows:
        raise CommitmentNotFound("make one with POST /v1/vault/commitments")
    return Commitment(*rows[0])


async def attributes(vault: Vault, found: Commitment) -> list[Attribute]:
    """All attributes of a commitment, in its order.

    Raises:
        VaultKeysUnavailable: they cannot be opened now.
        RecordDamaged: they do not open, or are not what the root is over.
    """
    told = await opened_object(vault, found.place, found.sealed)
    opened = [Attribute(each["name"], each["value"], bytes.fromhex(each["salt"])) for each in told["attributes"]]
    if root_of(opened) != found.root:
        raise damaged(Tampered("the root of a commitment is not over its attributes"))
    return opened


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
