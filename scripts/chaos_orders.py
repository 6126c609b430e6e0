"""A chaos run's operations on the wire: what is asked over HTTP until it is answered, and what must come of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx
from eth_account import Account
from eth_account.messages import encode_typed_data
from web3 import Web3

from scripts.chaos_plan import HOLDERS, OVERDRAFT, TOKENS, UNITS_EACH, Ask, Plan
from scripts.client import Client
from scripts.local import wait_for

ANSWER_TIMEOUT_S = 4.0
ASKING_TIMEOUT_S = 120.0
"""A careful client asks again for so long."""

PAUSE_S = 0.1
RETRIED = (429, 500, 502, 503, 504)
PASSING = ("not-mineable", "CheckpointUnorderedInsertion")
"""Refusals that pass: of a base fee that falls again, and of anvil, which may run a block's call on the next state."""

NOBODY = "0x" + "0" * 40
BATCH_ROWS_MAX = 100
OWN_KEY = ("relayed", "passed-on")


class Effect(NamedTuple):
    """One event that the chain must hold exactly once: its contract, its name, and the arguments that tell it apart."""

    contract: str
    event: str
    arguments: tuple[str | int, ...]


class Written(NamedTuple):
    """An operation on the wire: its path, its body, and what the chain must hold once if it succeeds."""

    path: str
    body: dict[str, Any]
    effects: list[Effect]


class NoAnswer(Exception):
    """A request was not answered however often it was sent."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a run stands on: deployed, minted and final before the first fault."""

    authority: str
    factory: str
    tokens: tuple[tuple[str, str], ...]  # id and address
    holders: tuple[str, ...]
    poor: str  # a managed account that holds a little of each token
    frozen: str  # an account that holds nothing, for freezes that only the first one may do


@dataclass(slots=True)
class Asked:
    """What became of asking for an operation."""

    ask: Ask
    written: Written
    operation_id: str | None = None
    refusal: str | None = None
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Insistent:
    """A careful client: it asks under the same idempotency key until it is told yes or no."""

    http: httpx.Client
    key: str

    def post(self, path: str, idempotency_key: str, body: dict[str, Any], asked: Asked) -> Any:
        """The answer to a write; None when it is refused, with the problem in `asked`.

        Raises:
            NoAnswer: there was none in two minutes.
        """
        end_s = time.monotonic() + ASKING_TIMEOUT_S
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": idempotency_key}
        last = "nothing"
        while time.monotonic() < end_s:
            asked.tries += 1
            try:
                answer = self.http.post(f"/v1{path}", json=body, headers=headers)
            except httpx.TransportError as error:
                last = type(error).__name__
            else:
                if answer.status_code < 400:
                    return answer.json()
                last = f"{answer.status_code} {answer.text[:300]}"
                if answer.status_code not in RETRIED and not any(words in last for words in PASSING):
                    problem = answer.json()
                    asked.refusal = f"{str(problem['type']).rpartition('/')[2]}: {problem['detail']}"
                    return None
            time.sleep(PAUSE_S)
        raise NoAnswer(f"operation {asked.ask.number} ({asked.ask.kind}): no answer; the last one was {last}")


def own_key_holder(ask: Ask) -> str:
    """The address of the holder that signs for itself."""
    return str(Account.from_key(ask.secret).address)


def written(ask: Ask, ground: Ground) -> Written:
    """An operation on the wire. A deployment's asset is registered first, and its address is known from the answer."""
    token_id, token = ground.tokens[ask.token]
    path, amount, account = f"/tokens/{token_id}", str(ask.amounts[0]), Web3.to_checksum_address(ask.account)
    holder, others = ground.holders[ask.holder], [ground.holders[each] for each in ask.others]
    own = own_key_holder(ask) if ask.kind in OWN_KEY else ""
    shares = [{"to": to, "amount": str(units)} for to, units in zip(others, ask.amounts, strict=True)]
    road = "signature" if ask.kind == "relayed" else "transaction"
    too_much = OVERDRAFT + ask.amounts[0]

    def moved(sender: str) -> list[Effect]:
        return [Effect(token, "Transfer", (sender, to, units)) for to, units in zip(others, ask.amounts, strict=True)]

    def burned(units: int, *more: Effect) -> list[Effect]:
        return [Effect(token, "Transfer", (holder, NOBODY, units)), *more]

    def frozen(who: str) -> Written:
        return Written(f"{path}/freeze", {"account": who, "amount": amount}, [one("Frozen", who)])

    def one(event: str, *arguments: str) -> Effect:
        return Effect(token, event, (*arguments, ask.amounts[0]))

    signed = Written(f"{path}/transfer/prepare", {"from": own, **shares[0], "road": road}, moved(own))
    redeemed = {"from": holder, "amount": amount, "reference": f"redemption {ask.number}"}
    granted = Effect(ground.authority, "RoleGranted", (account,))
    return {
        "mint": Written(f"{path}/mint", shares[0], moved(NOBODY)),
        "batch-mint": Written(f"{path}/batch-mint", {"shares": shares}, moved(NOBODY)),
        "transfer": Written(f"{path}/transfer", {"from": holder, **shares[0]}, moved(holder)),
        "contested": Written(f"{path}/transfer", {"from": ground.poor, **shares[0]}, moved(ground.poor)),
        "batch-transfer": Written(f"{path}/batch-transfer", {"from": holder, "shares": shares}, moved(holder)),
        "burn": Written(f"{path}/burn", {"from": holder, "amount": amount}, burned(ask.amounts[0])),
        "overdraft": Written(f"{path}/burn", {"from": holder, "amount": str(too_much)}, burned(too_much)),
        "redeem": Written(f"{path}/redeem", redeemed, burned(ask.amounts[0], one("Redeemed", holder))),
        "approve": Written(
            f"{path}/approve",
            {"from": holder, "spender": account, "amount": amount},
            [one("Approval", holder, account)],
        ),
        "freeze": frozen(account),
        "refreeze": frozen(ground.frozen),
        "grant": Written("/roles/grant", {"role": "minter", "account": account}, [granted]),
        "deploy": Written("/tokens", {"name": f"{ask.number} Harbour Street", "symbol": f"H{ask.number}"}, []),
        "relayed": signed,
        "passed-on": signed,
    }[ask.kind]


