"""What the contracts cost: runtime bytes, and the gas of one transaction of each kind."""

from dataclasses import dataclass
from typing import Any

from eth_abi.abi import encode
from web3 import Web3
from web3.contract import Contract
from web3.contract.contract import ContractFunction

from tests.contracts import onchain
from tests.contracts.onchain import CONTRACTS, FOREVER, arguments, ask_node, create, deploy, fixed, send, split

HOUR = 3600
ROWS = 20
SPAIN = 724
ALLOWED = [250, 276, SPAIN]


@dataclass(frozen=True, slots=True)
class Place:
    """Where it is measured: who pays, and what everything is made with."""

    chain: Web3
    factory: Contract
    authority: Contract

    def account(self, index: int) -> str:
        """One of anvil's accounts; the first has every role."""
        return str(self.chain.eth.accounts[index])

    def create(self, name: str, **given: Any) -> Contract:
        return create(self.chain, name, *arguments(name, self.authority.address, **given))

    def gas(self, call: ContractFunction, sender: int = 0) -> int:
        return int(send(call, sender=self.account(sender))["gasUsed"])

    def wait(self, seconds: int) -> None:
        """Moves the chain's clock on, and makes a block then."""
        ask_node(self.chain, "evm_increaseTime", seconds)
        ask_node(self.chain, "evm_mine")

    def now(self) -> int:
        return int(self.chain.eth.get_block("latest")["timestamp"])


def strangers(label: str) -> list[str]:
    """As many addresses as a batch has rows."""
    return [onchain.fixed_address(f"{label} {row}") for row in range(ROWS)]


def sizes(place: Place) -> dict[str, int]:
    """Runtime bytes of every contract, and the gas of deploying it through the factory."""
    votes = place.create("GovernanceToken")
    found = {}
    for name in CONTRACTS:
        given = arguments(name, place.authority.address, admin=place.account(0), votes=votes.address)
        made, mined = deploy(place.factory, name, *given, salt=fixed(name))
        found[f"{name}, bytes"] = len(place.chain.eth.get_code(made.address))
        found[f"{name}: deploy through the factory, gas"] = int(mined["gasUsed"])
    return dict(sorted(found.items(), key=lambda item: not item[0].endswith("bytes")))


def plain(place: Place) -> dict[str, int]:
    """OpenZeppelin's ERC-20, with which ours is compared."""
    token = create(place.chain, "PlainERC20")
    fresh = place.gas(token.functions.transfer(place.account(1), 1000))
    again = place.gas(token.functions.transfer(place.account(1), 1000))
    return {
        "OpenZeppelin's ERC20: transfer to a holder": again,
        "OpenZeppelin's ERC20: transfer to a new holder": fresh,
    }


def free_units(place: Place) -> dict[str, int]:
    """AssetToken without a registry."""
    token = place.create("AssetToken")
    call, one, two = token.functions, place.account(1), place.account(2)
    key = onchain.fixed_key("signer", place.chain)
    send(call.mint(two, 10**9, fixed("first")), sender=place.account(0))
    found = {
        "mint to a new holder": place.gas(call.mint(one, 10**9, fixed("mint 1"))),
        "mint to a holder": place.gas(call.mint(one, 10**9, fixed("mint 2"))),
        "transfer to a holder": place.gas(call.transfer(two, 1000), 1),
        "transfer to a new holder": place.gas(call.transfer(key.address, 10**6), 1),
    }
    batch, amounts = strangers("row"), [1000] * ROWS
    send(call.batchMint(batch, amounts, fixed("batch")), sender=place.account(0))
    found["batchTransfer to 20 holders, a row"] = place.gas(call.batchTransfer(batch, amounts), 1) // ROWS
    found["approve"] = place.gas(call.approve(place.account(3), FOREVER), 1)
    found["transferFrom to a holder"] = place.gas(call.transferFrom(one, two, 1000), 3)
    order = (key.address, two, 1000, 0, FOREVER, fixed("authorization"))
    signed = onchain.signature(key, token, "AssetToken", onchain.TRANSFER, *order)
    found["transferWithAuthorization to a holder"] = place.gas(call.transferWithAuthorization(*order, *split(signed)))
    found["redeem"] = place.gas(call.redeem(1000, fixed("ref")), 1)
    found["burn"] = place.gas(call.burn(one, 1000, fixed("burn")))
    found["setFrozenTokensIf"] = place.gas(call.setFrozenTokensIf(one, 0, 500, fixed("freeze")))
    found["forcedTransferRef to a holder"] = place.gas(forced(call, one, two))
    found["pause"] = place.gas(call.pause(fixed("pause")))
    return {f"AssetToken: {what}": used for what, used in found.items()}


