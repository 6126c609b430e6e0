"""The beacon of an adopted proxy is followed, for what it says of the code behind the proxy."""

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak
from structlog.testing import capture_logs

from service.addresses import checksum
from service.db import Database
from service.mirror import adopting, adoptions, proxies
from service.mirror.adopting import Adopter
from service.mirror.verify import Scope, verify
from tests.mirror.test_adopting import adopt, want, worked
from tests.mirror.world import CHAIN_ID, Ledger, Mirror
from tests.tokens.others import odd_code

STEPS_MAX = 40


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adopting, "LOOK_S", 0.0)
    monkeypatch.setattr(adopting, "DEFER_S", 0.0)


class Estate:
    """A token behind a beacon, and implementations that it may name."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.codes = [self.made("OddToken") for _ in range(3)]
        self.beacon = self.made("OddBeacon", self.codes[0])
        self.token = self.made("OddBeaconProxy", self.beacon)

    def made(self, name: str, *given: bytes) -> bytes:
        """A new contract that is given addresses."""
        code = odd_code(name) + encode(["address"] * len(given), given)
        return self.ledger._create(code, self.ledger.accounts[0])

    def tell(self, contract: bytes, function: str, address: bytes) -> None:
        """Call a function of one address."""
        data = keccak(f"{function}(address)".encode())[:4] + encode(["address"], [address])
        self.ledger._do(contract, data, self.ledger.accounts[0])


@pytest.fixture
def estate(ledger: Ledger) -> Estate:
    return Estate(ledger)


async def settled(mirror: Mirror, adopter: Adopter | None = None) -> None:
    """Let an indexer work for as long as there is something to begin."""
    adopter = adopter or Adopter(mirror.db, mirror.chain, chain_id=CHAIN_ID)
    for _ in range(STEPS_MAX):
        await adopter.step(mirror.lease)
        await worked(adopter)
        await mirror.step()
        if not adopter.busy:
            break
    await adopter.aclose()


async def told(mirror: Mirror, token: bytes) -> dict[str, str]:
    """The implementation and the beacon of a token, as of the newest block."""
    label = await mirror.label()
    contract = await mirror.contract(token, label.block)
    assert contract is not None
    async with mirror.db.read() as connection:
        found = await proxies.behind(connection, contract_ids=[contract.id], block=label.block)
    return found.get(contract.id, {})


async def test_it_agrees_with_the_chain_and_follows_it_through_a_reorganisation(
    mirror: Mirror, ledger: Ledger, estate: Estate, db: Database
) -> None:
    _, two, three = map(checksum, estate.codes)
    estate.tell(estate.beacon, "upgradeTo", estate.codes[1])
    ledger.mine(3)
    await mirror.converge()
    await want(db, estate.token)
    assert (await adopt(mirror))[0] == "live"
    await settled(mirror)
    assert await told(mirror, estate.token) == {"beacon": checksum(estate.beacon), "implementation": two}
    estate.tell(estate.beacon, "upgradeTo", estate.codes[2])
    await mirror.converge()
    assert (await told(mirror, estate.token))["implementation"] == three
    ledger.reorg(1)
    await mirror.converge()
    assert (await told(mirror, estate.token))["implementation"] == two
    given: dict[str, Any] = {"chain_id": CHAIN_ID, "factory": ledger.factory, "progress": None}
    report = await verify(mirror.db, mirror.chain, scope=Scope(history_from=0), **given)
    assert (report.differences, report.findings) == ((), ())


async def test_cut_short_before_it_is_shown_another_process_begins_anew(
    mirror: Mirror, ledger: Ledger, estate: Estate, db: Database
) -> None:
    ledger.mine(3)
    await mirror.converge()
    await want(db, estate.token)
    await adopt(mirror)
    killed = Adopter(mirror.db, mirror.chain, chain_id=CHAIN_ID)
    await killed.step(mirror.lease)
    await worked(killed)
    await killed.aclose()
    assert await mirror.contract(estate.beacon, ledger.height()) is None
    await settled(mirror)
    assert (await told(mirror, estate.token))["implementation"] == checksum(estate.codes[0])


async def test_what_is_no_beacon_is_not_followed_and_refused_once(
    mirror: Mirror, ledger: Ledger, estate: Estate, db: Database
) -> None:
    proxy = estate.made("OddProxy", estate.codes[0])
    estate.tell(proxy, "announceBeacon", estate.codes[1])
    ledger.mine(3)
    await mirror.converge()
    await want(db, proxy)
    assert (await adopt(mirror))[0] == "live"
    adopter = Adopter(mirror.db, mirror.chain, chain_id=CHAIN_ID)
    with capture_logs() as logs:
        for _ in range(3):
            await adopter.step(mirror.lease)
            await worked(adopter)
            await adopter.step(mirror.lease)
    await adopter.aclose()
    assert [entry["reason"] for entry in logs if entry["event"] == "adoption_refused"] == ["no-beacon"]
    assert await mirror.contract(estate.codes[1], ledger.height()) is None


async def test_of_a_proxy_that_names_many_so_many_are_followed(
    mirror: Mirror, ledger: Ledger, estate: Estate, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxies, "BEACONS_MAX", 2)
    proxy = estate.made("OddProxy", estate.codes[0])
    beacons = [estate.made("OddBeacon", estate.codes[0]) for _ in range(3)]
    for beacon in beacons:
        estate.tell(proxy, "announceBeacon", beacon)
    ledger.mine(3)
    await mirror.converge()
    await want(db, proxy)
    await adopt(mirror)
    for _ in range(4):
        await settled(mirror)
    followed = [await mirror.contract(beacon, ledger.height()) is not None for beacon in beacons]
    assert followed == [True, True, False]


async def test_a_beacon_that_changed_without_a_word_is_marked(
    mirror: Mirror, ledger: Ledger, estate: Estate, db: Database
) -> None:
    estate.tell(estate.beacon, "upgradeSilently", estate.codes[2])
    ledger.mine(3)
    await mirror.converge()
    await want(db, estate.token)
    await adopt(mirror)
    await settled(mirror)
    async with mirror.db.read() as connection:
        found = await adoptions.marks(connection, chain_id=CHAIN_ID, addresses=[estate.beacon])
    (mark,) = found[estate.beacon]
    assert mark.name == "proxy-not-announced"
    assert checksum(estate.codes[2]) in mark.detail
