"""Tokens, what is done with them, and who holds them. All amounts are integers, in base units."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from service.client.asking import Id, Noun, part, shaped
from service.client.shapes import Batch, Holder, Operation, Token, Transfer


class Tokens(Noun):
    """The issuer's tokens."""

    def deploy(
        self,
        asset_id: Id,
        name: str,
        symbol: str,
        *,
        kind: str = "fungible",
        decimals: int | None = None,
        compliance: bool = False,
        reserve: bool = False,
        history: bool = False,
        soulbound: bool = False,
        cap: int | None = None,
        terms_hash: str | None = None,
        idempotency_key: str | None = None,
    ) -> Operation:
        """Deploy the token of an asset: fungible, deed, governance or utility. The operation names its `token_id`.

        Args:
            compliance: ask the issuer's compliance registry about every move.
            reserve: mint no more than a named attester signed for.
            history: keep past balances on the chain; transfers cost more.
            soulbound: deeds that their holders can't transfer.
            cap: most units ever; governance and utility tokens need one.
            terms_hash: of the document that says what a unit is, 0x and 64 hexadecimal digits.
        """
        # A kind that has no such property refuses to be told that it lacks it.
        body = {
            "asset_id": asset_id,
            "name": name,
            "symbol": symbol,
            "kind": kind,
            "decimals": decimals,
            "compliance": compliance or None,
            "reserve": reserve or None,
            "history": history or None,
            "soulbound": soulbound or None,
            "cap": None if cap is None else str(cap),
            "terms_hash": terms_hash,
        }
        return shaped(Operation, self._write("/v1/tokens", body, idempotency_key))

    def read(self, token_id: Id, *, at_block: int | None = None, min_block: int | None = None) -> Token:
        """One of them, as of the end of a block."""
        return self._read(Token, _path(token_id), {"at_block": at_block, "min_block": min_block})

    def list(self, *, min_block: int | None = None) -> Iterator[Token]:
        """All of them."""
        return self._each(Token, "/v1/tokens", {"min_block": min_block})

    def mint(self, token_id: Id, *, to: str, amount: int, idempotency_key: str | None = None) -> Operation:
        """Create units for a holder."""
        return self._act(token_id, "mint", {"to": to, "amount": str(amount)}, idempotency_key)

    def batch_mint(self, token_id: Id, *, shares: Mapping[str, int], idempotency_key: str | None = None) -> Operation:
        """Create units for several holders in one transaction: each account's amount."""
        return self._act(token_id, "batch-mint", {"shares": _shares(shares)}, idempotency_key)

    def burn(self, token_id: Id, *, from_: str, amount: int, idempotency_key: str | None = None) -> Operation:
        """Destroy units of a holder."""
        return self._act(token_id, "burn", {"from": from_, "amount": str(amount)}, idempotency_key)

    def transfer(
        self, token_id: Id, *, from_: str, to: str, amount: int, idempotency_key: str | None = None
    ) -> Operation:
        """Move units of a managed account."""
        return self._act(token_id, "transfer", {"from": from_, "to": to, "amount": str(amount)}, idempotency_key)

    def batch_transfer(
        self, token_id: Id, *, from_: str, shares: Mapping[str, int], idempotency_key: str | None = None
    ) -> Operation:
        """Move units of a managed account to several holders in one transaction: each account's amount."""
        return self._act(token_id, "batch-transfer", {"from": from_, "shares": _shares(shares)}, idempotency_key)

    def freeze(
        self, token_id: Id, *, account: str, amount: int, expected: int = 0, idempotency_key: str | None = None
    ) -> Operation:
        """Say how many units of an account may not move; `expected` is how many it was, so that no decision is lost."""
        body = {"account": account, "amount": str(amount), "expected": str(expected)}
        return self._act(token_id, "freeze", body, idempotency_key)

    def forced_transfer(
        self,
        token_id: Id,
        *,
        from_: str,
        to: str,
        amount: int,
        reason: str,
        document_hash: str,
        idempotency_key: str | None = None,
    ) -> Operation:
        """Move units against their holder's will, for a reason that a document gives."""
        body = {"from": from_, "to": to, "amount": str(amount), "reason": reason, "document_hash": document_hash}
        return self._act(token_id, "forced-transfer", body, idempotency_key)

    def pause(self, token_id: Id, *, idempotency_key: str | None = None) -> Operation:
        """Let nothing move."""
        return self._act(token_id, "pause", {}, idempotency_key)

    def unpause(self, token_id: Id, *, idempotency_key: str | None = None) -> Operation:
        """Let all move again."""
        return self._act(token_id, "unpause", {}, idempotency_key)

    def holders(
        self,
        token_id: Id,
        *,
        at_block: int | None = None,
        at_time: datetime | None = None,
        min_block: int | None = None,
    ) -> Iterator[Holder]:
        """Who holds how much, now or as of a block or a time.

        Args:
            min_block: wait until the mirror has this block, such as that of an operation that was waited for.
        """
        query = {"at_block": at_block, "at_time": at_time, "min_block": min_block}
        return self._each(Holder, f"{_path(token_id)}/holders", query)

    def holder(
        self,
        token_id: Id,
        account: str,
        *,
        at_block: int | None = None,
        at_time: datetime | None = None,
        min_block: int | None = None,
    ) -> Holder:
        """How much one account holds, now or as of a block or a time."""
        query = {"at_block": at_block, "at_time": at_time, "min_block": min_block}
        return self._read(Holder, f"{_path(token_id)}/holders/{part('account', account)}", query)

    def transfers(
        self, token_id: Id, *, account: str | None = None, at_block: int | None = None, min_block: int | None = None
    ) -> Iterator[Transfer]:
        """All moves, or those of one account."""
        query = {"account": account, "at_block": at_block, "min_block": min_block}
        return self._each(Transfer, f"{_path(token_id)}/transfers", query)

    def _act(self, token_id: Id, what: str, body: Mapping[str, Any], idempotency_key: str | None) -> Operation:
        return shaped(Operation, self._write(f"{_path(token_id)}/{what}", body, idempotency_key))