def forced(call: Any, holder: str, to: str) -> ContractFunction:
    """A forced transfer with its reason."""
    made: ContractFunction = call.forcedTransferRef(holder, to, 1000, "court order", fixed("order"), fixed("forced"))
    return made


def ruled_units(place: Place) -> dict[str, int]:
    """The registry, and AssetToken under every rule: level, allow-list, both limits on holders, holding, one lot."""
    registry = place.create("ComplianceRegistry")
    token = place.create("AssetToken", registry=registry.address)
    rules, call = registry.functions, token.functions
    policy, later, one, two = (2, 1, 1000, 500, 10**12), place.now() + HOUR, place.account(1), place.account(2)
    found = {
        "ComplianceRegistry: setPolicy for the first time": place.gas(
            rules.setPolicy(token.address, policy, ALLOWED, fixed("policy"))
        ),
        "ComplianceRegistry: setCountryHoldersMax": place.gas(
            rules.setCountryHoldersMax(token.address, SPAIN, 100, fixed("Spain"))
        ),
        "ComplianceRegistry: setIdentity of a new investor": place.gas(
            rules.setIdentity(fixed("investor 1"), SPAIN, 2, later, [], fixed("identity 1"))
        ),
        "ComplianceRegistry: linkWallet without units": place.gas(
            rules.linkWallet(one, fixed("investor 1"), [], fixed("link 1"))
        ),
    }
    fresh = [place.account(3), *strangers("investor")]
    for row, wallet in enumerate([two, *fresh]):
        investor = fixed(f"holder {row}")
        send(rules.setIdentity(investor, SPAIN, 2, later, [], fixed(f"identity row {row}")), sender=place.account(0))
        send(rules.linkWallet(wallet, investor, [], fixed(f"link row {row}")), sender=place.account(0))
    send(call.mint(two, 10**9, fixed("first")), sender=place.account(0))
    found["AssetToken, every rule: mint to a new holder"] = place.gas(call.mint(one, 10**9, fixed("mint")))
    lots = rules.setLots(token.address, fixed("investor 1"), [500], [later], fixed("lots"))
    found["ComplianceRegistry: setLots with one lot"] = place.gas(lots)
    batch = [onchain.fixed_address(f"minted investor {row}") for row in range(ROWS)]
    for row, wallet in enumerate(batch):
        investor = fixed(f"minted {row}")
        send(rules.setIdentity(investor, SPAIN, 2, later, [], fixed(f"minted id {row}")), sender=place.account(0))
        send(rules.linkWallet(wallet, investor, [], fixed(f"minted link {row}")), sender=place.account(0))
    minted = place.gas(call.batchMint(batch, [1000] * ROWS, fixed("minted batch")))
    found[f"AssetToken, every rule: batchMint to {ROWS} new holders, a row"] = minted // ROWS
    ruled = {
        "transfer to a holder": place.gas(call.transfer(two, 1000), 1),
        "transfer to a new holder": place.gas(call.transfer(fresh[0], 1000), 1),
        "batchTransfer to 20 new holders, a row": place.gas(call.batchTransfer(fresh[1:], [1000] * ROWS), 1) // ROWS,
        "batchTransfer to 20 holders, a row": place.gas(call.batchTransfer(fresh[1:], [1000] * ROWS), 1) // ROWS,
        "redeem": place.gas(call.redeem(1000, fixed("ref")), 1),
        "forcedTransferRef to a holder": place.gas(forced(call, one, two)),
    }
    return found | {f"AssetToken, every rule: {what}": used for what, used in ruled.items()}


