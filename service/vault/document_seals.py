"""What of a document or a commitment is sealed: one JSON object under the envelope, bound to its row."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import rfc8785

from service.access.queries import Caller
from service.db import ReadConnection
from service.vault.document_problems import VaultDocumentNotFound
from service.vault.envelope import Opened, Row, Sealed, Tampered, key_version, open_sealed, seal, unwrap_subject_key
from service.vault.keyring import Purpose
from service.vault.keys import Vault, damaged
from service.vault.problems import VaultKeysUnavailable
from service.vault.subjects import named

_INDEX = b"muniment vault document 1|"


@dataclass(frozen=True, slots=True)
class Place:
    """Whose a sealed object is, and under which key its inner layer lies: the subject's, or the policy's record key."""

    issuer_id: UUID
    policy_id: UUID
    subject_id: UUID | None
    id: UUID

    @property
    def row(self) -> Row:
        """What the outer layer is bound to, and what a rewrap needs."""
        index = hashlib.sha256(_INDEX + self.id.bytes).digest()
        return Row(self.issuer_id, self.policy_id, self.subject_id, index)


@dataclass(frozen=True, slots=True)
class SealedObject:
    """A sealed object, and the version of the data key that it is under."""

    data_version: int
    sealed: bytes = field(repr=False)


async def sealed_object(vault: Vault, place: Place, record_key: bytes, content: dict[str, Any]) -> SealedObject:
    """Seal an object under the newest data key.

    Raises:
        VaultKeysUnavailable: the key cannot be unwrapped now.
    """
    data_key = await vault.newest(place.issuer_id, Purpose.DATA)
    sealed = seal(Opened(place.row, None, record_key, rfc8785.dumps(content)), data_key.version, data_key.secret)
    return SealedObject(data_key.version, sealed)


async def opened_object(vault: Vault, place: Place, sealed: bytes) -> dict[str, Any]:
    """Open what `sealed_object` sealed.

    Raises:
        VaultKeysUnavailable: a key cannot be unwrapped now, or its version is closed.
        VaultDocumentNotFound: its subject was erased.
        RecordDamaged: it does not open.
    """
    try:
        version = key_version(sealed)
    except Tampered as error:
        raise damaged(error) from None
    data_keys = await vault.versions(place.issuer_id, Purpose.DATA, [version])
    if not data_keys:
        raise VaultKeysUnavailable("the version of the data key that this is sealed under is closed")
    key = await record_key(vault, place)
    try:
        found: dict[str, Any] = json.loads(open_sealed(Sealed(place.row, None, key, sealed), data_keys))
    except Tampered as error:
        raise damaged(error) from None
    return found


async def of_subject(
    vault: Vault,
    connection: ReadConnection,
    caller: Caller,
    key: str,
    place: Place,
    reference: str | None,
    index_key: bytes,
) -> tuple[Place, bytes]:
    """The place of an object that a request makes, with the subject that the request names, and its inner layer's key.

    Raises:
        As of `subjects.named` and `record_key`.
    """
    if reference is None:
        return place, await record_key(vault, place)
    subject = await named(connection, vault, caller, key, reference, index_key)
    return replace(place, subject_id=subject.id), subject.key


async def record_key(vault: Vault, place: Place) -> bytes:
    """The key of the inner layer: 32 bytes.

    Raises:
        VaultKeysUnavailable: it cannot be unwrapped now.
        VaultDocumentNotFound: the subject was erased.
        RecordDamaged: the subject's key does not open.
    """
    if place.subject_id is None:
        return (await vault.newest(place.issuer_id, Purpose.RECORD, place.policy_id)).secret
    rows = await vault.db.fetch(
        "SELECT wrapped, wrapping_version FROM vault.subjects WHERE id = %s AND issuer_id = %s",
        (place.subject_id, place.issuer_id),
    )
    if not rows or rows[0][0] is None:
        raise VaultDocumentNotFound("its subject was erased, and with that one all documents of the subject")
    ((wrapped, version),) = rows
    keys = await vault.versions(place.issuer_id, Purpose.SUBJECT_WRAPPING, [version])
    if version not in keys:
        raise VaultKeysUnavailable("the version of the key that wraps this subject's is closed")
    try:
        return unwrap_subject_key(wrapped, keys[version], version, issuer=place.issuer_id, subject=place.subject_id)
    except Tampered as error:
        raise damaged(error) from None
