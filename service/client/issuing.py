"""What an issuer registers and deploys before there is a token, and what its writes came to."""

from collections.abc import Iterator
from typing import Any

from service.client.asking import Id, Noun, part, shaped
from service.client.exchange import Request
from service.client.shapes import Account, Asset, Contract, Holding, Operation


class Assets(Noun):
    """Off-chain things."""

    def register(self, name: str, category: str, *, description: str = "", idempotency_key: str | None = None) -> Asset:
        """Register one: a house, shares, a painting, loyalty or other."""
        body = {"name": name, "category": category, "description": description}
        return shaped(Asset, self._write("/v1/assets", body, idempotency_key))

    def read(self, asset_id: Id) -> Asset:
        """One of them."""
        return self._read(Asset, f"/v1/assets/{part('asset_id', asset_id)}")

    def list(self) -> Iterator[Asset]:
        """All of them."""
        return self._each(Asset, "/v1/assets")


class Accounts(Noun):
    """Holders' accounts."""

    def register(self, *, address: str | None = None, label: str = "", idempotency_key: str | None = None) -> Account:
        """Register an account: with an address, an external one that signs for itself; without, a managed one."""
        return shaped(Account, self._write("/v1/accounts", {"address": address, "label": label}, idempotency_key))

    def read(self, address: str) -> Account:
        """One of them."""
        return self._read(Account, f"/v1/accounts/{part('address', address)}")

    def list(self) -> Iterator[Account]:
        """All of them."""
        return self._each(Account, "/v1/accounts")

    def holdings(self, account: str, *, at_block: int | None = None, min_block: int | None = None) -> Iterator[Holding]:
        """What an account holds of each of the issuer's tokens.

        Args:
            at_block: as of the end of this block.
            min_block: wait until the mirror has this block, such as that of an operation that was waited for.
        """
        query = {"at_block": at_block, "min_block": min_block}
        return self._each(Holding, f"/v1/accounts/{part('account', account)}/holdings", query)


class Contracts(Noun):
    """The issuer's contracts that are no tokens."""

    def deploy_authority(
        self, *, enforcer_delay_s: int = 0, guardian: str | None = None, idempotency_key: str | None = None
    ) -> Operation:
        """Deploy the issuer's authority, without which it has no tokens."""
        body = {"enforcer_delay_s": enforcer_delay_s, "guardian": guardian}
        return shaped(Operation, self._write("/v1/authority", body, idempotency_key))

    def deploy(self, kind: str, *, idempotency_key: str | None = None) -> Operation:
        """Deploy one: compliance, documents, reserve, anchor, distributor or settlement."""
        return shaped(Operation, self._write("/v1/contracts", {"kind": kind}, idempotency_key))

    def list(self) -> Iterator[Contract]:
        """All of them."""
        found: Any = self._exchange.ask(Request("GET", "/v1/contracts", authorized=True)).content
        yield from (shaped(Contract, each) for each in found)


class Operations(Noun):
    """What writes came to."""

    def read(self, operation_id: Id) -> Operation:
        """One of them, as it stands."""
        return self._read(Operation, f"/v1/operations/{part('operation_id', operation_id)}")

    def list(self, *, status: str | None = None, token_id: Id | None = None) -> Iterator[Operation]:
        """All of them, or those that are pending, succeeded or failed, or about a token."""
        return self._each(Operation, "/v1/operations", {"status": status, "token_id": token_id})
