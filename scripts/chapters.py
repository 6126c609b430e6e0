"""What every chapter of the demo is told with: orders over HTTP, waiting, tables, and the verdict at the end."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

from eth_account.signers.local import LocalAccount
from rich import box
from rich.console import Console
from rich.table import Table

from scripts.client import Client, Refused
from scripts.opinion import Opinion
from scripts.stack import Stack

MINED = ("mined", "confirmed")
NUMBERS: Sequence[str] = (
    *("units", "share", "block", "nonce", "times", "from block", "to block", "was in", "is in"),
    *("level", "country", "for", "against", "votes", "frozen"),
)
WRAPPED = ("operation", "rule", "says")
COMPARED = (
    *("balanceOf", "Transfer event", "receipt", "status of", "status:", "muniment verify"),
    *("rule", "role of", "identity of", "wallet of", "policy", "deed", "schedule", "forced transfer", "ether of"),
    *("votes of", "proposal", "tally"),
)
"""How the comparisons begin that the verdict counts together."""


@dataclass(slots=True)
class Teller:
    """Who tells the chapters: one caller of the API, in front of one chain that is asked too."""

    console: Console
    client: Client
    stack: Stack
    opinion: Opinion
    finality_depth: int
    accounts: dict[str, str] = field(default_factory=dict)  # by name
    operations: list[str] = field(default_factory=list)

    @classmethod
    def after(cls, former: "Teller", **more: Any) -> Self:
        """Further chapters, told by the same caller in front of the same chain."""
        return cls(**{each.name: getattr(former, each.name) for each in fields(Teller)}, **more)

    def chapter(self, title: str) -> None:
        """A headline."""
        self.console.print()
        self.console.rule(f"[bold cyan]{title}[/bold cyan]", align="left", style="cyan")

    def say(self, text: str) -> None:
        """One thing that happened."""
        self.console.print(f"[green]•[/green] {text}", highlight=False)

    def show(self, table: Table) -> None:
        """A table."""
        self.console.print(table)

    def order(self, path: str, **body: Any) -> dict[str, Any]:
        """Send an order under a new idempotency key, and once more as a nervous caller would: one operation."""
        key = f"order-{len(self.operations) + 1}"
        operation = dict(self.client.post(path, key, body))
        again = self.client.post(path, key, body)
        self.opinion.check(f"{operation['kind']}, asked twice", 0, operation["id"], again["id"])
        self.operations.append(operation["id"])
        return operation

    def refusal(self, path: str, **body: Any) -> dict[str, Any]:
        """The problem that an order is refused with.

        Raises:
            RuntimeError: it was accepted.
        """
        try:
            accepted = self.client.post(path, f"refused-{len(self.operations) + 1}", body)
        except Refused as refused:
            return refused.problem
        raise RuntimeError(f"{path} was accepted, and should not have been: {accepted}")

    def by_signature(self, key: LocalAccount, path: str, **body: str) -> dict[str, Any]:
        """Have something prepared, sign it as a wallet would, and hand the signature in."""
        prepared = self.client.post(path, f"prepare-{len(self.operations) + 1}", body)
        typed = prepared["typed_data"]
        shown = table(f"{typed['primaryType']}, to be signed with eth_signTypedData_v4", "field", "value")
        for member in typed["types"][typed["primaryType"]]:
            shown.add_row(member["name"], str(typed["message"][member["name"]]))
        self.show(shown)
        signature = key.sign_typed_data(full_message=typed).signature
        return self.order(f"/prepared/{prepared['id']}/submit", signed="0x" + bytes(signature).hex())

    def open_account(self, name: str, **body: str) -> str:
        """An account under somebody's name: managed, unless an address is given."""
        opened = self.client.post("/accounts", f"account-{len(self.accounts) + 1}", {"label": name, **body})
        self.accounts[name] = opened["address"]
        return self.accounts[name]

    def operation(self, id_: str) -> dict[str, Any]:
        """Where an operation stands."""
        return dict(self.client.get(f"/operations/{id_}"))

    def signer(self) -> str:
        """Who signs for the issuer."""
        return str(self.operation(self.operations[0])["transaction"]["signer"])

    def mined(self, id_: str, *, after: dict[str, Any] | None = None) -> dict[str, Any]:
        """An operation's transaction once it is in a block: another one than it was in before, where that is given."""

        def done(operation: dict[str, Any]) -> bool:
            if operation["status"] == "failed":
                raise RuntimeError(f"{operation['kind']} failed: {operation['problem']}")
            sent = operation["transaction"]
            return sent["status"] in MINED and (after is None or sent["block_hash"] != after["block_hash"])

        return dict(self.client.wait(f"/operations/{id_}", done, what="a block for the transaction")["transaction"])

    def seen(self, *operations: dict[str, Any]) -> int:
        """Wait until the mirror has the blocks of operations; the newest of these blocks."""
        block = max(int(self.mined(each["id"])["block"]) for each in operations)
        self.client.wait("/status", lambda told: (told["chain"]["tip"] or 0) >= block, what=f"block {block}")
        return block

    def chain(self, method: str, *parameters: Any) -> None:
        """Turn one of the local chain's own knobs."""
        assert self.stack.anvil is not None
        self.stack.anvil.ask(method, *parameters)

    def mine(self, count: int) -> int:
        """Empty blocks; the newest one, once the mirror has it."""
        self.chain("anvil_mine", hex(count))
        head = self.opinion.block_number()
        self.client.wait("/status", lambda told: told["chain"]["tip"] == head, what=f"block {head}")
        return head

    def pass_time(self, seconds: int) -> int:
        """Let the chain's clock jump, and a minute more, since it may run ahead of ours; the first block after it."""
        self.chain("evm_increaseTime", seconds + 60)
        return self.mine(1)

    def holders(self, token_id: str, token: str, title: str, **parameters: int) -> dict[str, Any]:
        """Show who owns what of a token at one block, and ask the chain for every number of it."""
        rows, page = self.client.pages(f"/tokens/{token_id}/holders", **parameters)
        label = page["at"]
        block = label["block"]
        told = self.client.get(f"/tokens/{token_id}", at_block=block)
        held = {row["account"]: row for row in rows}
        supply = int(told["total_supply"])
        shown = table(title, "holder", "account", "units", "share", "eth_call")
        for name, account in self.accounts.items():
            amount = int(held[account]["amount"]) if account in held else 0
            agrees = self.opinion.check_balance(token, name, account, block, amount)
            if amount:
                share = f"{100 * amount / supply:.1f} %"
                shown.add_row(name, account, held[account]["display"], share, mark(agrees))
        total = sum(int(row["amount"]) for row in rows)
        agrees = self.opinion.check_token(token, block, supply, told["paused"])
        agrees = self.opinion.check("sum of holdings", block, total, supply) and agrees
        agrees = self.opinion.check_label(label) and self.opinion.check_label(told["at"]) and agrees
        shown.add_section()
        pause = "paused" if told["paused"] else "not paused"
        shown.add_row("total supply", pause, str(supply), "", mark(agrees))
        self.show(labelled(shown, label))
        return dict(page)

    def close(self, operations: Sequence[str]) -> list[tuple[dict[str, Any], bool]]:
        """Let everything that was asked become final: each operation, and whether the chain agrees with it."""
        self.chain("anvil_mine", hex(self.finality_depth))
        rows = [
            self.client.wait(f"/operations/{each}", lambda found: found["status"] != "pending", what="finality")
            for each in operations
        ]
        # From here on the chain stands still, so that every number can be compared at its head too.
        self.chain("evm_setIntervalMining", 0)
        judged = []
        for row in rows:
            sent = row["transaction"]
            agrees = self.opinion.check_transaction(row["kind"], sent["hash"], sent["block"], sent["block_hash"])
            told = self.opinion.check(f"status of {row['kind']}", sent["block"], row["status"], "succeeded")
            judged.append((row, agrees and told))
        return judged

    def count_transactions(self, closed: Sequence[tuple[dict[str, Any], bool]]) -> None:
        """Compare the nonces that were spent with the signer's count on the chain."""
        sent = [row["transaction"] for row, _ in closed]
        count = self.opinion.transaction_count(sent[0]["signer"])
        highest = max(each["nonce"] for each in sent)
        self.opinion.check("transactions of the signer", sent[-1]["block"], highest + 1, count)
        all_ = len(self.operations)
        self.say(f"the signer's {count} transactions are the factory's and these {all_}: none was sent twice")

    def verify(self) -> None:
        """The service's own comparison of everything it mirrors."""
        self.chapter("muniment verify")
        code, written = self.stack.run("verify", "--json")
        told = json.loads(written.splitlines()[-1]) if code in (0, 1) else {"block": -1, "compared": 0}
        self.opinion.check("muniment verify: exit code", told["block"], code, 0)
        self.say(f"exit code {code}: {told['compared']} values compared at block {told['block']}")


