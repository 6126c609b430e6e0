"""Law 6: a preview that says yes is a transfer that succeeds in the same state; one that says no names the rule."""

import asyncio
import json
import time
import urllib.request
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from service.addresses import ZERO, checksum
from service.chain import contracts
from service.chain.reverts import decode_revert
from tests.compliance.office import Office, open_office
from tests.rpc import rpc
from tests.world import World, make_settings, open_world

T = TypeVar("T")

STATES = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # each example goes on from the state of the one before, so a failure does not shrink
    suppress_health_check=list(HealthCheck),
)

WALLETS = [checksum(bytes.fromhex("c0ffee" + "00" * 16 + f"{number:02x}")) for number in range(1, 6)]
INVESTORS = [bytes.fromhex("1f" * 31 + f"{number:02x}") for number in range(1, 4)]
COUNTRIES = (756, 276)
DEEDS = (1, 2, 3, 4)
LAST_YEAR, NEVER, YEAR_2100 = 1_700_000_000, 0, 4_102_444_800
RECEIPT_QUESTIONS_MAX = 1_000

CURED = 0.95

REMEMBERED = 30
"""Verdicts that are asked for again: anvil forgets old states."""

UNRULED = {
    "ERC20InsufficientBalance",
    "ERC20InsufficientAllowance",
    "ERC721InsufficientApproval",
    "ERC721IncorrectOwner",
    "ERC721NonexistentToken",
}
"""Refusals that are about what an account has, and no rule."""

Options = tuple[Sequence[Any], ...]

POLICIES = (
    *((level, 0, 0, 0, 0) for level in (0, 1, 2)),
    *((1, rule, 0, 0, 0) for rule in (1, 2)),
    *((1, 0, holders, 0, 0) for holders in (1, 2)),
    *((1, 0, 0, holders, 0) for holders in (1, 2)),
    *((1, 0, 0, 0, holding) for holding in (1, 12)),
)
"""Least level, country rule, most holders, most of one country, and most that one holds."""

CHANGES: tuple[tuple[str, Options], ...] = (
    ("identity", (INVESTORS, COUNTRIES, (1, 2, 2), (NEVER, NEVER, LAST_YEAR))),
    ("link", (WALLETS, (*INVESTORS, *INVESTORS, bytes(32)))),
    ("block", (INVESTORS, (True,))),
    ("policy", ((False, True), POLICIES)),
    ("policy", ((False, True), POLICIES)),
    ("lots", (INVESTORS, (1, 5, 20), (LAST_YEAR, YEAR_2100, YEAR_2100))),
    ("freeze", (WALLETS, (1, 5, 2**256 - 1))),
    ("freeze-deed", (WALLETS, DEEDS, (True,))),
    ("pause", ((False, True), (True,))),
    ("mint", (WALLETS, (1, 5, 10))),
    ("mint-deed", (WALLETS, DEEDS)),
    ("approve", (WALLETS, WALLETS, (1, 10, 2**256 - 1))),
    ("approve", (WALLETS, WALLETS, (1, 10, 2**256 - 1))),
    ("approve-deed", (WALLETS, DEEDS)),
)
"""What may happen, each as likely as the others, with what it may be about."""

MOVE: Options = (WALLETS, WALLETS, (1, 1, 2, 5, 10, 2**256 - 1), DEEDS, (None, None, *WALLETS), (True, True, False))
"""Holder, receiver, amount, deed, spender, and whether the deed's holder moves it."""


def chosen(random: Random, options: Options) -> tuple[Any, ...]:
    """One of each."""
    return tuple(random.choice(each) for each in options)


