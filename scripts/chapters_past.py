"""Everything that changed, as of an earlier block and now, and that all of it is final."""

from dataclasses import dataclass
from typing import Any

from scripts.chapters import Teller, mark, table
from scripts.chapters_council import Council
from scripts.chapters_regulated import BLOCKED, DEED, PEOPLE, Regulated, hashed
from scripts.stack import DEV_ADDRESSES

ROLES = ("admin", "issuer", "minter", "compliance", "enforcer", "pauser", "attester", "anchor", "guardian")
"""By the authority's numbers."""


@dataclass(slots=True, kw_only=True)
class Past(Teller):
    """The last chapters."""

    regulated: Regulated
    council: Council
    first: int  # the first operation of these chapters, by its place

    def tell(self) -> None:
        """All of it, in order."""
        self.close_all()
        early, now = self.regulated.early, self.opinion.block_number()
        self.client.wait("/status", lambda told: told["chain"]["tip"] == now, what=f"block {now}")
        self.chapter(f"The same questions, as of block {early} and now")
        self.roles(early, now)
        self.facts(early, now)

    def close_all(self) -> None:
        """Let these chapters become final."""
        self.chapter("Final, too")
        closed = self.close(self.operations[self.first :])
        shown = table("Operations by kind", "operation", "times", "status", "")
        kinds: dict[str, list[tuple[dict[str, Any], bool]]] = {}
        for row, agrees in closed:
            kinds.setdefault(row["kind"], []).append((row, agrees))
        for kind, rows in kinds.items():
            told = ", ".join(sorted({row["status"] for row, _ in rows}))
            shown.add_row(kind, str(len(rows)), told, mark(all(agrees for _, agrees in rows)))
        self.show(shown)
        self.count_transactions(closed)

    def roles(self, *blocks: int) -> None:
        """Who may do what: every role of everybody who has one, at both blocks."""
        names = {
            self.signer(): "the issuer's signer",
            DEV_ADDRESSES[1]: "the guardian",
            self.council.timelock: "the timelock",
        }
        found = {}
        for block in blocks:
            rows, _ = self.client.pages("/roles", at_block=block)
            found[block] = {(row["role"], row["account"]): row["delay_s"] for row in rows}
        shown = table("Roles", "role", "of", *(f"at block {block}" for block in blocks), "eth_call")
        for number, role in enumerate(ROLES):
            for account, name in names.items():
                held = [found[block].get((role, account)) for block in blocks]
                checks = [
                    self.check_role(role, number, account, block, delay)
                    for block, delay in zip(blocks, held, strict=True)
                ]
                if held != [None] * len(blocks):
                    cells = ["" if delay is None else f"after {delay} s" if delay else "at once" for delay in held]
                    shown.add_row(role, name, *cells, mark(all(checks)))
        strangers = [account for block in blocks for _, account in found[block] if account not in names]
        self.opinion.check("role of a stranger", blocks[-1], strangers, [])
        self.show(shown)

    def check_role(self, role: str, number: int, account: str, block: int, delay_s: int | None) -> bool:
        """Compare whether an account has a role, and after which delay, with the authority's own answer at a block."""
        place = ("IssuerAuthority", self.regulated.authority)
        member, delay = self.opinion.says(place, "hasRole", number, account, block=block)
        return self.opinion.check(f"role of {role}", block, delay_s, delay if member else None)

    def facts(self, *blocks: int) -> None:
        """Identities, rules and the deed's holder, at both blocks."""
        cells: dict[str, list[str]] = {}
        agrees: dict[str, bool] = {}

        def cell(what: str, value: str, agreed: bool) -> None:
            cells.setdefault(what, []).append(value)
            agrees[what] = agreed and agrees.get(what, True)

        names = {account: name for name, account in self.accounts.items()}
        for block in blocks:
            identities, _ = self.client.pages("/identities", at_block=block)
            by_investor = {row["investor"]: row for row in identities}
            for name in PEOPLE:
                row = by_investor[hashed(name)]
                told = f"country {row['country']}, level {row['level']}"
                cell(f"identity of {name}", told, self.regulated.check_identity(name, row, block))
            blocked = self.client.get(f"/identities/{hashed(BLOCKED)}", at_block=block)["blocked"]
            place = ("ComplianceRegistry", self.regulated.registry)
            said = self.opinion.says(place, "identity", hashed(BLOCKED), block=block)[2]
            told = "blocked" if blocked else "not blocked"
            cell(BLOCKED, told, self.opinion.check("identity of a blocked investor", block, blocked, said))
            policy = self.client.get(f"/tokens/{self.regulated.house_id}/policy", at_block=block)
            cell("the house's countries", str(policy["countries"])[1:-1], self.regulated.check_policy(policy))
            deed = self.client.get(f"/tokens/{self.regulated.painting_id}/deeds/{DEED}", at_block=block)
            said = self.opinion.says(("DeedToken", self.regulated.painting), "ownerOf", int(DEED), block=block)
            agreed = self.opinion.check("deed: holder", block, deed["holder"], said)
            cell("the painting's holder", names[deed["holder"]], agreed and self.opinion.check_label(deed["at"]))
        shown = table("What was so, and what is", "what", *(f"at block {block}" for block in blocks), "eth_call")
        for what, told_at in cells.items():
            shown.add_row(what, *told_at, mark(agrees[what]))
        self.show(shown)
