"""What callers are told of policies, records and subjects: never a value, and vault tokens only when they are made."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, Field

from service.vault.policies import Format, Kind, Mapping, Policy, RevealRules, Rule
from service.vault.queries import Record, State
from service.vault.subjects import Erased
from service.vault.tokenizing import Outcome, Status
from service.vault.values import DataClass


class VaultPolicyView(BaseModel):
    """A policy."""

    id: UUID
    name: str = Field(examples=["investor cards"])
    kind: Kind
    data_class: DataClass
    format: Format = Field(examples=[{"kind": "card", "luhn_valid": False}])
    rule: Rule | None
    deterministic: bool
    mapping: Mapping
    pointer: bool
    ttl_max_s: int | None = Field(examples=[31_536_000])
    reveal: RevealRules
    created_at: datetime
    changed_at: datetime | None
    crowded_at: datetime | None = Field(description="When a hundredth of the format's space was first seen to be used.")

    @classmethod
    def of(cls, policy: Policy) -> Self:
        """A policy as it is told."""
        return cls(
            id=policy.id,
            name=policy.name,
            kind=policy.kind,
            data_class=policy.data_class,
            format=policy.format,
            rule=None if policy.shape["rule"] is None else Rule.model_validate(policy.shape["rule"]),
            deterministic=policy.deterministic,
            mapping=policy.mapping,
            pointer=policy.pointer,
            ttl_max_s=policy.ttl_max_s,
            reveal=policy.rules,
            created_at=policy.created_at,
            changed_at=policy.changed_at,
            crowded_at=policy.crowded_at,
        )


class OutcomeView(BaseModel):
    """What one value came to."""

    status: Status
    token: str | None = Field(
        description="The vault token; null where the value was refused.", examples=["9041776325181111"]
    )
    record_id: UUID | None = Field(description="Names the record in lists; null where nothing is stored.")
    problem: dict[str, Any] | None = Field(
        description="Why the value was refused, as an RFC 9457 problem.", examples=[None]
    )

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        """An outcome as it is told."""
        record_id = None if outcome.record_id is None else UUID(outcome.record_id)
        return cls(status=outcome.status, token=outcome.token, record_id=record_id, problem=outcome.problem)


class TokenizedView(BaseModel):
    """What a batch came to, in its order."""

    data: list[OutcomeView]


class RecordView(BaseModel):
    """What is known of a record besides its value."""

    id: UUID
    policy_id: UUID
    subject_id: UUID | None
    asset_token_id: UUID | None
    state: State
    last_four: str | None = Field(description="Of a card; null of everything else.", examples=["1111"])
    created_at: datetime
    updated_at: datetime | None = Field(description="When its vault token was last given a new value.")
    expires_at: datetime | None
    revoked_at: datetime | None
    erased_at: datetime | None

    @classmethod
    def of(cls, record: Record) -> Self:
        """A record as it is told."""
        return cls.model_validate(record, from_attributes=True)


class LookupView(BaseModel):
    """The record of each vault token, in their order; null where the issuer has none."""

    data: list[RecordView | None]

    @classmethod
    def of(cls, records: list[Record | None]) -> Self:
        """Records as they are told."""
        return cls(data=[None if each is None else RecordView.of(each) for each in records])


class RecordsView(BaseModel):
    """Records, oldest first."""

    data: list[RecordView]


class ErasedView(BaseModel):
    """A person who was forgotten: no record of that person opens again."""

    subject_id: UUID
    records_count: int = Field(examples=[3])
    erased_at: datetime

    @classmethod
    def of(cls, erased: Erased) -> Self:
        """An erasure as it is told."""
        return cls.model_validate(erased, from_attributes=True)