def answer_of(url: str, method: str, *params: Any) -> dict[str, Any]:
    """The node's whole answer, which may be a refusal."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        found: dict[str, Any] = json.load(response)
    return found


@dataclass(slots=True)
class Ground:
    """A token of units and one of deeds under one registry, in whatever state the examples leave them."""

    runner: asyncio.Runner
    stack: AsyncExitStack
    world: World = field(init=False)
    office: Office = field(init=False)
    tokens: dict[bool, tuple[str, bytes]] = field(default_factory=dict)  # by whether it is of deeds
    burned: int = 0
    said: list[tuple[int, bool, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    verdicts: dict[str, int] = field(default_factory=dict)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def open(self, database_url: SecretStr, chain_url: str, folder: Path) -> None:
        opened = open_world(make_settings(database_url, chain_url, folder))
        self.world = await self.stack.enter_async_context(opened)
        self.office = await open_office(self.world)
        for of_deeds in (False, True):
            token_id = await self.office.token(kind="deed" if of_deeds else "fungible")
            self.tokens[of_deeds] = token_id, bytes.fromhex(self.office.addresses[token_id][2:])
        for wallet in WALLETS:
            rpc(chain_url, "anvil_impersonateAccount", wallet)
            rpc(chain_url, "anvil_setBalance", wallet, hex(10**18))

    # What happens on the chain

    def send(self, sender: str, to: bytes, data: bytes) -> bool:
        """Whether a transaction succeeded. The node mines it at once, but may answer before it has."""
        sent = {"from": sender, "to": checksum(to), "data": "0x" + data.hex(), "gas": hex(2_000_000)}
        hash_ = rpc(self.world.chain_url, "eth_sendTransaction", sent)
        for _ in range(RECEIPT_QUESTIONS_MAX):
            receipt = rpc(self.world.chain_url, "eth_getTransactionReceipt", hash_)
            if receipt is not None:
                return int(receipt["status"], 16) == 1
            time.sleep(0.005)
        raise AssertionError("the node does not mine")

    def ask(self, artifact: str, to: bytes, function: str, *arguments: Any) -> Any:
        data = "0x" + contracts.encode_call(artifact, function, *arguments).hex()
        answer = rpc(self.world.chain_url, "eth_call", {"to": checksum(to), "data": data}, "latest")
        return contracts.decode_result(artifact, function, bytes.fromhex(answer[2:]))[0]

    def rule(self, artifact: str, to: bytes, function: str, *arguments: Any) -> None:
        """A write of the issuer's; the chain may refuse it."""
        self.burned += 1
        data = contracts.encode_call(artifact, function, *arguments, self.burned.to_bytes(32))
        self.send(checksum(self.world.signer), to, data)

    @property
    def registry(self) -> bytes:
        return bytes.fromhex(self.office.registry[2:])

    def held(self, function: str, *of: Any) -> list[bytes]:
        """The tokens that a wallet has a balance of, or an investor a holding, ascending."""
        asked = {"holding": ("ComplianceRegistry", self.registry)}
        found = []
        for of_deeds, (_, token) in self.tokens.items():
            artifact, to = asked.get(function, ("DeedToken" if of_deeds else "AssetToken", token))
            arguments = (token, *of) if function == "holding" else of
            if self.ask(artifact, to, function, *arguments):
                found.append(token)
        return sorted(found)

    def change(self, kind: str, given: tuple[Any, ...]) -> None:
        """Bring about one change of the state."""
        units, deeds = self.tokens[False][1], self.tokens[True][1]
        match kind:
            case "identity":
                arguments = (*given, self.held("holding", given[0]))
                self.rule("ComplianceRegistry", self.registry, "setIdentity", *arguments)
            case "link":
                arguments = (*given, self.held("balanceOf", given[0]))
                self.rule("ComplianceRegistry", self.registry, "linkWallet", *arguments)
            case "block":
                self.rule("ComplianceRegistry", self.registry, "setBlocked", *given, bytes(32))
            case "policy":
                of_deeds, policy = given
                countries = COUNTRIES[:1] if policy[1] else ()
                self.rule("ComplianceRegistry", self.registry, "setPolicy", self.tokens[of_deeds][1], policy, countries)
            case "lots":
                investor, amount, unlocks_at = given
                lots = (investor, [amount], [unlocks_at])
                self.rule("ComplianceRegistry", self.registry, "setLots", units, *lots)
            case _:
                self.change_token(kind, given, units, deeds)

    def change_token(self, kind: str, given: tuple[Any, ...], units: bytes, deeds: bytes) -> None:
        match kind:
            case "freeze":
                frozen = self.ask("AssetToken", units, "getFrozenTokens", given[0])
                self.rule("AssetToken", units, "setFrozenTokensIf", given[0], frozen, given[1])
            case "freeze-deed":
                account, deed_id, frozen = given
                former = self.ask("DeedToken", deeds, "getFrozenTokens", account, deed_id)
                self.rule("DeedToken", deeds, "setFrozenTokensIf", account, deed_id, former, frozen)
            case "pause":
                of_deeds, paused = given
                self.rule("AssetToken", self.tokens[of_deeds][1], "pause" if paused else "unpause")
            case "mint":
                self.rule("AssetToken", units, "mint", *given)
            case "mint-deed":
                self.rule("DeedToken", deeds, "mintDeed", *given, "", bytes(32))
            case "approve":
                holder, spender, amount = given
                self.send(holder, units, contracts.encode_call("AssetToken", "approve", spender, amount))
            case "approve-deed":
                spender, deed_id = given
                data = contracts.encode_call("DeedToken", "approve", spender, deed_id)
                for holder in WALLETS:
                    self.send(holder, deeds, data)
            case _:
                raise AssertionError(kind)

    def cure(self, kind: str, given: tuple[Any, ...]) -> None:
        """Take back what would else stop all that follows."""
        match kind:
            case "identity":
                self.change(kind, (*given[:2], 2, NEVER))
            case "block":
                self.change(kind, (given[0], False))
            case "pause":
                self.change(kind, (given[0], False))
            case "freeze":
                self.change(kind, (given[0], 0))
            case "freeze-deed":
                self.change(kind, (*given[:2], False))
            case "policy":
                self.change(kind, (given[0], (1, 0, 0, 0, 0)))
            case "lots":
                self.change(kind, (given[0], 1, LAST_YEAR))

    # What is asked, and what is so

    async def preview(self, of_deeds: bool, body: dict[str, str], at_block: int | None = None) -> dict[str, Any]:
        suffix = "" if at_block is None else f"?at_block={at_block}"
        answer = await self.world.post(f"/v1/tokens/{self.tokens[of_deeds][0]}/preview{suffix}", body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def owner(self, deed_id: int) -> str | None:
        """Who holds a deed."""
        data = "0x" + contracts.encode_call("DeedToken", "ownerOf", deed_id).hex()
        call = {"to": checksum(self.tokens[True][1]), "data": data}
        answer = answer_of(self.world.chain_url, "eth_call", call, "latest").get("result")
        return None if answer is None else checksum(bytes.fromhex(answer[-40:]))

    def judge(
        self, of_deeds: bool, holder: str, to: str, amount: int, deed_id: int, spender: str | None, by_owner: bool
    ) -> None:
        """Preview a transfer, then make it for real; the state is put back."""
        if of_deeds and by_owner:
            holder = self.owner(deed_id) or holder
        spender = None if spender == holder else spender
        what = deed_id if of_deeds else amount
        body = {"from": holder, "to": to, "deed_id" if of_deeds else "amount": str(what)}
        told = self.run(self.preview(of_deeds, body | ({"spender": spender} if spender else {})))

        token, artifact = self.tokens[of_deeds][1], "DeedToken" if of_deeds else "AssetToken"
        direct = not of_deeds and spender is None
        data = contracts.encode_call(
            artifact, *(("transfer", to, what) if direct else ("transferFrom", holder, to, what))
        )
        sender, url = spender or holder, self.world.chain_url
        simulated = answer_of(
            url, "eth_call", {"from": sender, "to": checksum(token), "data": "0x" + data.hex()}, "latest"
        )
        before = rpc(url, "evm_snapshot")
        passed = self.send(sender, token, data)
        rpc(url, "evm_revert", before)

        assert told["allowed"] == passed == ("error" not in simulated), (told, simulated)
        rule = told["rule"]
        restricted = self.ask(artifact, token, "explainTransfer", spender or ZERO, holder, to, what)
        if passed:
            assert (told["problem"], rule, restricted[0]) == (None, None, 0)
        else:
            revert = decode_revert(bytes.fromhex(simulated["error"]["data"][2:]))
            assert (told["problem"]["revert"]["name"], told["problem"]["revert"]["arguments"]) == (
                revert.name,
                revert.arguments,
            )
            assert rule is not None or revert.name in UNRULED
            assert (rule["code"] if rule else 0) == restricted[0]
            if revert.name == "TransferRestricted":
                assert rule["code"] == int(revert.arguments["code"])
        named = rule["name"] if rule else told["problem"]["revert"]["name"] if told["problem"] else "allowed"
        self.verdicts[named] = self.verdicts.get(named, 0) + 1
        self.said.append((told["at"]["block"], of_deeds, body | ({"spender": spender} if spender else {}), told))

    def still(self, random: Random) -> None:
        """What was said of a former block is said of it again."""
        block, of_deeds, body, told = random.choice(self.said[-REMEMBERED:])
        again = self.run(self.preview(of_deeds, body, block))
        for answer in (told, again):
            answer["at"] = {name: answer["at"][name] for name in ("block", "hash")}
        assert again == told


def test_a_preview_is_what_happens(database_url: SecretStr, own_chain_url: str, tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        ground = Ground(runner, AsyncExitStack())
        try:
            ground.run(ground.open(database_url, own_chain_url, tmp_path / "keystore"))
            ground.change("link", (WALLETS[3], INVESTORS[0]))
            for number, wallet in enumerate(WALLETS[:3]):
                ground.change("identity", (INVESTORS[number], COUNTRIES[number % 2], 2, NEVER))
                ground.change("link", (wallet, INVESTORS[number]))
                ground.change("mint", (wallet, 10))
                ground.change("mint-deed", (wallet, number + 1))

            @STATES
            # Strategies of values would come in clumps: a hundred pauses, and no lot.
            @given(st.randoms(use_true_random=True))
            def holds(random: Random) -> None:
                changes = [(kind, chosen(random, options)) for kind, options in random.choices(CHANGES, k=3)]
                for change in changes:
                    ground.change(*change)
                ground.run(ground.world.index())
                for of_deeds in (False, False, True):
                    ground.judge(of_deeds, *chosen(random, MOVE))
                ground.still(random)
                if random.random() < CURED:
                    for change in changes:
                        ground.cure(*change)

            holds()
            # A law that only ever saw refusals, or only one of them, would have seen nothing.
            assert ground.verdicts["allowed"] >= 20
            assert len(ground.verdicts) >= 15, ground.verdicts
        finally:
            ground.run(ground.stack.aclose())