def labelled(shown: Table, label: dict[str, Any]) -> Table:
    """A table that says which block it describes."""
    final = "final" if label["final"] else "not final yet"
    caption = f"block {label['block']} {label['hash'][:18]}… on chain {label['chain']}, {final}"
    shown.caption, shown.min_width = caption, max(shown.min_width or 0, len(caption) + 2)
    return shown


def verdict(console: Console, opinion: Opinion) -> bool:
    """The last table: how many numbers were shown, and each one that the chain contradicts. True when there is none."""
    differing = [row for row in opinion.rows if not row.agrees]
    kinds: dict[str, list[bool]] = {}
    for row in opinion.rows:
        kinds.setdefault(_kind(row.what), []).append(row.agrees)
    shown = table("Verdict: what was shown, and what the chain says", "compared", "times", "agree")
    for kind, agreed in kinds.items():
        shown.add_row(kind, str(len(agreed)), f"{sum(agreed)} {mark(all(agreed))}")
    shown.add_section()
    shown.add_row("all", str(len(opinion.rows)), f"{len(opinion.rows) - len(differing)} {mark(not differing)}")
    console.print()
    console.print(shown)
    if differing:
        wrong = table("[red]Differences[/red]", "what", "block", "shown", "chain")
        for row in differing:
            wrong.add_row(row.what, str(row.block), row.shown, row.chain)
        console.print(wrong)
    return not differing


def _kind(what: str) -> str:
    kind = next((each for each in COMPARED if what.startswith(each)), what)
    return "asked twice, one operation" if what.endswith("asked twice") else kind.rstrip(":").removesuffix(" of")


def table(title: str, *columns: str) -> Table:
    """An empty table."""
    made = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        min_width=len(title) + 2,
    )
    for column in columns:
        made.add_column(
            column, justify="right" if column in NUMBERS else "left", no_wrap=column not in WRAPPED, overflow="fold"
        )
    return made


def mark(agrees: bool) -> str:
    """How a row says whether the chain agrees."""
    return "[green]✓[/green]" if agrees else "[bold red]✗[/bold red]"
