"""One of each contract on a test's chain, with everything happening to them that leaves a state behind."""

from dataclasses import dataclass, field
from typing import Any

from eth_hash.auto import keccak

from service.addresses import ZERO
from tests.mirror.world import Ledger

HASH = keccak(b"a document")
ADMIN = 0


@dataclass(slots=True)
class Estate:
    """The contracts, by what they are."""

    ledger: Ledger
    at: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ledger, terms = self.ledger, (bytes(32), bytes(32))
        authority = self.at["IssuerAuthority"] = ledger.make("IssuerAuthority", ledger.accounts[0], 0, ZERO)
        self.at["ComplianceRegistry"] = ledger.make("ComplianceRegistry", authority)
        self.at["AssetToken"] = ledger.make("AssetToken", ("House", "H", 6, authority, ZERO, ZERO, *terms))
        deed = ("Deeds", "D", authority, ZERO, *terms, True)
        self.at["DeedToken"] = ledger.make("DeedToken", deed)
        self.at["GovernanceToken"] = ledger.make("GovernanceToken", ("Votes", "V", 0, authority, 10**9, bytes(32)))
        self.at["DocumentRegistry"] = ledger.make("DocumentRegistry", authority)
        self.at["ReserveAttestation"] = ledger.make("ReserveAttestation", authority)
        self.at["AuditAnchor"] = ledger.make("AuditAnchor", authority)
        governor = ("Board", self.at["GovernanceToken"], 1, 20, 0, 1, 5, 60)
        self.at["AssetGovernor"] = ledger.make("AssetGovernor", governor)

    def once(self, kind: str, function: str, *args: Any) -> None:
        self.ledger.act_once(kind, self.at[kind], function, *args)

    def by(self, account: int, kind: str, function: str, *args: Any) -> None:
        self.ledger.act(kind, self.at[kind], function, *args, sender=self.ledger.accounts[account])

    def live(self) -> None:
        """A block for each act."""
        one, two, three = self.ledger.accounts[1:4]
        self.endow(one, two)
        self.comply(one, two)
        self.deal_in_deeds(one, two, three)
        self.vote(one, two)
        self.once("AuditAnchor", "anchor", HASH, 5, HASH, HASH, 1, HASH)
        self.once("AuditAnchor", "anchor", HASH, 9, HASH, HASH, 2, HASH)

    def endow(self, one: bytes, two: bytes) -> None:
        self.once("AssetToken", "mint", one, 100)
        self.by(ADMIN, "AssetToken", "setFrozenTokens", one, 30)
        self.by(ADMIN, "AssetToken", "setFrozenTokens", two, 2**256 - 1)
        self.by(ADMIN, "AssetToken", "setFrozenTokens", one, 0)
        with self.ledger.one_block():
            self.by(ADMIN, "AssetToken", "setFrozenTokens", one, 10)
            self.by(ADMIN, "AssetToken", "setFrozenTokens", one, 20)
        self.once("AssetToken", "pause")
        self.once("ReserveAttestation", "setAttester", self.at["AssetToken"], two)
        self.once("DocumentRegistry", "setDocument", self.at["AssetToken"], HASH, "ipfs://one", HASH, 5)
        self.once("DocumentRegistry", "setDocument", self.at["AssetToken"], HASH, "ipfs://two", HASH, 6)
        self.once("DocumentRegistry", "setDocument", self.at["DeedToken"], HASH, "ipfs://deeds", HASH, 7)
        self.once("DocumentRegistry", "removeDocument", self.at["AssetToken"], HASH)

    def comply(self, one: bytes, two: bytes) -> None:
        investor = keccak(b"investor")
        self.once("ComplianceRegistry", "setIdentity", investor, 756, 2, 0, [])
        self.once("ComplianceRegistry", "linkWallet", one, investor, [])
        self.once("ComplianceRegistry", "linkWallet", two, investor, [])
        self.once("ComplianceRegistry", "linkWallet", two, bytes(32), [])
        self.once("ComplianceRegistry", "setBlocked", investor, True, HASH)
        self.once("ComplianceRegistry", "setPolicy", self.at["GovernanceToken"], (1, 1, 50, 10, 0), [756, 276])
        self.once("ComplianceRegistry", "setLots", self.at["GovernanceToken"], investor, [5, 6], [2**40, 2**41])
        self.once("ComplianceRegistry", "setCountryHoldersMax", self.at["GovernanceToken"], 756, 7)
        self.by(ADMIN, "IssuerAuthority", "grantRole", 2, one, 0)
        self.by(ADMIN, "IssuerAuthority", "grantRole", 5, two, 3_600)
        self.by(ADMIN, "IssuerAuthority", "grantRole", 5, two, 60)
        self.by(ADMIN, "IssuerAuthority", "revokeRole", 2, one)
        self.by(ADMIN, "IssuerAuthority", "setTargetClosed", self.at["AuditAnchor"], True)
        self.by(ADMIN, "IssuerAuthority", "setTargetClosed", self.at["AuditAnchor"], False)

    def deal_in_deeds(self, one: bytes, two: bytes, three: bytes) -> None:
        for deed_id, holder in ((1, one), (2, one), (2**255, two), (5, three)):
            self.once("DeedToken", "mintDeed", holder, deed_id, f"ipfs://{deed_id}", HASH)
        self.by(ADMIN, "DeedToken", "forcedTransfer", one, two, 2)
        with self.ledger.one_block():
            self.by(ADMIN, "DeedToken", "forcedTransfer", two, three, 2)
            self.by(ADMIN, "DeedToken", "forcedTransfer", three, one, 2)
        self.by(ADMIN, "DeedToken", "setFrozenTokens", one, 1, True)
        self.once("DeedToken", "setURI", 1, "ipfs://newer", keccak(b"newer"))
        self.once("DeedToken", "setRoyalty", 1, three, 250)
        self.once("DeedToken", "retire", 5, "sold to the city")
        with self.ledger.one_block():
            self.once("DeedToken", "mintDeed", one, 77, "", HASH)
            self.once("DeedToken", "retire", 77, "an error\0of ours")

    def vote(self, one: bytes, two: bytes) -> None:
        self.once("GovernanceToken", "mint", one, 500)
        self.once("GovernanceToken", "mint", two, 300)
        self.by(1, "GovernanceToken", "delegate", one)
        self.by(2, "GovernanceToken", "delegate", one)
        self.by(2, "GovernanceToken", "delegate", two)
        self.by(1, "AssetGovernor", "propose", [one], [0], [b""], "paint the roof")
        self.ledger.mine(2)
        proposal = self.proposal("paint the roof", one)
        self.by(1, "AssetGovernor", "castVoteWithReason", proposal, 1, "it leaks")
        self.by(2, "AssetGovernor", "castVote", proposal, 0)

    def proposal(self, description: str, target: bytes) -> int:
        """The id of a proposal of one empty call."""
        answer = self.ledger.ask(
            "AssetGovernor",
            self.at["AssetGovernor"],
            "hashProposal",
            [target],
            [0],
            [b""],
            keccak(description.encode()),
            block=self.ledger.height(),
        )
        return int(answer[0])
