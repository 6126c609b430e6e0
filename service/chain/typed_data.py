"""What a holder signs so that another may act for it: EIP-712 messages for wallets, and the calls that carry them."""

from dataclasses import dataclass
from typing import Any

from eth_hash.auto import keccak

from service.addresses import checksum, hex0x
from service.chain import contracts

VALID_AFTER = 0
"""Our authorizations are good at once."""

SIGNATURE_BYTES = 65

Field = tuple[str, str, Any]
"""Name, Solidity type and value; addresses and bytes are bytes, numbers are int."""


@dataclass(frozen=True, slots=True)
class TypedData:
    """A message of one contract's domain. `fields` are in the order of the type."""

    domain_name: str
    chain_id: int
    contract: bytes
    primary_type: str
    fields: tuple[Field, ...]

    def as_json(self) -> dict[str, Any]:
        """The object that a wallet's `eth_signTypedData_v4` takes; large numbers are decimal strings."""
        return {
            "domain": {
                "name": self.domain_name,
                "version": "1",
                "chainId": self.chain_id,
                "verifyingContract": checksum(self.contract),
            },
            "types": {
                "EIP712Domain": [
                    {"name": "name", "type": "string"},
                    {"name": "version", "type": "string"},
                    {"name": "chainId", "type": "uint256"},
                    {"name": "verifyingContract", "type": "address"},
                ],
                self.primary_type: self._members(),
            },
            "primaryType": self.primary_type,
            "message": {name: _wire(kind, given) for name, kind, given in self.fields},
        }

    def digest(self) -> bytes:
        """The 32 bytes that are signed. Source: EIP-712."""
        # A third of a second of imports, for the first message of a process instead of for its start.
        from eth_account.messages import encode_typed_data

        domain = {
            "name": self.domain_name,
            "version": "1",
            "chainId": self.chain_id,
            "verifyingContract": checksum(self.contract),
        }
        message = {name: _typed(kind, given) for name, kind, given in self.fields}
        signable = encode_typed_data(domain, {self.primary_type: self._members()}, message)
        return keccak(b"\x19" + signable.version + signable.header + signable.body)

    def _members(self) -> list[dict[str, str]]:
        return [{"name": name, "type": kind} for name, kind, _ in self.fields]


@dataclass(frozen=True, slots=True)
class Authorization:
    """Leave to act once for `account`, in the manner of ERC-3009: the fields, a time window and a free nonce.

    `function` of the contract takes the fields, the window, the nonce and v, r, s.
    """

    artifact: str
    chain_id: int
    contract: bytes
    account: bytes
    primary_type: str
    function: str
    fields: tuple[Field, ...]
    valid_before: int  # seconds since 1970; a block of that time or later refuses
    nonce: bytes

    def typed_data(self) -> TypedData:
        """What the account signs."""
        window = (
            ("validAfter", "uint256", VALID_AFTER),
            ("validBefore", "uint256", self.valid_before),
            ("nonce", "bytes32", self.nonce),
        )
        # The domain of each kind is named after its contract; a profile keeps its parent's.
        name = "AssetToken" if self.artifact == "AssetTokenHistory" else self.artifact
        return TypedData(name, self.chain_id, self.contract, self.primary_type, (*self.fields, *window))

    def calldata(self, signature: bytes) -> bytes:
        """The call that uses it. `signature` is r, s and v in 65 bytes."""
        values = (given for _, _, given in self.fields)
        window = (VALID_AFTER, self.valid_before, self.nonce)
        v, r, s = signature[64], signature[:32], signature[32:64]
        return contracts.encode_call(self.artifact, self.function, *values, *window, v, r, s)

    def signature_place(self) -> tuple[int, str]:
        """Where the signature stands in the calldata, and in which form: three words after one for each field."""
        return 4 + 32 * (len(self.fields) + 3), "words"

    def proof(self) -> tuple[bytes, bytes]:
        """The call that answers true once it was used or cancelled."""
        return self.contract, contracts.encode_call(self.artifact, "authorizationState", self.account, self.nonce)


@dataclass(frozen=True, slots=True)
class Ballot:
    """A vote by signature. Its nonce is the governor's next one for the voter; nobody votes twice anyway."""

    chain_id: int
    governor: bytes
    governor_name: str
    account: bytes
    proposal_id: int
    support: int
    reason: str
    nonce: int

    def typed_data(self) -> TypedData:
        """What the voter signs. Source: OpenZeppelin 5.7, Governor, BALLOT_TYPEHASH."""
        fields: list[Field] = [
            ("proposalId", "uint256", self.proposal_id),
            ("support", "uint8", self.support),
            ("voter", "address", self.account),
            ("nonce", "uint256", self.nonce),
        ]
        if self.reason:
            fields += [("reason", "string", self.reason), ("params", "bytes", b"")]
        kind = "ExtendedBallot" if self.reason else "Ballot"
        return TypedData(self.governor_name, self.chain_id, self.governor, kind, tuple(fields))

    def calldata(self, signature: bytes) -> bytes:
        """The call that casts it."""
        vote = (self.proposal_id, self.support, self.account)
        if self.reason:
            function, given = "castVoteWithReasonAndParamsBySig", (*vote, self.reason, b"", signature)
            return contracts.encode_call("AssetGovernor", function, *given)
        return contracts.encode_call("AssetGovernor", "castVoteBySig", *vote, signature)

    def signature_place(self) -> tuple[int, str]:
        """Where the signature stands in the calldata, and in which form: bytes at the end, filled up to three words."""
        return len(self.calldata(bytes(SIGNATURE_BYTES))) - 96, "bytes"

    def proof(self) -> tuple[bytes, bytes]:
        """The call that answers true once the voter has voted."""
        return self.governor, contracts.encode_call("AssetGovernor", "hasVoted", self.proposal_id, self.account)


Permission = Authorization | Ballot


def with_signature(calldata: bytes, at: int, form: str, signature: bytes) -> bytes:
    """The calldata with another signature (r, s and v in 65 bytes) at the place that `signature_place` names."""
    words = signature[64:].rjust(32, b"\0") + signature[:64]
    return calldata[:at] + (words if form == "words" else signature.ljust(96, b"\0")) + calldata[at + 96 :]


def _typed(kind: str, given: Any) -> Any:
    """A value as eth-account takes it."""
    if kind == "address":
        return checksum(given)
    if kind == "address[]":
        return [checksum(each) for each in given]
    return list(given) if kind.endswith("[]") else given


def _wire(kind: str, given: Any) -> Any:
    if kind.endswith("[]"):
        return [_wire(kind[:-2], each) for each in given]
    if kind == "address":
        return checksum(given)
    if isinstance(given, bytes):
        return hex0x(given)
    return given if isinstance(given, str) else str(given)
