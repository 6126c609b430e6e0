"""What is asked of credentials."""

import re
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, StrictInt, StrictStr, model_validator

from service.access.apikeys import Scope
from service.access.key_limits import Limits
from service.access.roles import Role
from service.access.wallet_claims import Proof
from service.access.wallets import CONTRACT_SIGNATURE_BYTES_MAX, Wallet
from service.addresses import checksum, parse_address
from service.web.orders import Line, Name, Order

OVERLAP_MAX_S = 30 * 86_400
OVERLAP_S = 86_400
LIFE_MAX_S = 10 * 366 * 86_400
REPORTED_MAX = 10

_HEX_32 = re.compile(r"(0x)?[0-9a-fA-F]{64}")


class Kind(StrEnum):
    """How a credential proves itself."""

    BEARER = "bearer"  # by its secret, in the Authorization header
    ED25519 = "ed25519"  # by signatures of a key that never leaves its owner
    HMAC = "hmac"  # by signatures with a secret that both sides have
    WALLET = "wallet"  # by signatures of an account (ERC-8128)


class OverlapStarts(StrEnum):
    """From when on a former version's last stretch is counted."""

    NOW = "now"
    FIRST_USE = "first-use"  # of the new version


def _public_key(text: str) -> str:
    if not _HEX_32.fullmatch(text):
        raise ValueError("give the 32 bytes of an Ed25519 public key as 64 hexadecimal digits")
    return text.removeprefix("0x").lower()


PublicKey = Annotated[StrictStr, AfterValidator(_public_key)]
Account = Annotated[StrictStr, AfterValidator(lambda text: checksum(parse_address(text)))]
Signature = Annotated[
    StrictStr, Field(max_length=2 + 2 * CONTRACT_SIGNATURE_BYTES_MAX, pattern=r"^0x([0-9a-fA-F]{2})+$")
]
LifeS = Annotated[StrictInt, Field(ge=1, le=LIFE_MAX_S)]


class ProofOrder(Order):
    """What a credential is recognised by, where that is the caller's to say."""

    public_key: PublicKey | None = Field(default=None, description="Of kind `ed25519`: 32 bytes in hexadecimal.")
    account: Account | None = Field(default=None, description="Of kind `wallet`.")
    chain_id: Annotated[StrictInt, Field(ge=1, lt=2**53)] | None = Field(
        default=None, description="Of kind `wallet`: its chain (EIP-155)."
    )

    signature: Signature | None = Field(
        default=None,
        repr=False,
        description="Of kind `wallet`: the account's, of the `typed_data` that 403 `wallet-unproved` told.",
        examples=["0x" + "5a" * 65],
    )
    signature_expires_at: Annotated[StrictInt, Field(ge=0, lt=2**53)] | None = Field(
        default=None,
        description="With `signature`: what `wallet-unproved` told; seconds since 1970.",
        examples=[1_795_300_711],
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.signature is None) != (self.signature_expires_at is None):
            raise ValueError("give both signature and signature_expires_at, or neither")
        if self.signature is not None and self.account is None:
            raise ValueError("a signature comes with account and chain_id")
        return self

    @property
    def wallet(self) -> Wallet | None:
        """The wallet that it names."""
        if self.account is None or self.chain_id is None:
            return None
        return Wallet(self.chain_id, parse_address(self.account))

    @property
    def proof(self) -> Proof | None:
        """What the wallet's account says of it."""
        if self.signature is None or self.signature_expires_at is None:
            return None
        return Proof(bytes.fromhex(self.signature[2:]), self.signature_expires_at)

    def canonical(self) -> dict[str, Any]:
        """The body as JSON without the account's signature: another one makes no other request."""
        return self.model_dump(mode="json", by_alias=True, exclude={"signature", "signature_expires_at"})

    def insist_on_proof(self, kind: Kind) -> None:
        """Raise ValueError unless just what a kind needs is given."""
        needed = {Kind.ED25519: {"public_key"}, Kind.WALLET: {"account", "chain_id"}}.get(kind, set())
        given = {name for name in ("public_key", "account", "chain_id") if getattr(self, name) is not None}
        if given != needed:
            told = " and ".join(sorted(needed)) or "neither public_key nor account"
            raise ValueError(f"a key of kind {kind} takes {told}")


class KeyOrder(ProofOrder):
    """A credential to make, for the caller that asks or for a new one that reads alone."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"name": "settlement desk", "kind": "bearer", "scopes": ["keys:read"]}}
    )

    name: Name = Field(examples=["settlement desk"])
    kind: Kind = Kind.BEARER
    scopes: list[Scope] | None = Field(
        default=None,
        min_length=1,
        max_length=50,
        description="Each one that the asking key opens; unless told, all of these that the role opens.",
    )
    caller: Name | None = Field(default=None, description="A new caller's name, with `role`.", examples=[None])
    role: Role | None = Field(
        default=None,
        description="A new caller's: one that changes nothing and shows no value. Others are made by the command line.",
        examples=[None],
    )
    limits: Limits | None = Field(default=None, description="The asking key's, unless told; as tight as those.")
    expires_in_s: LifeS | None = Field(default=None, description="The asking key's end, unless told; no later.")
    starts_in_s: LifeS | None = Field(default=None, description="It opens nothing before.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.insist_on_proof(self.kind)
        if (self.caller is None) != (self.role is None):
            raise ValueError("a new caller has a name and a role: give both caller and role, or neither")
        if self.role is None and self.scopes is None:
            raise ValueError("give scopes")
        return self


class RotateOrder(ProofOrder):
    """How a credential's next version takes its place."""

    model_config = ConfigDict(json_schema_extra={"example": {"overlap_s": 3_600, "overlap_starts": "first-use"}})

    overlap_s: Annotated[StrictInt, Field(ge=0, le=OVERLAP_MAX_S)] = Field(
        default=OVERLAP_S,
        description="The former version ends so long after the overlap starts, and never later than before.",
    )
    overlap_starts: OverlapStarts = OverlapStarts.NOW
    expires_in_s: LifeS | None = Field(default=None, description="The former version's end, unless told.")


class ChangeOrder(Order):
    """What changes of a credential: its name, fewer scopes, tighter limits. What is left out stays."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "settlement desk, London"}})

    name: Name | None = None
    scopes: list[Scope] | None = Field(default=None, min_length=1, max_length=50)
    limits: Limits | None = None


class ReasonOrder(Order):
    """Why something is done; it stays in the journal."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "a laptop was stolen"}})

    reason: Line = Field(examples=["a laptop was stolen"])


class RevokeAllOrder(ReasonOrder):
    """End everything that opens what is the issuer's."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "a laptop was stolen", "also_asking": False}})

    also_asking: bool = Field(
        default=False, description="The asking key, too: then only the command line can make another one."
    )


class LeakedOrder(Order):
    """Keys that were found where they should not be."""

    model_config = ConfigDict(json_schema_extra={"example": {"keys": ["munsk_test_…"]}})

    keys: list[Annotated[StrictStr, Field(max_length=200)]] = Field(min_length=1, max_length=REPORTED_MAX, repr=False)