def past_units(place: Place) -> dict[str, int]:
    """AssetTokenHistory, without a registry."""
    token = place.create("AssetTokenHistory")
    call, one, two = token.functions, place.account(1), place.account(2)
    for row, to in enumerate((one, two)):
        send(call.mint(to, 10**9, fixed(f"mint {row}")), sender=place.account(0))
    found = {"AssetTokenHistory: transfer to a holder": place.gas(call.transfer(two, 1000), 1)}
    for index in (1, 2):
        place.gas(call.delegate(place.account(index)), index)
    found["AssetTokenHistory: transfer to a holder, both delegated"] = place.gas(call.transfer(two, 1000), 1)
    return found


def deeds(place: Place) -> dict[str, int]:
    """DeedToken without a registry."""
    token = place.create("DeedToken")
    call, one, two = token.functions, place.account(1), place.account(2)
    uri, hashed = "https://deeds.example/harbour-house/7.pdf", fixed("document")
    send(call.mintDeed(one, 1, uri, hashed, fixed("deed 1")), sender=place.account(0))
    send(call.mintDeed(two, 2, uri, hashed, fixed("deed 2")), sender=place.account(0))
    return {
        "DeedToken: mintDeed to a holder": place.gas(call.mintDeed(one, 7, uri, hashed, fixed("deed 7"))),
        "DeedToken: transferFrom by the holder, to a holder": place.gas(call.transferFrom(one, two, 7), 1),
        "DeedToken: retire": place.gas(call.retire(7, "the house is gone", fixed("retire"))),
    }


def governance(place: Place) -> dict[str, int]:
    """A whole vote: one proposal of one call, which mints by the timelock's own role."""
    token = place.create("GovernanceToken")
    governor = place.create("AssetGovernor", votes=token.address)
    call, one, two = token.functions, place.account(1), place.account(2)
    timelock = governor.functions.timelock().call()
    send(place.authority.functions.grantRole(2, timelock, 0), sender=place.account(0))
    send(call.mint(two, 10**9, fixed("first")), sender=place.account(0))
    found = {
        "GovernanceToken: mint to a new holder": place.gas(call.mint(one, 10**9, fixed("mint"))),
        "GovernanceToken: transfer to a holder": place.gas(call.transfer(two, 1000), 1),
        "GovernanceToken: delegate to oneself": place.gas(call.delegate(one), 1),
    }
    place.gas(call.delegate(two), 2)
    found["GovernanceToken: transfer to a holder, both delegated"] = place.gas(call.transfer(two, 1000), 1)
    minting = token.encode_abi("mint", args=[one, 5, fixed("voted")])
    proposed = governor.functions.propose([token.address], [0], [minting], "Mint five units.")
    proposal = governor.functions.getProposalId([token.address], [0], [minting], Web3.keccak(text="Mint five units."))
    found["AssetGovernor: propose one call"] = place.gas(proposed, 1)
    ask_node(place.chain, "anvil_mine", hex(2))
    number = proposal.call()
    found["AssetGovernor: castVote"] = place.gas(governor.functions.castVote(number, 1), 1)
    ask_node(place.chain, "anvil_mine", hex(12))
    found["AssetGovernor: queue"] = place.gas(governor.get_function_by_signature("queue(uint256)")(number))
    ask_node(place.chain, "evm_increaseTime", HOUR)
    ask_node(place.chain, "anvil_mine", hex(1))
    executed = place.gas(governor.get_function_by_signature("execute(uint256)")(number))
    return found | {"AssetGovernor: execute a mint": executed}


