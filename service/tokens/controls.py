"""What an issuer's roles ask of a token: the bodies of such requests, and what each asks the contract."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, StrictBool, StrictInt, StrictStr

from service.addresses import ZERO, Address
from service.amounts import PositiveAmount
from service.web.orders import Bytes32, Line, Order, Uint256

ALICE, BOB = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
HASH = "0x" + "8f" * 32

BATCH_MAX = 100
"""Rows of one batch: each may cost 100,000 gas, and a block has 30 million."""

Uri = Annotated[StrictStr, Field(max_length=2_000, pattern=r"^[\x21-\x7e]*$")]
BasisPoints = Annotated[StrictInt, Field(ge=0, le=10_000)]


class ControlOrder(Order):
    """A request of a role. `function` and `arguments` say what the contract is asked."""

    function: ClassVar[str]

    def arguments(self, deed: tuple[int, ...]) -> tuple[Any, ...]:
        """What the function takes before the burned 32 bytes; `deed` is the id that the path names, if it does."""
        return deed


def _example(**fields: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"example": fields})


class MintOrder(ControlOrder):
    """Create units for a holder."""

    model_config = _example(to=ALICE, amount="1000")
    function = "mint"

    to: Address
    amount: PositiveAmount

    def arguments(self, deed: tuple[int, ...]) -> tuple[Any, ...]:
        """Receiver and amount."""
        return self.to, self.amount


class Share(Order):
    """One row of a batch."""

    model_config = _example(to=ALICE, amount="1000")

    to: Address
    amount: PositiveAmount


Shares = Annotated[list[Share], Field(min_length=1, max_length=BATCH_MAX)]


class BatchMintOrder(ControlOrder):
    """Create units for many holders at once: all rows or none."""

    model_config = _example(shares=[{"to": ALICE, "amount": "1000"}, {"to": BOB, "amount": "50"}])
    function = "batchMint"

    shares: Shares

    def arguments(self, deed: tuple[int, ...]) -> tuple[Any, ...]:
        """Receivers and amounts."""
        return [each.to for each in self.shares], [each.amount for each in self.shares]


class BurnOrder(ControlOrder):
    """Destroy units of a holder, without its consent."""

    model_config = _example(**{"from": ALICE, "amount": "1000"})
    function = "burn"

    holder: Address = Field(alias="from")
    amount: PositiveAmount

    def arguments(self, deed: tuple[int, ...]) -> tuple[Any, ...]:
        """Holder and amount."""
        return self.holder, self.amount


class FreezeOrder(ControlOrder):
    """Say how many units of an account may not move; `expected` is how many it was, so that no decision is lost."""

    model_config = _example(account=ALICE, expected="0", amount="250")
    function = "setFrozenTokensIf"

    account: Address
    expected: Uint256 = 0
    amount: Uint256

    def arguments(self, deed: tuple[int, ...]) -> tuple[Any, ...]:
        """Account, expected and new amount."""
        return self.account, self.expected, self.amount


class ForcedTransferOrder(ControlOrder):
    """Move units without their holder's consent. The reason is public for ever: no personal data."""

    model_config = _example(
        **{"from": ALICE, "to": BOB, "amount": "10", "reason": "Court order 12/2026", "document_hash": HASH}
    )
    function = "forcedTransferRef"

    holder: Address = Field(alias="from")
    to: Address
    amount: PositiveAmount
    reason: Line
    document_hash: Bytes32

    def arguments(self, deed: tuple[int, ...]) -> tuple[Any, ...]:
        """Holder, receiver, amount, reason and the document's hash."""
        return self.holder, self.to, self.amount, self.reason, self.document_hash


class PauseOrder(ControlOrder):
    """No fields: the path says it all."""

    model_config = _example()
    function = "pause"


class UnpauseOrder(PauseOrder):
    """No fields: the path says it all."""

    function = "unpause"


class DetachOrder(ControlOrder):
    """Ask the compliance registry no more, for good: it counts from the first unit, so it can't come back."""

    model_config = _example()
    function = "setRegistry"

    def arguments(self, deed: tuple[int, ...]) -> tuple[Any, ...]:
        """No registry."""
        return (ZERO,)


class DeedOrder(ControlOrder):
    """Issue a deed."""

    model_config = _example(deed_id="1", to=ALICE, uri="https://example.com/deeds/1.json", document_hash=HASH)
    function = "mintDeed"

    deed_id: Uint256
    to: Address
    uri: Uri = ""
    document_hash: Bytes32

    def arguments(self, deed: tuple[int, ...]) -> tuple[Any, ...]:
        """Holder, deed, where its metadata is, and its document's hash."""
        return self.to, self.deed_id, self.uri, self.document_hash


class DeedDocumentOrder(ControlOrder):
    """Give a deed new metadata and a new document."""

    model_config = _example(uri="https://example.com/deeds/1b.json", document_hash=HASH)
    function = "setURI"

    uri: Uri
    document_hash: Bytes32

    def arguments(self, deed: tuple[int, ...]) -> tuple[Any, ...]:
        """Deed, metadata and hash."""
        return *deed, self.uri, self.document_hash


