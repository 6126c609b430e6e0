"""Law 8: plaintext leaves the vault only after its entry is durable. And no budget is passed by many at once."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from scripts import local
from service.vault import revealing
from tests.conftest import TEMPLATE, clone, drop
from tests.vault.desk import CARD, Desk, open_desk
from tests.vault.reveals import change_rules, key_id, reveal, suspensions

T = TypeVar("T")

MACHINES = settings(
    max_examples=12,
    stateful_step_count=8,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # what is asked at once ends differently each time, so a failure does not shrink
    suppress_health_check=list(HealthCheck),
)

SUBJECTS = ("ada", "bob", "cleo", "dora")
KEYS = 2

Batch = tuple[int, list[int]]
BATCHES = st.lists(
    st.tuples(st.integers(0, KEYS - 1), st.lists(st.integers(0, len(SUBJECTS) - 1), min_size=1, max_size=4)),
    min_size=1,
    max_size=6,
)


@dataclass(slots=True)
class Ground:
    """A desk, and what was opened there before its entry could be read by others."""

    runner: asyncio.Runner
    desk: Desk
    keys: list[str]
    opened: Counter[tuple[str, str]] = field(default_factory=Counter)
    too_early: list[str] = field(default_factory=list)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)


@pytest.fixture
def ground(
    postgres: local.Postgres, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ground]:
    """One that all examples share, each with a policy of its own."""
    stack = AsyncExitStack()
    with asyncio.Runner() as runner:
        database_url = clone(postgres, TEMPLATE, "reveal_law")
        desk = runner.run(stack.enter_async_context(open_desk(database_url, tmp_path_factory.mktemp("law"))))
        keys = [runner.run(desk.new_key(caller=f"caller {each}")) for each in range(KEYS)]
        found, opened = Ground(runner, desk, keys), revealing.opened

        async def watched(vault: Any, caller: Any, wanted: revealing.Found) -> Any:
            named = '["' + '","'.join(each.index.hex() for each in wanted.wanted) + '"]'
            found.opened[caller.key_id, named] += 1
            bodies = await desk.rows("SELECT body FROM journal_entries WHERE kind = 'vault.revealed'")
            written = sum(named in body and caller.key_id in body for (body,) in bodies)
            if written < found.opened[caller.key_id, named]:
                found.too_early.append(named)
            return await opened(vault, caller, wanted)

        monkeypatch.setattr(revealing, "opened", watched)
        yield found
        runner.run(stack.aclose())
    drop(postgres, "reveal_law")


class Reveals(RuleBasedStateMachine):
    """Callers at once, limits that change, suspensions that are lifted, and a journal that refuses now and then."""

    def __init__(self, ground: Ground) -> None:
        super().__init__()
        self.ground, self.desk = ground, ground.desk
        self.values = [0] * KEYS
        self.subjects: list[set[int]] = [set() for _ in range(KEYS)]
        self.entries = 0
        self.broken = False

    @initialize(values_max=st.integers(0, 12), subjects_max=st.integers(0, 4))
    def open(self, values_max: int, subjects_max: int) -> None:
        """A policy with its limits, and a value of each subject."""
        self.values_max, self.subjects_max = values_max, subjects_max
        self.policy = self.ground.run(self.desk.policy(reveal=self.limits()))
        items: list[str | dict[str, Any]] = [{"value": CARD, "subject": each} for each in SUBJECTS]
        self.tokens = [each["token"] for each in self.ground.run(self.desk.tokenize(self.policy, *items))]
        self.lift()

    def limits(self) -> dict[str, Any]:
        limits = {"daily_max": self.values_max, "subjects_daily_max": self.subjects_max}
        return {"purposes": ["support"], "views": ["plain"], **limits}

    @rule(batches=BATCHES)
    def ask(self, batches: list[Batch]) -> None:
        """Several reveals at once."""

        async def all_of_them() -> list[Any]:
            asked = (
                reveal(self.desk, *(self.tokens[at] for at in of), key=self.ground.keys[who]) for who, of in batches
            )
            return await asyncio.gather(*asked)

        for (who, of), answer in zip(batches, self.ground.run(all_of_them()), strict=True):
            if answer.status_code != 200:
                assert "4111" not in answer.text
                assert answer.status_code in (403, 503), answer.text
                continue
            assert not self.broken
            self.entries += 1
            self.values[who] += len(of)
            self.subjects[who] |= set(of)

    @rule()
    def lift(self) -> None:
        """Every suspended key reveals again."""
        for key in self.ground.keys:
            for each in self.ground.run(suspensions(self.desk, key)):
                self.ground.run(self.desk.post(f"/suspensions/{each['id']}/lift"))

    @rule(more=st.integers(1, 6))
    def allow(self, more: int) -> None:
        """The limits are raised."""
        self.values_max, self.subjects_max = self.values_max + more, self.subjects_max + 1
        assert self.ground.run(change_rules(self.desk, self.policy, self.limits())).status_code == 200

    @rule()
    def break_or_mend(self) -> None:
        """The journal takes no reveals, or takes them again."""
        self.broken = not self.broken
        self.ground.run(self.desk.alter(BROKEN if self.broken else MENDED))

    def teardown(self) -> None:
        if self.broken:
            self.ground.run(self.desk.alter(MENDED))

    @invariant()
    def nothing_was_opened_too_early(self) -> None:
        assert self.ground.too_early == []

    @invariant()
    def what_was_seen_is_what_was_counted_and_what_was_recorded(self) -> None:
        if not hasattr(self, "policy"):
            return
        assert max(self.values) <= self.values_max
        assert max(len(each) for each in self.subjects) <= self.subjects_max
        query = "SELECT key_id, values_count, subjects_count FROM vault.reveal_counts WHERE policy_id = %s"
        counted = {key: tuple(rest) for key, *rest in self.ground.run(self.desk.rows(query, self.policy))}
        for at, key in enumerate(self.ground.keys):
            assert counted.get(key_id(key), (0, 0)) == (self.values[at], len(self.subjects[at]))
        recorded = self.ground.run(
            self.desk.rows(
                "SELECT count(*) FROM journal_entries WHERE kind = 'vault.revealed' AND body LIKE %s",
                f"%{self.policy}%",
            )
        )
        assert recorded == [(self.entries,)]


BROKEN = "ALTER TABLE journal_entries ADD CONSTRAINT broken CHECK (kind <> 'vault.revealed') NOT VALID"
MENDED = "ALTER TABLE journal_entries DROP CONSTRAINT broken"


def test_what_is_seen_was_recorded_before_and_within_its_budget(ground: Ground) -> None:
    run_state_machine_as_test(lambda: Reveals(ground), settings=MACHINES)  # type: ignore[arg-type]