def utility(place: Place) -> dict[str, int]:
    """UtilityToken."""
    token = place.create("UtilityToken")
    send(token.functions.mint(place.account(1), 10**9, fixed("mint")), sender=place.account(0))
    send(token.functions.transfer(place.account(2), 1000), sender=place.account(1))
    return {
        "UtilityToken: transfer to a holder": place.gas(token.functions.transfer(place.account(2), 1000), 1),
        "UtilityToken: spend": place.gas(token.functions.spend(1000, fixed("ref")), 1),
    }


def records(place: Place) -> dict[str, int]:
    """Documents, anchors and reserves."""
    documents, anchors = place.create("DocumentRegistry"), place.create("AuditAnchor")
    reserves, attester = place.create("ReserveAttestation"), onchain.fixed_key("attester", place.chain)
    subject, uri = onchain.fixed_address("subject"), "https://deeds.example/harbour-house/prospectus.pdf"
    document = (subject, fixed("prospectus"), uri, fixed("document"))
    anchored = {}
    for size in (1000, 2000):
        root = (fixed("log"), size, fixed(f"root {size}"), fixed("mirror"), size, fixed("block"), fixed(f"id {size}"))
        anchored[size] = place.gas(anchors.functions.anchor(*root))
    named = place.gas(reserves.functions.setAttester(subject, attester.address, fixed("attester")))
    place.wait(10)  # what is attested is signed after the naming
    attested = {}
    for age in (2, 1):
        # Each word's times differ from the last one's whatever the clock does, so that each slot is written anew.
        word = (subject, 10**9, place.now() - age, place.now() + HOUR - age)
        signed = onchain.signature(attester, reserves, "ReserveAttestation", onchain.ATTESTATION, *word)
        attested[age] = place.gas(reserves.functions.attest(*word, signed))
    return {
        "DocumentRegistry: setDocument for the first time": place.gas(
            documents.functions.setDocument(*document, place.now(), fixed("document"))
        ),
        "AuditAnchor: anchor for the first time": anchored[1000],
        "AuditAnchor: anchor": anchored[2000],
        "ReserveAttestation: setAttester": named,
        "ReserveAttestation: attest": attested[1],
    }


def pair(left: bytes, right: bytes) -> bytes:
    """The parent of two nodes, which are hashed in sorted order."""
    return bytes(Web3.keccak(b"".join(sorted((left, right)))))


