"""Holders decide: a proposal, votes with and without a key of one's own, a timelock, and a rule that is another one."""

from dataclasses import dataclass, field
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount

from scripts.chapters import Teller, labelled, mark, table
from scripts.chapters_regulated import COUNTRIES, JAPAN, POLICY, RULES, Regulated

MEMBERS = {"Ada Lindqvist": 400, "Bruno Costa": 250, "Femi Obi": 350}
OWN_KEY = "Femi Obi"
VOTING_DELAY_BLOCKS, VOTING_PERIOD_BLOCKS, QUORUM_PERCENT, TIMELOCK_DELAY_S = 1, 12, 50, 86_400
STATES = ("pending", "active", "canceled", "defeated", "succeeded", "queued", "expired", "executed")
"""By the governor's numbers. Source: OpenZeppelin, IGovernor.ProposalState."""

SUPPORTS = ("against", "for", "abstain")
SET_POLICY = "setPolicy(address,(uint8,uint8,uint32,uint32,uint256),uint16[],bytes32)"
LATECOMER, GIVER = "Chiyo Tanaka", "Ada Lindqvist"


@dataclass(slots=True, kw_only=True)
class Council(Teller):
    """The chapters from a governance token to a decision that is carried out."""

    regulated: Regulated
    token_id: str = ""
    token: str = ""
    governor_id: str = ""
    governor: str = ""
    timelock: str = ""
    proposal_id: str = ""
    key: LocalAccount = field(default_factory=Account.create)  # of the member who keeps it
    life: list[tuple[str, int]] = field(default_factory=list)  # what happened, and the block after it

    def tell(self) -> None:
        """All of it, in order."""
        self.found()
        self.empower()
        self.propose()
        self.vote()
        self.carry_out()
        self.live_by_it()

    def found(self) -> None:
        """A token whose units vote, and who votes with them."""
        self.chapter("A council of holders")
        asset = self.client.post("/assets", "asset-council", {"name": "Mill Lane Council", "category": "other"})
        units = {"kind": "governance", "symbol": "MLC", "decimals": 0, "cap": "1000"}
        deployment = self.order("/tokens", asset_id=asset["id"], name=asset["name"], **units)
        self.token_id, self.token = deployment["token_id"], deployment["contract"]
        self.open_account(OWN_KEY, address=self.key.address)
        self.seen(deployment)
        shares = [{"to": self.accounts[name], "amount": str(amount)} for name, amount in MEMBERS.items()]
        minted = self.order(f"/tokens/{self.token_id}/batch-mint", shares=shares)
        terms = {
            "voting_delay_blocks": VOTING_DELAY_BLOCKS,
            "voting_period_blocks": VOTING_PERIOD_BLOCKS,
            "quorum_percent": QUORUM_PERCENT,
            "timelock_delay_s": TIMELOCK_DELAY_S,
        }
        governor = self.order("/governors", token_id=self.token_id, name="Mill Lane Council", **terms)
        self.governor = governor["contract"]
        self.say(
            f"deploying its governor at {self.governor}, and with it a timelock of {TIMELOCK_DELAY_S // 3600} hours"
        )
        self.seen(minted, governor)
        delegated = []
        for name in MEMBERS:
            path, body = f"/tokens/{self.token_id}/delegate", {"from": self.accounts[name], "to": self.accounts[name]}
            signed = name == OWN_KEY
            delegated.append(
                self.by_signature(self.key, f"{path}/prepare", **body) if signed else self.order(path, **body)
            )
        block = self.seen(*delegated)
        shown = table("Who may vote", "member", "votes", "its own key", "eth_call")
        for name in MEMBERS:
            told = self.client.get(f"/tokens/{self.token_id}/votes/{self.accounts[name]}", at_block=block)
            said = self.opinion.says(("GovernanceToken", self.token), "getVotes", told["account"], block=block)
            agrees = self.opinion.check(f"votes of {name}", block, told["votes"], said)
            shown.add_row(name, told["votes"], "yes" if name == OWN_KEY else "no", mark(agrees))
        self.show(labelled(shown, told["at"]))

    def empower(self) -> None:
        """The timelock gets the role that sets rules."""
        (told,) = self.client.get("/governors")["data"]
        self.governor_id, self.timelock = told["id"], told["timelock"]
        said = self._says("timelock", block=self.opinion.block_number())
        self.opinion.check("proposal: timelock", 0, self.timelock, said)
        granted = self.order("/roles/grant", role="compliance", account=self.timelock)
        self.say(f"the issuer grants the role [b]compliance[/b] to the timelock at {self.timelock}")
        self.seen(granted)

    def propose(self) -> None:
        """Rules that admit one country more."""
        self.chapter("The council votes on who may hold the house")
        self.regulated.policy("The rules before the vote")
        limits = (POLICY["level_min"], RULES.index(POLICY["country_rule"]), POLICY["holders_max"])
        rules = [*map(str, limits), str(POLICY["country_holders_max"]), POLICY["holding_max"]]
        call = {
            "contract": self.regulated.registry,
            "function": SET_POLICY,
            "arguments": [self.regulated.house, rules, [str(each) for each in sorted([*COUNTRIES, JAPAN])]],
        }
        asked = self.order(self._path(), description="Admit investors from Japan", actions=[{"call": call}])
        self.proposal_id = asked["parameters"]["proposal_id"]
        block = self.seen(asked)
        self._note("proposed", block)
        told = self.client.get(self._path(self.proposal_id), at_block=block)
        action = told["actions"][0]["call"]
        self.say(f"proposal {self.proposal_id[:18]}…: {told['description'].partition('#')[0]}, which would call")
        self.say(f"{action['contract']}.{action['function']} with countries {action['arguments']['countries']}")
        snapshot = self._says("proposalSnapshot", int(self.proposal_id), block=block)
        self.opinion.check("proposal: snapshot", block, told["snapshot"], snapshot)
        self._note("the vote is open", self.mine(VOTING_DELAY_BLOCKS + 1))

    def vote(self) -> None:
        """Two members through the service, one with a signature."""
        vote = self._path(self.proposal_id, "vote")
        ada, bruno, femi = (self.accounts[name] for name in MEMBERS)
        cast = [
            self.order(vote, **{"from": ada, "support": "for", "reason": "She is a good neighbour"}),
            self.order(vote, **{"from": bruno, "support": "against"}),
            self.by_signature(self.key, f"{vote}/prepare", **{"from": femi, "support": "for"}),
        ]
        self.say(f"{OWN_KEY} voted by signature, without ether")
        block = self.seen(*cast)
        self._note("all have voted", block)
        self.opinion.check(f"ether of {OWN_KEY}", block, 0, self.opinion.ether(femi, block))
        ballots, page = self.client.pages(self._path(self.proposal_id, "ballots"), at_block=block)
        said = {each["voter"]: each for each in self.opinion.announced(self._place(), "VoteCast", last=block)}
        names = {address: name for name, address in self.accounts.items()}
        shown = table("Ballots", "member", "votes", "support", "reason", "eth_getLogs")
        for row in ballots:
            chain = said[row["voter"]]
            wanted = (row["support"], row["weight"], row["reason"])
            given = (SUPPORTS[chain["support"]], str(chain["weight"]), chain["reason"])
            agrees = self.opinion.check(f"proposal: ballot of {names[row['voter']]}", block, wanted, given)
            shown.add_row(names[row["voter"]], row["weight"], row["support"], row["reason"], mark(agrees))
        self.show(labelled(shown, page["at"]))

    def carry_out(self) -> None:
        """From the end of the vote through the timelock to the effect."""
        told = self.client.get(self._path(self.proposal_id))
        self._note("the vote is over", self.mine(told["deadline"] + 1 - told["at"]["block"]))
        queued = self.order(self._path(self.proposal_id, "queue"))
        self._note("in the timelock", self.seen(queued))
        problem = self.refusal(self._path(self.proposal_id, "execute"))
        self.say(f"executed at once it is refused: {problem['title'].lower()} ({problem['type']})")
        self._note("a day later", self.pass_time(TIMELOCK_DELAY_S))
        executed = self.order(self._path(self.proposal_id, "execute"))
        self._note("executed", self.seen(executed))
        shown = table("The proposal's life, as of each block", "block", "what", "state", "for", "against", "eth_call")
        for what, block in self.life:
            told = self.client.get(self._path(self.proposal_id), at_block=block)
            id_ = int(self.proposal_id)
            state = STATES[self._says("state", id_, block=block)]
            agrees = self.opinion.check("proposal: state", block, told["state"], state)
            tallies = [int(told["tallies"][each]) for each in SUPPORTS]
            agrees = (
                self.opinion.check("tally", block, tallies, self._says("proposalVotes", id_, block=block)) and agrees
            )
            row = (what, told["state"], told["tallies"]["for"], told["tallies"]["against"])
            shown.add_row(str(block), *row, mark(agrees))
        self.show(shown)
        self.regulated.policy("The rules after the vote")

    def live_by_it(self) -> None:
        """What was refused before is accepted now."""
        body = {"from": self.accounts[GIVER], "to": self.accounts[LATECOMER], "amount": "10"}
        path = f"/tokens/{self.regulated.house_id}"
        preview = self.client.ask(f"{path}/preview", body)
        block = preview["at"]["block"]
        place = ("AssetToken", self.regulated.house)
        said = self.opinion.says(place, "canTransfer", body["from"], body["to"], int(body["amount"]), block=block)
        self.opinion.check("rule of the preview", block, preview["allowed"], said)
        sent = self.order(f"{path}/transfer", **body)
        self.say(f"the transfer from {GIVER} to {LATECOMER}, refused above, passes now")
        block = self.seen(sent)
        self.regulated.holders(self.regulated.house_id, self.regulated.house, "Owners of 7 Mill Lane", min_block=block)

    def _note(self, what: str, block: int) -> None:
        self.life.append((what, block))

    def _path(self, *parts: str) -> str:
        return "/".join((f"/governors/{self.governor_id}/proposals", *parts))

    def _place(self) -> tuple[str, str]:
        return "AssetGovernor", self.governor

    def _says(self, function: str, *arguments: Any, block: int) -> Any:
        return self.opinion.says(self._place(), function, *arguments, block=block)
