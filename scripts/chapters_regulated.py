"""A house and a painting under rules: who may hold them, who may not, what a court orders, who signs for itself."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount

from scripts.chapters import Teller, labelled, mark, table
from scripts.opinion import NOBODY
from scripts.stack import DEV_ADDRESSES
from scripts.story import ENFORCER_DELAY_S

PORTUGAL, SWEDEN, NETHERLANDS, SWITZERLAND, JAPAN = 620, 752, 528, 756, 392
COUNTRIES = [NETHERLANDS, PORTUGAL, SWEDEN, SWITZERLAND]
"""Whose investors the house is for at first, by ISO 3166-1."""

PEOPLE = {
    "Ada Lindqvist": (SWEDEN, 3),
    "Bruno Costa": (PORTUGAL, 2),
    "Chiyo Tanaka": (JAPAN, 3),
    "Dov Adler": (SWITZERLAND, 2),
    "Elif Kaya": (NETHERLANDS, 2),
}
"""Country and level of each investor."""

POLICY: dict[str, Any] = {
    "level_min": 2,
    "country_rule": "only",
    "countries": COUNTRIES,
    "holders_max": 50,
    "country_holders_max": 0,
    "holding_max": "900",
}
RULES = ("none", "only", "except")
UNITS = {"Ada Lindqvist": 500, "Bruno Costa": 300, "Elif Kaya": 200}
BLOCKED, BANNED_FROM = "Dov Adler", "Ada Lindqvist"
DEBTOR, CREDITOR = "Bruno Costa", "Ada Lindqvist"
FROZEN, SEIZED = 250, 280
OWN_KEY, GIVEN = "Elif Kaya", 50
DEED, ROYALTY_BASIS_POINTS, PRICE = "1", 250, 1_000_000


def hashed(text: str) -> str:
    """32 bytes that stand for something which is kept elsewhere."""
    return "0x" + hashlib.sha256(text.encode()).hexdigest()


@dataclass(slots=True)
class Regulated(Teller):
    """The chapters from the registry to a holder's own signature."""

    authority: str = ""
    registry: str = ""
    house_id: str = ""
    house: str = ""
    painting_id: str = ""
    painting: str = ""
    key: LocalAccount = field(default_factory=Account.create)  # of the holder who keeps it
    early: int = 0  # the block that the last chapter looks back to

    def tell(self) -> None:
        """All of it, in order."""
        self.chain("evm_setAutomine", True)
        self.prepare()
        self.issue()
        self.paint()
        self.refuse()
        self.enforce()
        self.sign()

    # A house and a painting, with rules

    def prepare(self) -> None:
        """A registry, two tokens that it watches over, and the people."""
        self.chapter("A house with rules, and a painting")
        contracts = self.client.get("/contracts")
        self.authority = next(each["address"] for each in contracts if each["kind"] == "authority")
        registry = self.order("/contracts", kind="compliance")
        self.registry = registry["contract"]
        self.say(f"deploying the compliance registry at {self.registry}")
        for name in PEOPLE:
            if name == OWN_KEY:
                self.open_account(name, address=self.key.address)
            elif name not in self.accounts:
                self.open_account(name)
        self.say(f"{OWN_KEY} keeps her own key, which was made here and now: the service knows her address alone")
        self.seen(registry)
        house = self._tokenize("7 Mill Lane", "house", "MILL7", decimals=0)
        painting = self._tokenize("Blue Harbour, oil on canvas", "painting", "BLUE", kind="deed")
        self.house_id, self.house = house["token_id"], house["contract"]
        self.painting_id, self.painting = painting["token_id"], painting["contract"]
        attested = [
            self.order("/identities", investor=hashed(name), country=country, level=level)
            for name, (country, level) in PEOPLE.items()
        ]
        linked = [self.order("/wallets/link", wallet=self.accounts[name], investor=hashed(name)) for name in PEOPLE]
        self.seen(house, painting, *attested, *linked)
        rules = [self.order(f"/tokens/{each}/policy", **POLICY) for each in (self.house_id, self.painting_id)]
        self.seen(*rules)
        self.people()
        self.policy("Who may hold the house")

    def _tokenize(self, name: str, category: str, symbol: str, **more: Any) -> dict[str, Any]:
        asset = self.client.post("/assets", f"asset-{symbol}", {"name": name, "category": category})
        self.say(f"deploying the {more.get('kind', 'fungible')} token [b]{symbol}[/b] for {name}, with compliance")
        return self.order("/tokens", asset_id=asset["id"], name=name, symbol=symbol, compliance=True, **more)

    def people(self) -> None:
        """Every identity and wallet, beside what the registry says."""
        identities, page = self.client.pages("/identities")
        block = page["at"]["block"]
        wallets, _ = self.client.pages("/wallets", at_block=block)
        names = {hashed(name): name for name in PEOPLE}
        linked = {row["investor"]: row["wallet"] for row in wallets}
        shown = table("Investors", "investor", "known here as", "country", "level", "wallet", "eth_call")
        for row in sorted(identities, key=lambda row: names[row["investor"]]):
            name, wallet = names[row["investor"]], linked[row["investor"]]
            agrees = self.check_identity(name, row, block) and self.check_wallet(name, wallet, row["investor"], block)
            who = row["investor"][:12] + "…"
            shown.add_row(who, name, str(row["country"]), str(row["level"]), wallet, mark(agrees))
        self.show(labelled(shown, page["at"]))

    def check_identity(self, name: str, row: dict[str, Any], block: int) -> bool:
        """Compare an identity with the registry's at a block."""
        country, level, _, expires_at, attester = self._says("identity", row["investor"], block=block)
        told = (row["country"], row["level"], row["expires_at"], row["attester"])
        return self.opinion.check(f"identity of {name}", block, told, (country, level, expires_at or None, attester))

    def check_wallet(self, name: str, wallet: str, investor: str, block: int) -> bool:
        """Compare whose a wallet is with what the registry says at a block."""
        said = self._says("investorOf", wallet, block=block)
        return self.opinion.check(f"wallet of {name}", block, investor, said)

    def policy(self, title: str, **parameters: int) -> dict[str, Any]:
        """The house's rules at a block, beside the registry's."""
        told = self.client.get(f"/tokens/{self.house_id}/policy", **parameters)
        agrees = self.check_policy(told)
        shown = table(title, "level from", "countries", "holders", "holding", "eth_call")
        countries = f"{told['country_rule']} {', '.join(map(str, told['countries']))}"
        shown.add_row(
            *(str(told["level_min"]), countries, f"up to {told['holders_max']}", f"up to {told['holding_max']}"),
            mark(agrees),
        )
        self.show(labelled(shown, told["at"]))
        return dict(told)

    def check_policy(self, told: dict[str, Any]) -> bool:
        """Compare a policy, country by country, with the registry's at its block."""
        block = told["at"]["block"]
        _, said = self._says("policy", self.house, block=block)
        rule, limits = RULES.index(told["country_rule"]), (told["holders_max"], told["country_holders_max"])
        agrees = self.opinion.check(
            "policy", block, [told["level_min"], rule, *limits, int(told["holding_max"])], list(said)
        )
        asked = sorted({*COUNTRIES, *told["countries"], JAPAN})
        listed = [country for country in asked if self._says("countryListed", self.house, country, block=block)]
        return self.opinion.check("policy: countries", block, told["countries"], listed) and agrees

    def issue(self) -> None:
        """Units for verified investors alone, all of them in one transaction."""
        shares = [{"to": self.accounts[name], "amount": str(amount)} for name, amount in UNITS.items()]
        minted = self.order(f"/tokens/{self.house_id}/batch-mint", shares=shares)
        self.say(f"minting to {', '.join(UNITS)}, in one transaction: all of them or nobody")
        block = self.seen(minted)
        self.holders(self.house_id, self.house, "Owners of 7 Mill Lane", min_block=block)

    def paint(self) -> None:
        """The painting's deed: its document, its royalty, its holder."""
        self.chapter("The painting's deed")
        document = hashed("the report on the painting's origin")
        issued = self.order(
            f"/tokens/{self.painting_id}/deeds",
            deed_id=DEED,
            to=self.accounts["Ada Lindqvist"],
            uri="https://example.com/blue-harbour.json",
            document_hash=document,
        )
        royalty = {"receiver": DEV_ADDRESSES[2], "basis_points": ROYALTY_BASIS_POINTS}
        owed = self.order(f"/tokens/{self.painting_id}/royalty", **royalty)
        self.early = self.seen(issued, owed)
        self.deed("The deed, and what its contract says", at_block=self.early)
        sale = {"from": self.accounts["Ada Lindqvist"], "to": self.accounts["Bruno Costa"]}
        sold = self.order(f"/tokens/{self.painting_id}/deeds/{DEED}/transfer", **sale)
        self.say("Ada Lindqvist sells the painting to Bruno Costa")
        self.deed("The deed after the sale", min_block=self.seen(sold))

    def deed(self, title: str, **parameters: int) -> None:
        """One deed at a block, beside the contract's own words."""
        told = self.client.get(f"/tokens/{self.painting_id}/deeds/{DEED}", **parameters)
        block, deed_id = told["at"]["block"], int(told["deed_id"])
        place = ("DeedToken", self.painting)
        said = {
            "holder": self.opinion.says(place, "ownerOf", deed_id, block=block),
            "uri": self.opinion.says(place, "tokenURI", deed_id, block=block),
            "document_hash": self.opinion.says(place, "documentHash", deed_id, block=block),
        }
        shown = table(title, "of deed 1", "is", "eth_call")
        for name, value in said.items():
            shown.add_row(name, told[name], mark(self.opinion.check(f"deed: {name}", block, told[name], value)))
        receiver, share = self.opinion.says(place, "royaltyInfo", deed_id, PRICE, block=block)
        royalty = told["royalty"]
        owed = (royalty["receiver"], PRICE * royalty["basis_points"] // 10_000)
        agrees = self.opinion.check("deed: royalty", block, owed, (receiver, share))
        shown.add_row("royalty", f"{royalty['basis_points'] / 100:g} % to {receiver}", mark(agrees))
        self.show(labelled(shown, told["at"]))

    # A transfer that is refused

    def refuse(self) -> None:
        """A blocked investor: the preview and the transfer name the same rule, and no nonce is spent."""
        self.chapter("A blocked investor is refused, with the reason")
        blocking = self.order(
            "/identities/block", investor=hashed(BLOCKED), blocked=True, reason_hash=hashed("sanctions list, entry 17")
        )
        self.say(f"{BLOCKED} is on a sanctions list: blocked in all tokens; the chain holds the hash of the reason")
        block = self.seen(blocking)
        self.refused(BANNED_FROM, BLOCKED, block)
        self.refused(BANNED_FROM, "Chiyo Tanaka", block)

    def refused(self, sender: str, recipient: str, block: int) -> None:
        """Ask beforehand, try, and ask the chain: three times the same rule."""
        body = {"from": self.accounts[sender], "to": self.accounts[recipient], "amount": "10"}
        signer = self.signer()
        nonce = self.opinion.transaction_count(signer)
        preview = self.client.ask(f"/tokens/{self.house_id}/preview", body, min_block=block)
        problem = self.refusal(f"/tokens/{self.house_id}/transfer", **body)
        at = preview["at"]["block"]
        place, amount = ("AssetToken", self.house), int(body["amount"])
        error, given = self.opinion.refuses(place, "transfer", body["to"], amount, sender=body["from"], block=at)
        explained = self.opinion.says(place, "explainTransfer", NOBODY, body["from"], body["to"], amount, block=at)
        shown = table(f"{sender} sends 10 units to {recipient}", "asked", "answer", "rule", "eth_call")
        for what, rule in (("preview", preview["rule"]), ("transfer", problem["rule"])):
            told = (rule["code"], rule["account"].lower(), rule["limit"], rule["actual"])
            said = (given["code"], given["account"].lower(), str(given["limit"]), str(given["actual"]))
            agrees = self.opinion.check(f"rule of the {what}", at, told, said)
            agrees = self.opinion.check(f"rule of the {what}: explained", at, rule["code"], explained[0]) and agrees
            shown.add_row(what, "refused", f"{rule['code']} {rule['name']}: {rule['text']}", mark(agrees))
        self.opinion.check("rule: the contract's error", at, problem["revert"]["name"], error)
        same = self.opinion.check("nonce of the signer", at, nonce, self.opinion.transaction_count(signer))
        shown.add_row("nonce", str(nonce), "no transaction was made", mark(same))
        self.show(shown)

    # A court's order

    def enforce(self) -> None:
        """A forced transfer takes frozen units too, but not at once."""
        self.chapter("A court orders a transfer")
        debtor, creditor = self.accounts[DEBTOR], self.accounts[CREDITOR]
        freeze = self.order(f"/tokens/{self.house_id}/freeze", account=debtor, amount=str(FROZEN))
        self.say(f"{FROZEN} units of {DEBTOR} are frozen while the court decides")
        block = self.seen(freeze)
        self.frozen("Before the order", block)
        order = {"from": debtor, "to": creditor, "amount": str(SEIZED)}
        why = {"reason": "Court order 12/2026", "document_hash": hashed("the court's order 12/2026, as a PDF")}
        scheduled = self.order(f"/tokens/{self.house_id}/forced-transfer", **order, **why)
        self.say(
            f"the court awards {SEIZED} of them to {CREDITOR}; the enforcer's role waits {ENFORCER_DELAY_S // 60} "
            f"minutes, so what was accepted is [b]{scheduled['kind']}[/b]: meanwhile the guardian may cancel it"
        )
        waiting = self.schedule(self.seen(scheduled))
        problem = self.refusal(f"/scheduled/{waiting['id']}/execute")
        self.say(f"executed at once it is refused: {problem['title'].lower()} ({problem['type']})")
        self.opinion.check("schedule: too early", block, problem["revert"]["name"], "AccessManagerNotReady")
        self.pass_time(ENFORCER_DELAY_S)
        self.say("[yellow]evm_increaseTime[/yellow]: the delay has passed")
        executed = self.order(f"/scheduled/{waiting['id']}/execute")
        block = self.seen(executed)
        self.schedule(block)
        self.forced(block, order, why)
        self.frozen("After the order: what was taken is no longer frozen", block)

    def schedule(self, block: int) -> dict[str, Any]:
        """The newest scheduled action, beside the authority's own record of it."""
        rows, page = self.client.pages("/scheduled", at_block=block)
        row: dict[str, Any] = rows[-1]
        place = ("IssuerAuthority", self.authority)
        ready_at = self.opinion.says(place, "getSchedule", row["id"], block=block)
        promised = int(datetime.fromisoformat(row["ready_at"]).timestamp())
        wanted = promised if row["status"] == "scheduled" else 0
        agrees = self.opinion.check("schedule: ready at", block, wanted, ready_at)
        said = self.opinion.says(place, "hashOperation", row["caller"], row["target"], row["data"], block=block)
        agrees = self.opinion.check("schedule: id", block, row["id"], said) and agrees
        shown = table("Scheduled actions", "id", "of contract", "status", "ready at", "eth_call")
        shown.add_row(row["id"][:18] + "…", row["target"], row["status"], str(row["ready_at"]), mark(agrees))
        self.show(labelled(shown, page["at"]))
        return row

    def forced(self, block: int, order: dict[str, str], why: dict[str, str]) -> None:
        """The contract's two events of a forced transfer: what moved, and why."""
        shown = table("What the token announced", "event", "says", "eth_getLogs")
        for event in ("ForcedTransfer", "ForcedTransferReason"):
            (told,) = self.client.get(f"/tokens/{self.house_id}/events", name=event, at_block=block)["data"]
            (said,) = self.opinion.announced(("AssetToken", self.house), event, last=block)
            agrees = True
            for name, value in said.items():
                shown_value = told["arguments"][name]
                agrees = self.opinion.check(f"forced transfer: {name}", told["block"], shown_value, value) and agrees
            words = "\n".join(f"{name} {told['arguments'][name]}" for name in said)
            shown.add_row(event, words, mark(agrees))
            wanted = (
                order if event == "ForcedTransfer" else {"reason": why["reason"], "documentHash": why["document_hash"]}
            )
            for name, value in wanted.items():
                self.opinion.check(f"forced transfer: {name} as ordered", told["block"], value, said[name])
        self.show(shown)

    def frozen(self, title: str, block: int) -> None:
        """What everybody holds of the house, and how much of it is frozen."""
        shown = table(title, "holder", "units", "frozen", "eth_call")
        for name in UNITS:
            account = self.accounts[name]
            held = self.client.get(f"/tokens/{self.house_id}/holders/{account}", at_block=block)
            stopped = self.client.get(f"/tokens/{self.house_id}/frozen/{account}", at_block=block)
            agrees = self.opinion.check_balance(self.house, name, account, block, int(held["amount"]))
            said = self.opinion.says(("AssetToken", self.house), "getFrozenTokens", account, block=block)
            agrees = self.opinion.check("frozen units", block, stopped["amount"], said) and agrees
            shown.add_row(name, held["display"], stopped["display"], mark(agrees))
        self.show(labelled(shown, held["at"]))

    # A holder's own key

    def sign(self) -> None:
        """A holder without ether signs; the issuer's signer carries it."""
        self.chapter("A holder with her own key, and no ether")
        body = {"from": self.key.address, "to": self.accounts["Ada Lindqvist"], "amount": str(GIVEN)}
        sent = self.by_signature(self.key, f"/tokens/{self.house_id}/transfer/prepare", **body)
        self.say(f"{OWN_KEY} signed {GIVEN} units over to Ada Lindqvist; the issuer's signer paid the gas")
        block = self.seen(sent)
        self.opinion.check(f"ether of {OWN_KEY}", block, 0, self.opinion.ether(self.key.address, block))
        self.holders(self.house_id, self.house, "Owners of 7 Mill Lane", min_block=block)

    def _says(self, function: str, *arguments: Any, block: int) -> Any:
        return self.opinion.says(("ComplianceRegistry", self.registry), function, *arguments, block=block)