def tree(leaves: list[bytes]) -> tuple[bytes, list[list[bytes]]]:
    """The root of a Merkle tree, and each leaf's proof; a node without a sibling rises as it is."""
    proofs: list[list[bytes]] = [[] for _ in leaves]
    level, places = leaves, list(range(len(leaves)))
    while len(level) > 1:
        for leaf, at in enumerate(places):
            if at ^ 1 < len(level):
                proofs[leaf].append(level[at ^ 1])
        level = [pair(*level[at : at + 2]) if at + 1 < len(level) else level[at] for at in range(0, len(level), 2)]
        places = [at // 2 for at in places]
    return level[0], proofs


def payments(place: Place) -> dict[str, int]:
    """A distribution to 21 holders, and a trade of units against currency."""
    currency, distributor = create(place.chain, "PlainERC20"), place.create("Distributor")
    accounts, amounts = [place.account(1), *strangers("payee")], [1000] * (ROWS + 1)
    send(currency.functions.approve(distributor.address, FOREVER), sender=place.account(0))
    send(currency.functions.transfer(distributor.address, 1), sender=place.account(0))
    leaves = [
        bytes(Web3.keccak(Web3.keccak(encode(["uint256", "address", "uint256"], [index, account, amount]))))
        for index, (account, amount) in enumerate(zip(accounts, amounts, strict=True))
    ]
    root, proofs = tree(leaves)
    call, name = distributor.functions, fixed("distribution")
    what = (name, onchain.fixed_address("token"), currency.address, sum(amounts), root)
    block = place.chain.eth.get_block(place.chain.eth.block_number - 1)
    when = (block["number"], bytes(block["hash"]), fixed("digest"), place.now() + HOUR)
    created = place.gas(call.create(*what, *when, fixed("create")))
    rest = call.claimFor(name, list(range(1, ROWS + 1)), accounts[1:], amounts[1:], proofs[1:])
    return {
        "Distributor: create": created,
        "Distributor: claim by a new holder of the currency": place.gas(call.claim(name, 0, 1000, proofs[0]), 1),
        "Distributor: claimFor 20 new holders of the currency, a row": place.gas(rest) // ROWS,
        "Settlement: settle units against currency, two signatures": settled(place, currency),
    }


def rows(place: Place) -> dict[str, int]:
    """What a row of a batch costs at most in each contract: new holders, and the votes of each counted elsewhere."""
    found = {}
    for name in ("AssetToken", "AssetTokenHistory", "GovernanceToken", "UtilityToken"):
        token = place.create(name)
        call, one, to = token.functions, place.account(1), place.account(2)
        minted = place.gas(call.batchMint(strangers("minted"), [1000] * ROWS, fixed("batch")))
        found[f"{name}: batchMint to {ROWS} new holders, a row"] = minted // ROWS
        send(call.mint(one, 10**9, fixed("mint")), sender=place.account(0))
        if name in ("AssetTokenHistory", "GovernanceToken"):
            send(call.delegate(to), sender=one)
        moved = place.gas(call.batchTransfer(strangers("moved"), [1000] * ROWS), 1)
        found[f"{name}: batchTransfer to {ROWS} new holders, a row"] = moved // ROWS
    call = place.create("AssetToken").functions
    frozen = place.gas(call.batchSetFrozenTokensIf(strangers("frozen"), [0] * ROWS, [500] * ROWS, fixed("freeze")))
    found[f"AssetToken: batchSetFrozenTokensIf of {ROWS} accounts, a row"] = frozen // ROWS
    rules, later = place.create("ComplianceRegistry").functions, place.now() + HOUR
    given: list[Any] = [(fixed(f"investor {row}"), SPAIN, 2, later, []) for row in range(ROWS)]
    known = place.gas(rules.batchSetIdentity(given, fixed("identities")))
    return found | {f"ComplianceRegistry: batchSetIdentity of {ROWS} new investors, a row": known // ROWS}


def settled(place: Place, currency: Contract) -> int:
    """A trade between two holders of both things, brought by a stranger."""
    token, settlement = place.create("AssetToken"), place.create("Settlement")
    seller, buyer = (onchain.fixed_key(label, place.chain) for label in ("seller", "buyer"))
    for party in (seller.address, buyer.address):
        send(token.functions.mint(party, 10**6, fixed(party)), sender=place.account(0))
        send(currency.functions.transfer(party, 10**6), sender=place.account(0))
        send(token.functions.approve(settlement.address, FOREVER), sender=party)
        send(currency.functions.approve(settlement.address, FOREVER), sender=party)
    trade = (
        *(seller.address, buyer.address, token.address, 1000, False, currency.address, 5000),
        *(place.now() + HOUR, fixed("nonce")),
    )
    signed = [onchain.signature(key, settlement, "Settlement", onchain.TRADE, *trade) for key in (seller, buyer)]
    return place.gas(settlement.functions.settle(trade, *signed), 3)


def measured(place: Place) -> dict[str, int]:
    """Every figure, by the words of the README."""
    found = sizes(place)
    for part in (plain, free_units, ruled_units, past_units, deeds, governance, utility, records, payments, rows):
        found |= {f"{what}, gas": used for what, used in part(place).items()}
    return found
