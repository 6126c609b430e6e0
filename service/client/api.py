"""`Client`: the whole API for a program."""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar

from service.client.asking import pages, shaped
from service.client.calls import Call, fill, meant, read_calls
from service.client.credentials import Credential
from service.client.exchange import Exchange, Request
from service.client.issuing import Accounts, Assets, Contracts, Operations
from service.client.problems import ApiProblem, NotFinal, OperationFailed, Unusable
from service.client.shapes import Batch, Operation
from service.client.tokens import Batches, Tokens
from service.client.vault import Vault
from service.client.waiting import follow

B = TypeVar("B", Operation, Batch)

PATIENCE_S = 15.0
WAIT_S = 300.0


class Client:
    """A deployment for one caller. Threads may share it.

    Args:
        url: http://host:port or https://host.
        credential: what the caller proves itself with; None for what is public.
        patience_s: how long a request is asked again before its failure is told. Only GETs and writes under an
            idempotency key are, after a broken connection, the statuses 408, 429, 502, 503 and 504, and
            `idempotency-key-busy`.

    Raises:
        Unusable: the address is none.
    """

    def __init__(self, url: str, credential: Credential | None, *, patience_s: float = PATIENCE_S) -> None:
        self.exchange = Exchange(url, credential, patience_s=patience_s)
        self.assets = Assets(self.exchange)
        self.accounts = Accounts(self.exchange)
        self.contracts = Contracts(self.exchange)
        self.tokens = Tokens(self.exchange)
        self.batches = Batches(self.exchange)
        self.operations = Operations(self.exchange)
        self.vault = Vault(self.exchange)
        self._document: dict[str, Any] = {}
        self._calls: dict[str, Call] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self.exchange.close()

    def wait(self, begun: B, *, timeout_s: float = WAIT_S) -> B:
        """An operation or a batch once it has succeeded, and is final on the chain.

        Raises:
            OperationFailed: it failed, or rows of the batch did, or it was cancelled.
            NotFinal: the time is over; it goes on.
            Away: the API has been silent for a while.
        """
        path = f"/v1/{'operations' if isinstance(begun, Operation) else 'batches'}/{begun.id}"
        ended = shaped(type(begun), follow(self.exchange, path, begun.raw, timeout_s=timeout_s))
        state = ended.status if isinstance(ended, Operation) else ended.state
        if state in ("pending", "running"):
            raise NotFinal(f"{ended.kind} {ended.id} is not final after {timeout_s:g} s; it goes on", ended)
        if state != "succeeded":
            told = {"title": f"{ended.kind} {state}", "detail": f"see {path}"}
            raise OperationFailed(ended.raw.get("problem") or told, ended)
        return ended

    def call(
        self, operation_id: str, /, *, idempotency_key: str | None = None, approval: str | None = None, **fields: Any
    ) -> Any:
        """Any operation of the deployment's OpenAPI document, by name; its answer as JSON has it.

        Integers are written as text where the document wants that; a name that Python keeps for itself has an
        underscore after it (`from_`).

        Args:
            approval: what a second factor approved, as `step-up-required` named it; with the same idempotency key.

        Raises:
            ApiProblem: the API refused it.
            Unusable: there is no such operation or field, or nobody answers.
        """
        call = self._call(operation_id)
        if idempotency_key is not None and not call.takes_key:
            raise Unusable(f"{operation_id} takes no idempotency key")
        key = idempotency_key or str(uuid.uuid4()) if call.takes_key else None
        asked = fill(self._document, call, fields)
        if approval is not None:
            asked = replace(asked, headers={**asked.headers, "Muniment-Approval": approval})
        return self.exchange.ask(asked, key).content

    def pages(self, operation_id: str, /, **fields: Any) -> Iterator[dict[str, Any]]:
        """Each page of a list of the document, with all that it tells besides its rows, such as `at`."""
        return pages(self.exchange, fill(self._document, self._call(operation_id), fields))

    def _call(self, operation_id: str) -> Call:
        if not self._calls:
            self._document = self._read_document()
            self._calls = read_calls(self._document)
        if operation_id not in self._calls:
            raise Unusable(f"there is no operation {operation_id!r}{meant(operation_id, list(self._calls))}")
        return self._calls[operation_id]

    def _read_document(self) -> dict[str, Any]:
        try:
            document = self.exchange.ask(Request("GET", "/openapi.json", authorized=False)).content
        except ApiProblem:
            document = None
        if not isinstance(document, dict) or "paths" not in document:
            raise Unusable(f"{self.exchange.url} is no Muniment API: it has no /openapi.json")
        return document
