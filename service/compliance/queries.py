"""What the mirror knows of an issuer's registries: investors and their wallets, and which tokens count for them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from service.addresses import checksum
from service.compliance.problems import PolicyMissing, SubjectNotFound, TokenUnregulated
from service.db import ReadConnection
from service.deployments import queries as deployments
from service.deployments.queries import Target
from service.mirror import facts
from service.mirror import queries as mirror
from service.mirror.facts import KeyState
from service.mirror.queries import Contract, Label
from service.tokens import queries as tokens
from service.tokens.queries import Token

ROWS_MAX = 1_000
"""Rows of one question of a walk."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A token with a policy. The registry knows its holdings as of `block`: later moves it was not told of."""

    contract: Contract
    block: int


async def registry_of(connection: ReadConnection, *, issuer_id: UUID, kind: str, label: Label) -> Contract | None:
    """The issuer's registry of a kind at the label's block; None before it was there.

    Raises:
        ContractMissing: the issuer never asked for one.
    """
    asked = await deployments.asked_for(connection, issuer_id=issuer_id, kind=kind)
    return await mirror.contract(connection, chain_id=label.chain, address=asked.address, block=label.block)


async def _states(connection: ReadConnection, contract: Contract, aspect: str, block: int) -> AsyncIterator[KeyState]:
    after: bytes | None = None
    while True:
        rows = await facts.states_page(
            connection, contract_id=contract.id, aspect=aspect, block=block, after=after, count_max=ROWS_MAX
        )
        for row in rows:
            yield row
        if len(rows) < ROWS_MAX:
            return
        after = rows[-1].key


async def wallets_of(connection: ReadConnection, registry: Contract, *, investor: bytes, block: int) -> list[bytes]:
    """The wallets that were linked to an investor at the end of a block, in address order."""
    return await facts.wallets_of(connection, contract_id=registry.id, investor=investor, block=block)


async def counted_tokens(connection: ReadConnection, registry: Contract, label: Label) -> list[Counted]:
    """The tokens that a registry counts the holdings of, with the block up to which it was told of their moves."""
    addresses = [row.key async for row in _states(connection, registry, "policy", label.block)]
    known = await mirror.contract_states(connection, chain_id=label.chain, addresses=addresses, block=label.block)
    found = [await _counted(connection, registry, token, label.block) for token in known.values()]
    return sorted((each for each in found if each is not None), key=lambda each: each.contract.address)


async def _counted(connection: ReadConnection, registry: Contract, token: Contract, block: int) -> Counted | None:
    """Which registries the token had is a short story: one from the start, and perhaps none later on."""
    entries = await facts.state_history_page(
        connection,
        contract_id=token.id,
        aspect="registry",
        key=b"",
        block=block,
        after_block=None,
        count_max=ROWS_MAX,
    )
    ours, until = False, block
    for entry in entries:
        if entry.state is None:
            until = entry.from_block
            break
        ours = bytes.fromhex(entry.state["registry"][2:]) == registry.address
    return Counted(token, until) if ours else None


async def tokens_of_wallet(connection: ReadConnection, target: Target, wallet: bytes) -> list[bytes]:
    """The registered tokens of which a wallet has a balance, ascending, as `linkWallet` asks for them.

    A token that has given up the registry is among them, with what it was when it did.
    """
    registry, label = await _now(connection, target)
    return [
        each.contract.address
        for each in await counted_tokens(connection, registry, label)
        if await _holds(connection, each, wallet)
    ]


async def _holds(connection: ReadConnection, token: Counted, wallet: bytes) -> bool:
    held = await mirror.holding(connection, contract_id=token.contract.id, account=wallet, block=token.block)
    return held > 0


async def tokens_of_investor(connection: ReadConnection, target: Target, investor: bytes) -> list[bytes]:
    """The registered tokens that an investor holds over all wallets, ascending, as `setIdentity` asks for them."""
    registry, label = await _now(connection, target)
    counted = await counted_tokens(connection, registry, label)
    # Units of a token that has given up the registry stay counted with whose wallets held them then.
    wallets = {
        block: await wallets_of(connection, registry, investor=investor, block=block)
        for block in {each.block for each in counted}
    }
    held = []
    for each in counted:
        for wallet in wallets[each.block]:
            if await _holds(connection, each, wallet):
                held.append(each.contract.address)
                break
    return held


async def _now(connection: ReadConnection, target: Target) -> tuple[Contract, Label]:
    label = await mirror.label(connection, chain_id=target.chain_id, at_block=None)
    found = await mirror.contract(connection, chain_id=target.chain_id, address=target.address, block=label.block)
    assert found is not None, "a required contract is mirrored"
    return found, label


async def require_subject(connection: ReadConnection, *, issuer_id: UUID, address: bytes) -> None:
    """Make sure that an address is a token or another contract of the issuer, on the chain or on its way.

    Raises:
        SubjectNotFound: it is neither.
    """
    if address in await tokens.tokens_by_address(connection, issuer_id=issuer_id):
        return
    if address not in {each.address for each in await deployments.deployments(connection, issuer_id=issuer_id)}:
        raise SubjectNotFound(
            f"{checksum(address)} is no token and no contract of this issuer: GET /v1/tokens and /v1/contracts"
        )


def require_regulated(token: Token) -> None:
    """Make sure that a token asks the registry.

    Raises:
        TokenUnregulated: it was deployed without.
    """
    if not token.terms.get("compliance"):
        raise TokenUnregulated("no registry is asked about its moves: deploy a token with `compliance`")


async def policy(connection: ReadConnection, registry: Contract | None, token: Token, label: Label) -> dict[str, Any]:
    """The policy of a token as the mirror keeps it.

    Raises:
        PolicyMissing: it had none at the label's block.
    """
    found = None
    if registry is not None:
        found = await facts.state(
            connection, contract_id=registry.id, aspect="policy", key=token.address, block=label.block
        )
    if found is None:
        raise PolicyMissing(
            f"at block {label.block} there was no policy: set one with POST /v1/tokens/{token.id}/policy",
            token_id=str(token.id),
        )
    return found
