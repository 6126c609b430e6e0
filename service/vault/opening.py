"""Records by their vault tokens, loaded and opened in batches. Whoever calls `opened` has journalled it before."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from service.vault import queries, vaultless
from service.vault.envelope import Row, Sealed, Tampered, key_version, open_many, unwrap_subject_key
from service.vault.indexes import token_index
from service.vault.keyring import KeyMissing, Purpose
from service.vault.keys import Vault
from service.vault.policies import Mapping, Policy
from service.vault.queries import State, StoredRecord
from service.vault.unfit import Unfit


@dataclass(frozen=True, slots=True)
class Loaded:
    """A record, found by its vault token, with its policy; nothing of it is opened."""

    token: str = field(repr=False)
    policy: Policy
    stored: StoredRecord

    @property
    def open(self) -> bool:
        """Whether it may be revealed at all: not expired, not revoked, not erased."""
        return self.stored.record.state is State.ACTIVE


@dataclass(frozen=True, slots=True)
class Plain:
    """A value in the clear, as it was given and in the form that is compared."""

    original: str = field(repr=False)
    canonical: str = field(repr=False)


async def indexes_of(vault: Vault, issuer_id: UUID, tokens: Sequence[str]) -> list[bytes]:
    """What the records of these vault tokens are found by: 32 bytes each; none for an issuer without a vault.

    Raises:
        VaultKeysUnavailable: the provider does not unwrap now.
    """
    try:
        key = await vault.newest(issuer_id, Purpose.INDEX)
    except KeyMissing:
        # Else this process would not see the first policy, which another one may make a moment later.
        vault.keyring.forget(issuer_id)
        return []
    return [token_index(key.secret, token) for token in tokens]


async def load(vault: Vault, issuer_id: UUID, tokens: Sequence[str]) -> list[Loaded | None]:
    """The record of each vault token, in their order; None for one that is not the issuer's or not there at all.

    Raises:
        VaultKeysUnavailable: the provider does not unwrap now.
        Tampered: a record was moved to a policy of another issuer.
    """
    found = await indexes_of(vault, issuer_id, tokens)
    if not found:
        return [None] * len(tokens)
    stored = await queries.stored_records(vault.db, issuer_id=issuer_id, indexes=found)
    policies = await queries.policies(
        vault.db, issuer_id=issuer_id, ids=[*{each.record.policy_id for each in stored.values()}]
    )
    if any(each.record.policy_id not in policies for each in stored.values()):
        raise Tampered("a record is of another issuer's policy")
    return [
        Loaded(token, policies[stored[index].record.policy_id], stored[index]) if index in stored else None
        for token, index in zip(tokens, found, strict=True)
    ]


async def opened(vault: Vault, issuer_id: UUID, records: Sequence[Loaded]) -> list[Plain | Tampered]:
    """The value of each record that is open, or why it does not open; one that was altered harms no other.

    Raises:
        VaultKeysUnavailable: the provider does not unwrap now.
    """
    record_keys = await _record_keys(vault, issuer_id, records)
    sealed: list[Sealed | Tampered] = []
    for loaded, key in zip(records, record_keys, strict=True):
        stored, record = loaded.stored, loaded.stored.record
        if isinstance(key, Tampered):
            sealed.append(key)
            continue
        row = Row(issuer_id, record.policy_id, record.subject_id, record.index)
        token = None if loaded.policy.mapping is Mapping.EXPORTABLE else loaded.token.encode()
        sealed.append(Sealed(row, token, key, stored.sealed or b""))
    whole = [each for each in sealed if isinstance(each, Sealed)]
    data_keys = await vault.versions(issuer_id, Purpose.DATA, _versions(whole))
    values = iter(open_many(whole, data_keys))
    return [
        each if isinstance(each, Tampered) else _plain(loaded.policy, next(values))
        for loaded, each in zip(records, sealed, strict=True)
    ]


async def opened_vaultless(vault: Vault, policy: Policy, tokens: Sequence[str], context: str) -> list[Plain | Unfit]:
    """The value of each FF1 token of a vaultless policy, in canonical form; why not, for one that is none of its.

    Raises:
        VaultKeysUnavailable: the provider does not unwrap now.
    """
    key = await vault.newest(policy.issuer_id, Purpose.FF1, policy.id)
    found = vaultless.decrypted(policy, key.secret, tokens, context) if tokens else []
    return [each if isinstance(each, Unfit) else Plain(each, each) for each in found]


def _versions(sealed: Sequence[Sealed]) -> set[int]:
    found = set()
    for each in sealed:
        try:
            found.add(key_version(each.sealed))
        except Tampered:
            continue  # it is told again, and for this one alone, when all are opened
    return found


def _plain(policy: Policy, value: bytes | Tampered) -> Plain | Tampered:
    if isinstance(value, Tampered):
        return value
    original = value.decode()
    return Plain(original, policy.canonical(original))


async def _record_keys(vault: Vault, issuer_id: UUID, records: Sequence[Loaded]) -> list[bytes | Tampered]:
    policies = {each.policy.id for each in records if each.stored.record.subject_id is None}
    of_policy = {id_: (await vault.newest(issuer_id, Purpose.RECORD, id_)).secret for id_ in policies}
    wrapping = await vault.versions(
        issuer_id,
        Purpose.SUBJECT_WRAPPING,
        {each.stored.subject_wrapping_version for each in records if each.stored.subject_wrapping_version is not None},
    )
    of_subject: dict[UUID, bytes | Tampered] = {}
    found: list[bytes | Tampered] = []
    for each in records:
        subject_id = each.stored.record.subject_id
        if subject_id is None:
            found.append(of_policy[each.policy.id])
            continue
        if subject_id not in of_subject:
            of_subject[subject_id] = _subject_key(each.stored, wrapping, issuer_id, subject_id)
        found.append(of_subject[subject_id])
    return found


def _subject_key(
    stored: StoredRecord, wrapping: dict[int, bytes], issuer_id: UUID, subject_id: UUID
) -> bytes | Tampered:
    version, wrapped = stored.subject_wrapping_version, stored.subject_wrapped
    if wrapped is None or version is None or version not in wrapping:
        return Tampered("a record's subject has no key")
    try:
        return unwrap_subject_key(wrapped, wrapping[version], version, issuer=issuer_id, subject=subject_id)
    except Tampered as error:
        return error