class RoyaltyOrder(ControlOrder):
    """Say who is owed which share of a deed's sales."""

    model_config = _example(receiver=ALICE, basis_points=250)
    function = "setRoyalty"

    receiver: Address
    basis_points: BasisPoints

    def arguments(self, deed: tuple[int, ...]) -> tuple[Any, ...]:
        """Deed, receiver and share."""
        return *deed, self.receiver, self.basis_points


class DefaultRoyaltyOrder(RoyaltyOrder):
    """Say who is owed which share of the sales of deeds that have no royalty of their own."""

    function = "setDefaultRoyalty"


class RetireOrder(ControlOrder):
    """End a deed for ever. The reason is public: no personal data."""

    model_config = _example(reason="Merged into deed 7")
    function = "retire"

    reason: Line

    def arguments(self, deed: tuple[int, ...]) -> tuple[Any, ...]:
        """Deed and reason."""
        return *deed, self.reason


class FreezeDeedOrder(ControlOrder):
    """Say whether a deed may move out of an account; `expected` is what was so before."""

    model_config = _example(account=ALICE, expected=False, frozen=True)
    function = "setFrozenTokensIf"

    account: Address
    expected: StrictBool = False
    frozen: StrictBool

    def arguments(self, deed: tuple[int, ...]) -> tuple[Any, ...]:
        """Account, deed, expected and new state."""
        return self.account, *deed, self.expected, self.frozen


class ForcedDeedTransferOrder(ControlOrder):
    """Move a deed without its holder's consent. The reason is public for ever: no personal data."""

    model_config = _example(**{"from": ALICE, "to": BOB, "reason": "Court order 12/2026", "document_hash": HASH})
    function = "forcedTransferRef"

    holder: Address = Field(alias="from")
    to: Address
    reason: Line
    document_hash: Bytes32

    def arguments(self, deed: tuple[int, ...]) -> tuple[Any, ...]:
        """Holder, receiver, deed, reason and the document's hash."""
        return self.holder, self.to, *deed, self.reason, self.document_hash


@dataclass(frozen=True, slots=True)
class Control:
    """One such request: its path below the token, its operation's kind, and the kinds of token that it is for."""

    path: str
    kind: str
    order: type[ControlOrder]
    token_kinds: frozenset[str]
    summary: str

    @property
    def name(self) -> str:
        """The route's name."""
        return self.kind.replace(".", "_").replace("-", "_").removeprefix("token_")

    @property
    def is_critical(self) -> bool:
        """Whether a second factor must approve it: it takes property on somebody's word, or ends its rules."""
        return self.kind in CRITICAL


CRITICAL = frozenset(
    {
        *("token.forced-transfer", "deed.forced-transfer", "token.burn", "deed.retire"),
        "token.detach-compliance",
    }
)

UNITS = frozenset({"fungible", "governance", "utility"})
FUNGIBLE, DEEDS = frozenset({"fungible"}), frozenset({"deed"})
REGULATED = FUNGIBLE | DEEDS

CONTROLS = (
    Control("mint", "token.mint", MintOrder, UNITS, "Create units for a holder."),
    Control("batch-mint", "token.batch-mint", BatchMintOrder, UNITS, "Create units for many holders: all or none."),
    Control("burn", "token.burn", BurnOrder, UNITS, "Destroy units of a holder."),
    Control("freeze", "token.freeze", FreezeOrder, FUNGIBLE, "Say how many units of an account may not move."),
    Control(
        *("forced-transfer", "token.forced-transfer", ForcedTransferOrder, FUNGIBLE),
        "Move units on somebody's order, with a reason; frozen units too, and during a pause.",
    ),
    Control(
        *("pause", "token.pause", PauseOrder, FUNGIBLE | DEEDS | {"utility"}),
        "Stop every move of a token, minting and burning included; forced transfers go on.",
    ),
    Control("unpause", "token.unpause", UnpauseOrder, FUNGIBLE | DEEDS | {"utility"}, "Let a paused token move again."),
    Control("detach-compliance", "token.detach-compliance", DetachOrder, REGULATED, "Ask the registry no more."),
    Control("deeds", "deed.issue", DeedOrder, DEEDS, "Issue a deed."),
    Control("royalty", "deed.default-royalty", DefaultRoyaltyOrder, DEEDS, "Set the royalty of all other deeds."),
    Control("deeds/{deed_id}/document", "deed.document", DeedDocumentOrder, DEEDS, "Give a deed new metadata."),
    Control("deeds/{deed_id}/royalty", "deed.royalty", RoyaltyOrder, DEEDS, "Set a deed's royalty."),
    Control("deeds/{deed_id}/retire", "deed.retire", RetireOrder, DEEDS, "End a deed for ever."),
    Control("deeds/{deed_id}/freeze", "deed.freeze", FreezeDeedOrder, DEEDS, "Stop a deed, or let it move again."),
    Control(
        *("deeds/{deed_id}/forced-transfer", "deed.forced-transfer", ForcedDeedTransferOrder, DEEDS),
        "Move a deed on somebody's order, with a reason; a frozen one too, and during a pause.",
    ),
)
"""Every request of a role, in the order of the documentation."""
