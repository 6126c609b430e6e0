"""The story of one asset, told over HTTP and checked against the chain as it goes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from scripts.client import Client
from scripts.opinion import Moved, Opinion
from scripts.stack import CHAIN_ID, Stack

INVESTORS = (("Ada Lindqvist", 500), ("Bruno Costa", 300), ("Chiyo Tanaka", 200))
SOLD = 120
MINED = ("mined", "confirmed")


@dataclass(slots=True)
class Story:
    """One asset, from its registration to the last check."""

    console: Console
    client: Client
    stack: Stack
    opinion: Opinion
    finality_depth: int
    token_id: str = ""
    token: str = ""
    accounts: dict[str, str] = field(default_factory=dict)  # by name
    operations: list[str] = field(default_factory=list)
    before: dict[str, dict[str, Any]] = field(default_factory=dict)  # transactions before the reorganisation

    def tell(self) -> None:
        """All of it, in order."""
        self.begin()
        sold = self.sell()
        self.reorganise(sold)
        self.finish()
        self.look_back()
        self.verify()

    def begin(self) -> None:
        """A house becomes a token with two owners."""
        self._chapter("A house becomes a token")
        asset = self.client.post(
            "/assets",
            "asset-12-harbour-street",
            {"name": "12 Harbour Street", "category": "house", "description": "Land registry folio 4711"},
        )
        self._say(f"registered the asset [b]{asset['name']}[/b], a {asset['category']}")
        deployment = self._ask("/tokens", asset_id=asset["id"], name=asset["name"], symbol="HARB12", decimals=0)
        self.token_id, self.token = deployment["token_id"], deployment["contract"]
        self._say(f"deploying its token [b]HARB12[/b] at {self.token}, an address known before it exists")
        self._mined(deployment["id"])
        self.client.wait(f"/tokens/{self.token_id}", lambda token: token["status"] == "active", what="the token")
        for name, _ in INVESTORS:
            self.accounts[name] = self.client.post("/accounts", f"account-{name.split()[0]}", {"label": name})[
                "address"
            ]
        self._say("opened managed accounts for " + ", ".join(self.accounts) + "; their keys never leave the service")
        minted = [self._mint(name, amount) for name, amount in INVESTORS[:2]]
        block = max(self._mined(each)["block"] for each in minted)
        self.cap_table("Cap table after two mints", min_block=block)

    def sell(self) -> dict[str, dict[str, Any]]:
        """A third owner, and a transfer: the two transactions that the chain will lose. Theirs, by operation."""
        self._chapter("A third investor, and a sale")
        (seller, _), _, (buyer, amount) = INVESTORS
        mint = self._mint(buyer, amount)
        mined = {mint: self._mined(mint)}
        body = {"from": self.accounts[seller], "to": self.accounts[buyer], "amount": str(SOLD)}
        transfer = self._ask(f"/tokens/{self.token_id}/transfer", **body)["id"]
        self._say(f"{seller} sells {SOLD} units to {buyer}: signed for her by the service, gas paid by the issuer")
        mined[transfer] = self._mined(transfer)
        block = mined[transfer]["block"]
        self.cap_table(f"Cap table at block {block}", min_block=block, at_block=block)
        return mined

    def reorganise(self, lost: dict[str, dict[str, Any]]) -> None:
        """The chain changes its mind; the system follows, and no operation is lost or done twice."""
        self._chapter("The chain reorganises")
        self.before = lost
        first, last = (pick(each["block"] for each in lost.values()) for pick in (min, max))
        depth = self._reorganise_from(first)
        self._say(
            f"[yellow]anvil_reorg[/yellow] replaced the newest {depth} blocks by empty ones: the mint to "
            f"{INVESTORS[2][0]} and the sale are in no block any more"
        )
        self.client.wait(
            f"/tokens/{self.token_id}/holders",
            lambda page: page["at"]["hash"] == self.opinion.block_hash(last),
            what="the mirror's undo",
            at_block=last,
        )
        self._say("the mirror noticed by the block hash, and took the blocks off one by one")
        self.cap_table(f"Cap table at block {last}, asked again: the same number is another block now", at_block=last)
        healed = {each: self._mined(each, after=transaction) for each, transaction in lost.items()}
        self._say("the sender found its receipts gone, and broadcast the same signed bytes again")
        self._moves_table(healed)
        block = max(each["block"] for each in healed.values())
        self.cap_table("Cap table after healing", min_block=block)

    def finish(self) -> None:
        """Let everything become final."""
        self._chapter("Final")
        assert self.stack.anvil is not None
        self.stack.anvil.ask("anvil_mine", hex(self.finality_depth))
        rows = [
            self.client.wait(f"/operations/{each}", lambda found: found["status"] != "pending", what="finality")
            for each in self.operations
        ]
        # From here on the chain stands still, so that every number can be compared at its head too.
        self.stack.anvil.ask("evm_setIntervalMining", 0)
        table = _table("Operations: each accepted once, in effect once", "operation", "status", "nonce", "block", "")
        for row in rows:
            sent = row["transaction"]
            agrees = self.opinion.check_transaction(row["kind"], sent["hash"], sent["block"], sent["block_hash"])
            agrees = (
                self.opinion.check(f"status of {row['kind']}", sent["block"], row["status"], "succeeded") and agrees
            )
            table.add_row(row["kind"], row["status"], str(sent["nonce"]), str(sent["block"]), _mark(agrees))
        self.console.print(table)
        signer = rows[0]["transaction"]["signer"]
        count = self.opinion.transaction_count(signer)
        highest = max(row["transaction"]["nonce"] for row in rows)
        self.opinion.check("transactions of the signer", sent["block"], highest + 1, count)
        self._say(f"the signer's {count} transactions are the factory's and these {len(rows)}: none was sent twice")

    def look_back(self) -> None:
        """Who owned what, and when."""
        self._chapter("Who owned what, and when")
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
        table = _table(f"What {name} held", "from block", "to block", "units", "eth_call")
        for row in rows:
            last = page["at"]["block"] if row["to_block"] is None else row["to_block"] - 1
            amount = int(row["amount"])
            checks = [
                self.opinion.check_balance(self.token, name, account, at, amount) for at in (row["from_block"], last)
            ]
            checks.append(self.opinion.check_label({"block": row["from_block"], "hash": row["from_hash"]}))
            until = "now" if row["to_block"] is None else str(row["to_block"])
            table.add_row(str(row["from_block"]), until, row["display"], _mark(all(checks)))
        before = rows[0]["from_block"] - 1
        self.opinion.check_balance(self.token, f"{name}, before the first", account, before, 0)
        self.console.print(table)

    def moves(self, last: int) -> None:
        """Every mint and transfer."""
        rows, _ = self.client.pages(f"/tokens/{self.token_id}/transfers")
        names = {address: name for name, address in self.accounts.items()}
        shown = [
            Moved(row["block"], row["log_index"], row["transaction_hash"], row["from"], row["to"], int(row["amount"]))
            for row in reversed(rows)
        ]
        mark = _mark(self.opinion.check_moves(self.token, last, shown))
        table = _table("Transfers", "block", "kind", "from", "to", "units", "eth_getLogs")
        for row in reversed(rows):
            sender, recipient = (names.get(row[side] or "", "") for side in ("from", "to"))
            table.add_row(str(row["block"]), row["kind"], sender, recipient, row["display"], mark)
        self.console.print(table)

    def status(self, head: int) -> None:
        """How far the mirror is, while the chain stands still."""
        chain = self.client.wait("/status", lambda told: told["chain"]["head"] == head, what="the head")["chain"]
        wanted = {"id": CHAIN_ID, "head": head, "tip": head, "final": head - self.finality_depth, "lag": 0}
        table = _table("Status", "chain", "head", "tip", "final", "lag", "")
        agrees = [self.opinion.check(f"status: {name}", head, chain[name], said) for name, said in wanted.items()]
        table.add_row(*(str(chain[name]) for name in wanted), _mark(all(agrees)))
        self.console.print(table)

    def verify(self) -> None:
        """The service's own comparison of everything it mirrors."""
        self._chapter("muniment verify")
        code, written = self.stack.run("verify", "--json")
        told = json.loads(written.splitlines()[-1]) if code in (0, 1) else {"block": -1, "compared": 0}
        self.opinion.check("muniment verify: exit code", told["block"], code, 0)
        self._say(f"exit code {code}: {told['compared']} values compared at block {told['block']}")

    def cap_table(self, title: str, **parameters: int) -> dict[str, Any]:
        """Show who owns what at one block, and ask the chain for every number of it."""
        rows, page = self.client.pages(f"/tokens/{self.token_id}/holders", **parameters)
        label = page["at"]
        block = label["block"]
        token = self.client.get(f"/tokens/{self.token_id}", at_block=block)
        held = {row["account"]: row for row in rows}
        supply = int(token["total_supply"])
        table = _table(title, "holder", "account", "units", "share", "eth_call")
        for name, account in self.accounts.items():
            amount = int(held[account]["amount"]) if account in held else 0
            agrees = self.opinion.check_balance(self.token, name, account, block, amount)
            if amount:
                share = f"{100 * amount / supply:.1f} %"
                table.add_row(name, account, held[account]["display"], share, _mark(agrees))
        total = sum(int(row["amount"]) for row in rows)
        agrees = self.opinion.check_token(self.token, block, supply, token["paused"])
        agrees = self.opinion.check("sum of holdings", block, total, supply) and agrees
        agrees = self.opinion.check_label(label) and self.opinion.check_label(token["at"]) and agrees
        table.add_section()
        pause = "paused" if token["paused"] else "not paused"
        table.add_row("total supply", pause, str(supply), "", _mark(agrees))
        final = "final" if label["final"] else "not final yet"
        table.caption = f"block {block} {label['hash'][:18]}… on chain {label['chain']}, {final}"
        self.console.print(table)
        return dict(page)

    def _moves_table(self, healed: dict[str, dict[str, Any]]) -> None:
        table = _table(
            "The same transactions, in other blocks", "operation", "transaction", "nonce", "was in", "is in", ""
        )
        for id_, now in healed.items():
            was = self.before[id_]
            agrees = self.opinion.check("hash after healing", now["block"], now["hash"], was["hash"])
            kind = self._operation(id_)["kind"]
            row = (kind, now["hash"][:18] + "…", str(now["nonce"]), str(was["block"]), str(now["block"]))
            table.add_row(*row, _mark(agrees))
        self.console.print(table)

    def _reorganise_from(self, first: int) -> int:
        """Take off a block and all after it; how many that were."""
        assert self.stack.anvil is not None
        gone = self.opinion.block_hash(first)
        depth = 0
        while self.opinion.block_hash(first) == gone:
            depth = self.opinion.block_number() - first + 1
            if depth > self.finality_depth - 2:
                raise RuntimeError(
                    f"this machine is too slow: {depth} blocks came since the mint, which is nearly final"
                )
            self.stack.anvil.ask("anvil_reorg", depth, [])
        return depth

    def _ask(self, path: str, **body: Any) -> dict[str, Any]:
        """Send an order under a new idempotency key, and once more as a nervous caller would: one operation."""
        key = f"order-{len(self.operations) + 1}"
        operation = dict(self.client.post(path, key, body))
        again = self.client.post(path, key, body)
        self.opinion.check(f"{operation['kind']}, asked twice", 0, operation["id"], again["id"])
        self.operations.append(operation["id"])
        return operation

    def _mint(self, name: str, amount: int) -> str:
        self._say(f"minting {amount} units to {name}")
        path = f"/tokens/{self.token_id}/mint"
        return str(self._ask(path, to=self.accounts[name], amount=str(amount))["id"])

    def _operation(self, id_: str) -> dict[str, Any]:
        return dict(self.client.get(f"/operations/{id_}"))

    def _mined(self, id_: str, *, after: dict[str, Any] | None = None) -> dict[str, Any]:
        """An operation's transaction once it is in a block: another one than it was in before, where that is given."""

        def done(operation: dict[str, Any]) -> bool:
            if operation["status"] == "failed":
                raise RuntimeError(f"{operation['kind']} failed: {operation['problem']}")
            sent = operation["transaction"]
            return sent["status"] in MINED and (after is None or sent["block_hash"] != after["block_hash"])

        return dict(self.client.wait(f"/operations/{id_}", done, what="a block for the transaction")["transaction"])

    def _chapter(self, title: str) -> None:
        self.console.print()
        self.console.rule(f"[bold cyan]{title}[/bold cyan]", align="left", style="cyan")

    def _say(self, text: str) -> None:
        self.console.print(f"[green]•[/green] {text}", highlight=False)