class Batches(Noun):
    """Rows that are packed into few transactions."""

    def mint(self, token_id: Id, *, rows: Iterable[tuple[str, int]], idempotency_key: str | None = None) -> Batch:
        """Create units for up to 10,000 holders, one row for each: account and amount."""
        sent = [{"to": to, "amount": str(amount)} for to, amount in rows]
        return shaped(Batch, self._write(f"{_path(token_id)}/batches/mint", {"rows": sent}, idempotency_key))

    def transfer(
        self, token_id: Id, *, rows: Iterable[tuple[str, str, int]], idempotency_key: str | None = None
    ) -> Batch:
        """Move units of up to 10,000 managed accounts, one row for each move: from, to and amount."""
        sent = [{"from": from_, "to": to, "amount": str(amount)} for from_, to, amount in rows]
        return shaped(Batch, self._write(f"{_path(token_id)}/batches/transfer", {"rows": sent}, idempotency_key))

    def read(self, batch_id: Id) -> Batch:
        """One of them, as it stands."""
        return self._read(Batch, f"/v1/batches/{part('batch_id', batch_id)}")

    def cancel(self, batch_id: Id, *, idempotency_key: str | None = None) -> Batch:
        """Send no more of its rows."""
        return shaped(Batch, self._write(f"/v1/batches/{part('batch_id', batch_id)}/cancel", {}, idempotency_key))

    def resume(self, batch_id: Id, *, idempotency_key: str | None = None) -> Batch:
        """Send what was cancelled or failed once more."""
        return shaped(Batch, self._write(f"/v1/batches/{part('batch_id', batch_id)}/resume", {}, idempotency_key))


def _path(token_id: Id) -> str:
    return f"/v1/tokens/{part('token_id', token_id)}"


def _shares(shares: Mapping[str, int]) -> list[dict[str, str]]:
    return [{"to": to, "amount": str(amount)} for to, amount in shares.items()]
