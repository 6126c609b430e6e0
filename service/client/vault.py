"""The token vault: values in, vault tokens out, and back again for whoever may."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from service.client.asking import Id, Noun, shaped
from service.client.documents import Documents
from service.client.exchange import Exchange
from service.client.shapes import Erased, Payment, Policy, Record, Shown, Tokenized


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A value to be tokenized, with what belongs to it."""

    value: str = field(repr=False)
    subject: str | None = field(default=None, repr=False)
    """The issuer's own name for a person, whose erasure erases this record, too."""
    asset_token_id: Id | None = None
    ttl_s: int | None = None


class Vault(Noun):
    """Values in and out, records without them; `documents` has files."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange)
        self.documents = Documents(exchange)

    def create_policy(
        self,
        name: str,
        *,
        kind: str,
        data_class: str,
        format: Mapping[str, Any],
        rule: Mapping[str, Any] | None = None,
        deterministic: bool = False,
        mapping: str = "default",
        pointer: bool = False,
        ttl_max_s: int | None = None,
        reveal: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Policy:
        """Decide about one kind of value; all but its reveal rules and its time to live is for good."""
        body = {
            "name": name,
            "kind": kind,
            "data_class": data_class,
            "format": format,
            "rule": rule,
            "deterministic": deterministic,
            "mapping": mapping,
            "pointer": pointer,
            "ttl_max_s": ttl_max_s,
            "reveal": reveal,
        }
        return shaped(Policy, self._write("/v1/vault/policies", body, idempotency_key))

    def policies(self) -> Iterator[Policy]:
        """The issuer's policies."""
        return self._each(Policy, "/v1/vault/policies")

    def tokenize(
        self,
        policy: Id,
        values: Sequence[str | Item],
        *,
        context: str = "",
        idempotency_key: str | None = None,
    ) -> list[Tokenized]:
        """Swap 1 to 500 values for vault tokens; each has its own outcome, in the order of the values."""
        items = [_item(each) for each in values]
        body = {"policy": policy, "items": items, "context": context}
        answer = self._write("/v1/vault/tokenize", body, idempotency_key)
        return [shaped(Tokenized, each) for each in answer["data"]]

    def reveal(
        self,
        tokens: Sequence[str],
        *,
        purpose: str,
        reason: str,
        view: str = "masked",
        policy: Id | None = None,
        context: str = "",
        approval: Id | None = None,
    ) -> list[Shown]:
        """See values again: plain, masked, last_four or hash. It spends what the policy allows, so it is asked once.

        Args:
            reason: stays in the journal, so nothing in it may be a value.
            policy: of kind vaultless, whose vault tokens these are; None for those that are stored.
        """
        body = {
            "tokens": list(tokens),
            "purpose": purpose,
            "reason": reason,
            "view": view,
            "policy": policy,
            "context": context,
            "approval": approval,
        }
        return [shaped(Shown, each) for each in self._ask("/v1/vault/reveal", body)["data"]]

    def lookup(self, tokens: Sequence[str]) -> list[Record | None]:
        """What is known of 1 to 500 vault tokens besides their values; None of those that are not the issuer's."""
        return _records(self._ask("/v1/vault/lookup", {"tokens": list(tokens)}))

    def search(self, policy: Id, value: str) -> list[Record]:
        """The records of a policy that hold exactly this value; it is one value of the policy's daily budget."""
        return [each for each in _records(self._ask("/v1/vault/search", {"policy": policy, "value": value})) if each]

    def records(
        self,
        *,
        policy: Id | None = None,
        subject: str | None = None,
        asset_token_id: Id | None = None,
        state: str | None = None,
        older_than: datetime | None = None,
    ) -> Iterator[Record]:
        """The issuer's records, oldest first."""
        query = {
            "policy": policy,
            "subject": subject,
            "asset_token_id": asset_token_id,
            "state": state,
            "older_than": older_than,
        }
        return self._each(Record, "/v1/vault/records", query)

    def point(self, token: str, value: str) -> Record:
        """Put a new value behind a vault token whose policy lets it follow."""
        return shaped(Record, self._ask("/v1/vault/tokens", {"token": token, "value": value}, method="PUT"))

    def revoke(self, tokens: Sequence[str]) -> list[Record | None]:
        """End vault tokens for good."""
        return _records(self._ask("/v1/vault/revoke", {"tokens": list(tokens)}))

    def erase(self, reference: str) -> Erased:
        """Forget a person: the one key of all their records is shredded. Asked again, it answers the same."""
        return shaped(Erased, self._ask("/v1/vault/subjects/erase", {"reference": reference}))

    def pay(
        self,
        token: str,
        *,
        processor: str,
        amount: int,
        currency: str,
        reference: str,
        idempotency_key: str | None = None,
    ) -> Payment:
        """Have a card charged by a payment processor; its number passes this side by.

        Args:
            amount: in the currency's smallest unit.
        """
        body = {
            "token": token,
            "processor": processor,
            "amount": str(amount),
            "currency": currency,
            "reference": reference,
        }
        return shaped(Payment, self._write("/v1/vault/payments", body, idempotency_key))


def _item(given: str | Item) -> dict[str, Any]:
    item = Item(value=given) if isinstance(given, str) else given
    asset = None if item.asset_token_id is None else str(item.asset_token_id)
    told = {"value": item.value, "subject": item.subject, "asset_token_id": asset, "ttl_s": item.ttl_s}
    return {name: value for name, value in told.items() if value is not None}


def _records(answer: Any) -> list[Record | None]:
    return [None if each is None else shaped(Record, each) for each in answer["data"]]