def verdict(console: Console, opinion: Opinion) -> bool:
    """The last table: how many numbers were shown, and each one that the chain contradicts. True when there is none."""
    differing = [row for row in opinion.rows if not row.agrees]
    kinds: dict[str, list[bool]] = {}
    for row in opinion.rows:
        kinds.setdefault(_kind(row.what), []).append(row.agrees)
    table = _table("Verdict: what was shown, and what the chain says", "compared", "times", "agree")
    for kind, agreed in kinds.items():
        table.add_row(kind, str(len(agreed)), f"{sum(agreed)} {_mark(all(agreed))}")
    table.add_section()
    table.add_row("all", str(len(opinion.rows)), f"{len(opinion.rows) - len(differing)} {_mark(not differing)}")
    console.print()
    console.print(table)
    if differing:
        wrong = _table("[red]Differences[/red]", "what", "block", "shown", "chain")
        for row in differing:
            wrong.add_row(row.what, str(row.block), row.shown, row.chain)
        console.print(wrong)
    return not differing


def _kind(what: str) -> str:
    known = ("balanceOf", "Transfer event", "receipt", "status of", "status:", "muniment verify")
    kind = next((each for each in known if what.startswith(each)), what)
    return "asked twice, one operation" if what.endswith("asked twice") else kind.rstrip(":").removesuffix(" of")


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        min_width=len(title) + 2,
    )
    numbers: Sequence[str] = ("units", "share", "block", "nonce", "times", "from block", "to block", "was in", "is in")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", no_wrap=column != "operation")
    return table


def _mark(agrees: bool) -> str:
    return "[green]✓[/green]" if agrees else "[bold red]✗[/bold red]"
