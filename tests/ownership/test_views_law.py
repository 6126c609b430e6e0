"""Every view of every block says what a replay of the transfers says."""

import asyncio
import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from service.db import Database, ReadConnection
from service.mirror import lines, movements, ownership
from service.mirror.queries import Contract, Holding
from service.ownership import extracts
from service.ownership.ranks import Ranks
from service.ownership.shares import percent
from tests.ownership.naive import CHAIN_ID, NAMES, Move, held_at, history, time_of, write, write_blocks
from tests.ownership.test_lots import WISHES, expected

BLOCKS = 130
NUMBERS = count(1)

EQUALS = [(1, len(NAMES), name, 5) for name in range(len(NAMES))]
"""Everybody is minted as much as everybody else."""


class Asked:
    """A history in the mirror, and every question about one block of it."""

    def __init__(self, connection: ReadConnection, moves: list[Move], contract_id: int, block: int) -> None:
        self.connection, self.moves, self.id, self.block = connection, moves, contract_id, block
        self.held = held_at(moves, block)
        self.supply = sum(self.held.values())

    async def cap_table(self) -> None:
        largest = sorted(self.held.items(), key=lambda row: (row[1], row[0]), reverse=True)
        contract = Contract(self.id, self.id.to_bytes(20), 0, "", 0)
        ranks = Ranks(bytes_max=50)
        ranked = [
            await ranks.page(
                self.connection, contract=contract, block=self.block, block_hash=b"", rank=rank, count_max=2
            )
            for rank in range(0, len(NAMES), 2)
        ]
        assert [(row.account, row.amount) for page in ranked for row in page] == largest
        if all(move.block <= self.block for move in self.moves):
            below, now = None, list[Holding]()
            while page := await ownership.largest_now_page(
                self.connection, contract_id=self.id, below=below, count_max=2
            ):
                now += page
                below = page[-1]
            assert [(row.account, row.amount) for row in now] == largest
        given = {"contract_id": self.id, "block": self.block}
        assert await ownership.holders_count(self.connection, **given) == len(largest)
        spread = await ownership.concentration(self.connection, **given, supply=self.supply)
        assert spread.holders == len(largest) == sum(band.holders for band in spread.bands)
        assert spread.squares == sum(amount**2 for _, amount in largest)
        assert spread.top == [sum(amount for _, amount in largest[:some]) for some in ownership.TOP]
        for band, floor in zip(spread.bands, ownership.BANDS_PPM, strict=True):
            above = [amount for _, amount in largest if amount * 1_000_000 >= floor * self.supply]
            assert band.holders <= len(above)
        assert sum(band.amount for band in spread.bands) == self.supply

    async def running_balances(self) -> None:
        for account in NAMES:
            after, found = None, list[tuple[int, int, int | None]]()
            while page := await movements.holder_transfers_page(
                self.connection, contract_id=self.id, account=account, block=self.block, after=after, count_max=3
            ):
                found += [(transfer.block_number, transfer.log_index % 1_000, held) for transfer, held in page]
                after = (page[-1][0].block_number, page[-1][0].log_index)
            held, replayed = 0, []
            for move in self.moves:
                if move.block <= self.block and account in (move.sender, move.recipient):
                    held += move.amount * ((move.recipient == account) - (move.sender == account))
                    replayed.append((move.block, move.log_index, held))
            assert found == replayed

    async def changes(self, from_block: int) -> None:
        before = held_at(self.moves, from_block)
        both = {account: (before.get(account, 0), self.held.get(account, 0)) for account in NAMES}
        for kept in (None, True, False):
            wanted = {
                account: pair
                for account, pair in both.items()
                if pair[0] != pair[1] and (kept is None or pair[0 if kept else 1] == 0)
            }
            found: dict[bytes, tuple[int, int]] = {}
            after = None
            while page := await ownership.changes_page(
                self.connection,
                contract_id=self.id,
                from_block=from_block,
                block=self.block,
                gained=kept,
                after=after,
                count_max=2,
            ):
                found |= {row.account: (row.before, row.after) for row in page}
                after = page[-1].account
            assert found == wanted
            assert list(found) == sorted(found)

    async def periods(self) -> None:
        starts: dict[str, dict[datetime, int]] = {"day": {}, "week": {}, "month": {}}
        for block in range(self.block + 1):
            day = time_of(block).astimezone(UTC).replace(hour=0)
            starts["day"][day] = block
            starts["week"][day - timedelta(days=day.weekday())] = block
            starts["month"][day.replace(day=1)] = block
        for period, ends in starts.items():
            expected, before = [], set[bytes]()
            for start, end in ends.items():
                now = set(held_at(self.moves, end))
                if now != before:
                    expected.append((start, len(now - before), len(before - now), len(now)))
                before = now
            found = await ownership.periods(
                self.connection,
                chain_id=CHAIN_ID,
                contract_id=self.id,
                first_block=0,
                block=self.block,
                period=period,
            )
            assert [(each.start, each.gained, each.lost, each.holders) for each in found] == expected

    async def exports(self) -> None:
        after, text = None, ""
        while page := await lines.holding_lines(
            self.connection, contract_id=self.id, block=self.block, supply=self.supply, after=after, count_max=2
        ):
            text += page
            after = bytes.fromhex(page.splitlines()[-1].split(",")[0][2:])
        rows = [("0x" + a.hex(), str(held), percent(held, self.supply)) for a, held in sorted(self.held.items())]
        assert [tuple(row) for row in csv.reader(io.StringIO(text))] == rows
        position, last = (b"\xff" * 21, 0, 0, 0), False
        told: list[list[str]] = []
        while not last:
            received = await movements.all_receipts_page(
                self.connection, contract_id=self.id, block=self.block, before=position[:3], count_max=3
            )
            made, following = extracts.lots_of(received, position, page_rows=3)
            told += csv.reader(io.StringIO(made))
            last, position = following is None, following or position
        assert [(row[0], int(row[3]), int(row[4]) % 1_000, int(row[1])) for row in told] == [
            ("0x" + account.hex(), *lot)
            for account in sorted(NAMES, reverse=True)
            for lot in expected(self.moves, account, self.block)
        ]


@pytest.fixture
def mirrored(database_url: SecretStr) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with psycopg.connect(database_url.get_secret_value(), autocommit=True) as connection:
        write_blocks(connection, BLOCKS)
        yield connection


def test_every_view_is_what_the_transfers_say(
    mirrored: psycopg.Connection[tuple[Any, ...]], database_url: SecretStr, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = Database(database_url, role="muniment_api")

    async def ask(moves: list[Move], block: int, from_block: int) -> None:
        contract_id = write(mirrored, next(NUMBERS), moves)
        async with db.read() as connection:
            asked = Asked(connection, moves, contract_id, block)
            await asked.cap_table()
            await asked.running_balances()
            await asked.changes(from_block)
            monkeypatch.setattr(ownership, "NARROW_TRANSFERS_MAX", -1)
            await asked.changes(from_block)
            monkeypatch.undo()
            await asked.periods()
            await asked.exports()

    with asyncio.Runner() as runner:
        runner.run(db.open())

        @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
        @given(WISHES, st.integers(1, BLOCKS - 1), st.integers(0, BLOCKS - 1))
        @example(EQUALS, BLOCKS - 1, 0)
        def check(wishes: list[tuple[int, int, int, int]], block: int, from_block: int) -> None:
            runner.run(ask(history(wishes), block, min(from_block, block)))

        check()
        runner.run(db.close())
