"""The story of one asset, told over HTTP and checked against the chain as it goes."""

from dataclasses import dataclass, field
from typing import Any

from scripts.chapters import Teller, mark, table
from scripts.opinion import Moved
from scripts.stack import CHAIN_ID, DEV_ADDRESSES

INVESTORS = (("Ada Lindqvist", 500), ("Bruno Costa", 300), ("Chiyo Tanaka", 200))
SOLD = 120
ENFORCER_DELAY_S = 3_600


@dataclass(slots=True)
class Story(Teller):
    """One asset, from its registration to the last check."""

    token_id: str = ""
    token: str = ""
    before: dict[str, dict[str, Any]] = field(default_factory=dict)  # transactions before the reorganisation

    def tell(self) -> None:
        """All of it, in order."""
        self.begin()
        sold = self.sell()
        self.reorganise(sold)
        self.finish()
        self.look_back()

    def begin(self) -> None:
        """A house becomes a token with two owners."""
        self.chapter("A house becomes a token")
        authority = self.order("/authority", enforcer_delay_s=ENFORCER_DELAY_S, guardian=DEV_ADDRESSES[1])
        self.say(f"deploying the issuer's authority at {authority['contract']}: who may do what, on all its contracts")
        asset = self.client.post(
            "/assets",
            "asset-12-harbour-street",
            {"name": "12 Harbour Street", "category": "house", "description": "Land registry folio 4711"},
        )
        self.say(f"registered the asset [b]{asset['name']}[/b], a {asset['category']}")
        self.seen(authority)
        deployment = self.order("/tokens", asset_id=asset["id"], name=asset["name"], symbol="HARB12", decimals=0)
        self.token_id, self.token = deployment["token_id"], deployment["contract"]
        self.say(f"deploying its token [b]HARB12[/b] at {self.token}, an address known before it exists")
        self.mined(deployment["id"])
        self.client.wait(f"/tokens/{self.token_id}", lambda token: token["status"] == "active", what="the token")
        for name, _ in INVESTORS:
            self.open_account(name)
        self.say("opened managed accounts for " + ", ".join(self.accounts) + "; their keys never leave the service")
        minted = [self._mint(name, amount) for name, amount in INVESTORS[:2]]
        block = max(self.mined(each)["block"] for each in minted)
        self.cap_table("Cap table after two mints", min_block=block)

    def sell(self) -> dict[str, dict[str, Any]]:
        """A third owner, and a transfer: the two transactions that the chain will lose. Theirs, by operation."""
        self.chapter("A third investor, and a sale")
        (seller, _), _, (buyer, amount) = INVESTORS
        mint = self._mint(buyer, amount)
        mined = {mint: self.mined(mint)}
        body = {"from": self.accounts[seller], "to": self.accounts[buyer], "amount": str(SOLD)}
        transfer = self.order(f"/tokens/{self.token_id}/transfer", **body)["id"]
        self.say(f"{seller} sells {SOLD} units to {buyer}: signed for her by the service, gas paid by the issuer")
        mined[transfer] = self.mined(transfer)
        block = mined[transfer]["block"]
        self.cap_table(f"Cap table at block {block}", min_block=block, at_block=block)
        return mined

    def reorganise(self, lost: dict[str, dict[str, Any]]) -> None:
        """The chain changes its mind; the system follows, and no operation is lost or done twice."""
        self.chapter("The chain reorganises")
        self.before = lost
        first, last = (pick(each["block"] for each in lost.values()) for pick in (min, max))
        depth = self._reorganise_from(first)
        self.say(
            f"[yellow]anvil_reorg[/yellow] replaced the newest {depth} blocks by empty ones: the mint to "
            f"{INVESTORS[2][0]} and the sale are in no block any more"
        )
        self.client.wait(
            f"/tokens/{self.token_id}/holders",
            lambda page: page["at"]["hash"] == self.opinion.block_hash(last),
            what="the mirror's undo",
            at_block=last,
        )
        self.say("the mirror noticed by the block hash, and took the blocks off one by one")
        self.cap_table(f"Cap table at block {last}, asked again: the same number is another block now", at_block=last)
        healed = {each: self.mined(each, after=transaction) for each, transaction in lost.items()}
        self.say("the sender found its receipts gone, and broadcast the same signed bytes again")
        self._moves_table(healed)
        block = max(each["block"] for each in healed.values())
        self.cap_table("Cap table after healing", min_block=block)

    def finish(self) -> None:
        """Let everything become final."""
        self.chapter("Final")
        closed = self.close(self.operations)
        shown = table("Operations: each accepted once, in effect once", "operation", "status", "nonce", "block", "")
        for row, agrees in closed:
            sent = row["transaction"]
            shown.add_row(row["kind"], row["status"], str(sent["nonce"]), str(sent["block"]), mark(agrees))
        self.show(shown)
        self.count_transactions(closed)

    def look_back(self) -> None:
        """Who owned what, and when."""
        self.chapter("Who owned what, and when")
        head = self.opinion.block_number()
        page = self.cap_table("Cap table now", min_block=head)
        first = self.before[next(iter(self.before))]["block"] - 1
        self.cap_table(f"Cap table as of block {first}", at_block=first)
        self.history(INVESTORS[0][0])
        self.moves(page["at"]["block"])
        self.status(head)

    def history(self, name: str) -> None:
        """Everything that one holder ever held."""
        account = self.accounts[name]
        rows, page = self.client.pages(f"/tokens/{self.token_id}/holders/{account}/history")
        shown = table(f"What {name} held", "from block", "to block", "units", "eth_call")
        for row in rows:
            last = page["at"]["block"] if row["to_block"] is None else row["to_block"] - 1
            amount = int(row["amount"])
            checks = [
                self.opinion.check_balance(self.token, name, account, at, amount) for at in (row["from_block"], last)
            ]
            checks.append(self.opinion.check_label({"block": row["from_block"], "hash": row["from_hash"]}))
            until = "now" if row["to_block"] is None else str(row["to_block"])
            shown.add_row(str(row["from_block"]), until, row["display"], mark(all(checks)))
        before = rows[0]["from_block"] - 1
        self.opinion.check_balance(self.token, f"{name}, before the first", account, before, 0)
        self.show(shown)

    def moves(self, last: int) -> None:
        """Every mint and transfer."""
        rows, _ = self.client.pages(f"/tokens/{self.token_id}/transfers")
        names = {address: name for name, address in self.accounts.items()}
        moved = [
            Moved(row["block"], row["log_index"], row["transaction_hash"], row["from"], row["to"], int(row["amount"]))
            for row in reversed(rows)
        ]
        agrees = mark(self.opinion.check_moves(self.token, last, moved))
        shown = table("Transfers", "block", "kind", "from", "to", "units", "eth_getLogs")
        for row in reversed(rows):
            sender, recipient = (names.get(row[side] or "", "") for side in ("from", "to"))
            shown.add_row(str(row["block"]), row["kind"], sender, recipient, row["display"], agrees)
        self.show(shown)

    def status(self, head: int) -> None:
        """How far the mirror is, while the chain stands still."""
        chain = self.client.wait("/status", lambda told: told["chain"]["head"] == head, what="the head")["chain"]
        wanted = {"id": CHAIN_ID, "head": head, "tip": head, "final": head - self.finality_depth, "lag": 0}
        shown = table("Status", "chain", "head", "tip", "final", "lag", "")
        agrees = [self.opinion.check(f"status: {name}", head, chain[name], said) for name, said in wanted.items()]
        shown.add_row(*(str(chain[name]) for name in wanted), mark(all(agrees)))
        self.show(shown)

    def cap_table(self, title: str, **parameters: int) -> dict[str, Any]:
        """Show who owns what at one block."""
        return self.holders(self.token_id, self.token, title, **parameters)

    def _moves_table(self, healed: dict[str, dict[str, Any]]) -> None:
        shown = table(
            "The same transactions, in other blocks", "operation", "transaction", "nonce", "was in", "is in", ""
        )
        for id_, now in healed.items():
            was = self.before[id_]
            agrees = self.opinion.check("hash after healing", now["block"], now["hash"], was["hash"])
            kind = self.operation(id_)["kind"]
            row = (kind, now["hash"][:18] + "…", str(now["nonce"]), str(was["block"]), str(now["block"]))
            shown.add_row(*row, mark(agrees))
        self.show(shown)

    def _reorganise_from(self, first: int) -> int:
        """Take off a block and all after it; how many that were."""
        gone = self.opinion.block_hash(first)
        depth = 0
        while self.opinion.block_hash(first) == gone:
            depth = self.opinion.block_number() - first + 1
            if depth > self.finality_depth - 2:
                raise RuntimeError(
                    f"this machine is too slow: {depth} blocks came since the mint, which is nearly final"
                )
            self.chain("anvil_reorg", depth, [])
        return depth

    def _mint(self, name: str, amount: int) -> str:
        self.say(f"minting {amount} units to {name}")
        path = f"/tokens/{self.token_id}/mint"
        return str(self.order(path, to=self.accounts[name], amount=str(amount))["id"])