def place(client: Insistent, asked: Asked, factory: str) -> None:
    """Ask for an operation until it is accepted or refused, and note which.

    Raises:
        NoAnswer: neither.
    """
    ask, key, body = asked.ask, f"chaos-{asked.ask.number}", asked.written.body
    if ask.kind == "deploy":
        asset = client.post("/assets", f"{key}-asset", {"name": body["name"], "category": "house"}, asked)
        answer = client.post("/tokens", key, {**body, "asset_id": asset["id"]}, asked)
        if answer is not None:
            asked.written.effects.append(Effect(factory, "Deployed", (answer["contract"],)))
    elif ask.kind in OWN_KEY:
        answer = _place_signed(client, asked)
    else:
        answer = client.post(asked.written.path, key, body, asked)
    if answer is not None:
        asked.operation_id = str(answer["id"])


def _place_signed(client: Insistent, asked: Asked) -> Any:
    ask, key = asked.ask, f"chaos-{asked.ask.number}"
    given = client.post(asked.written.path, f"{key}-prepare", asked.written.body, asked)
    if given is None:
        return None
    own = Account.from_key(ask.secret)
    if ask.kind == "relayed":
        signed = own.sign_message(encode_typed_data(full_message=given["typed_data"])).signature
    else:
        plain = {name: value for name, value in given["transaction"].items() if name != "from"}
        signed = own.sign_transaction(plain).raw_transaction
    return client.post(f"/prepared/{given['id']}/submit", f"{key}-submit", {"signed": f"0x{signed.hex()}"}, asked)


def prepare(client: Client, plan: Plan, *, factory: str, mine: Callable[[], None]) -> Ground:
    """Deploy and mint all that the plan's operations stand on; `mine` makes what was mined final."""
    client.post("/authority", "authority", {})
    accounts = [client.post("/accounts", f"account-{each}", {})["address"] for each in range(HOLDERS + 2)]
    *holders, poor, frozen = accounts
    _until_closed(client, mine)
    tokens = []
    for number in range(TOKENS):
        asset = client.post("/assets", f"asset-{number}", {"name": f"House {number}", "category": "house"})
        body = {"asset_id": asset["id"], "name": f"House {number}", "symbol": f"HOUSE{number}", "history": number == 2}
        tokens.append(client.post("/tokens", f"token-{number}", body))
    _until_closed(client, mine)
    for number, token in enumerate(tokens):
        rows = [*((each, UNITS_EACH) for each in holders), (poor, 1_000 * len(plan.asks) + 1)]
        rows += [(own_key_holder(ask), ask.amounts[0]) for ask in own_key_asks(plan) if ask.token == number]
        for start in range(0, len(rows), BATCH_ROWS_MAX):
            shares = [{"to": to, "amount": str(units)} for to, units in rows[start : start + BATCH_ROWS_MAX]]
            client.post(f"/tokens/{token['token_id']}/batch-mint", f"units-{number}-{start}", {"shares": shares})
    _until_closed(client, mine)
    (authority,) = (each["address"] for each in client.get("/contracts") if each["kind"] == "authority")
    addresses = tuple((each["token_id"], each["contract"]) for each in tokens)
    return Ground(authority, factory, addresses, tuple(holders), poor, frozen)


def own_key_asks(plan: Plan) -> list[Ask]:
    """The operations whose holders sign for themselves."""
    return [ask for ask in plan.asks if ask.kind in OWN_KEY]


def _until_closed(client: Client, mine: Callable[[], None]) -> None:
    def closed() -> bool | None:
        mine()
        operations = client.get("/operations", limit=100)["data"]
        if failed := [each for each in operations if each["status"] == "failed"]:
            raise RuntimeError(f"before any fault: {failed[0]}")
        return True if all(each["status"] == "succeeded" for each in operations) else None

    wait_for(closed, what="the ground", timeout_s=ASKING_TIMEOUT_S)
