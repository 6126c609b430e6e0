"""`muniment transactions` and `muniment signers`: what operators see and do, against a running deployment."""

import itertools
import json
import os
import pty
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from scripts import local
from scripts.stack import DEV_ADDRESSES, DEV_KEYS, Stack
from service.keys import keystore
from tests.rpc import rpc

FIRST, SECOND, STRANGER = DEV_ADDRESSES
ISSUER = "Harbour Estates"
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A deployment with all its processes and two signers, final after two blocks."""
    folder = Path(tempfile.mkdtemp(prefix="muniment-test-"))
    running = Stack(folder, finality="depth:2", block_time_s=0.1, throw_away=True)
    try:
        running.start(lambda _: None)
        password = SecretStr(running.settings["MUNIMENT_KEYSTORE_PASSWORD"])
        keystore.store(folder / "keystore", password, bytes.fromhex(DEV_KEYS[1]), kdf_iterations=10)
        restart_sender(running)
        yield running
    finally:
        running.stop()


def restart_sender(stack: Stack) -> None:
    """The sender opens the keystore anew."""
    stack.processes["sender"].stop()
    stack.start_process("sender")


def muniment(stack: Stack, *arguments: str, code: int = 0) -> str:
    """What a command wrote; it ended with this code."""
    ended, told = stack.run(*arguments)
    assert ended == code, told
    assert "Traceback" not in told
    return told


def ask(stack: Stack, path: str, body: Any = None, *, key: str | None = None) -> Any:
    """Ask the API; a request that it could not take is sent again under its own key, as a caller does."""
    headers = {"Authorization": f"Bearer {stack.api_key()}", "Content-Type": "application/json"}
    if body is not None:
        headers["Idempotency-Key"] = key or f"flow-{next(NUMBERS)}"
    data = None if body is None else json.dumps(body).encode()
    while True:
        request = urllib.request.Request(f"{stack.api_url}/v1{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise AssertionError(error.read().decode()) from error
            time.sleep(0.05)


def final(stack: Stack, operation: str) -> dict[str, Any]:
    """An operation once it is final."""

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = ask(stack, f"/operations/{operation}")
        return found if found["status"] != "pending" else None

    return local.wait_for(ended, what=f"the end of {operation}")


@pytest.fixture(scope="module")
def token(stack: Stack) -> str:
    """A token's id."""
    assert final(stack, ask(stack, "/authority", {})["id"])["status"] == "succeeded"
    asset = ask(stack, "/assets", {"name": "12 Harbour Street", "category": "house"})["id"]
    deployed = ask(stack, "/tokens", {"asset_id": asset, "name": "Harbour", "symbol": "HARB"})
    assert final(stack, deployed["id"])["status"] == "succeeded"
    return str(deployed["token_id"])


@pytest.fixture
def holder(stack: Stack) -> str:
    """A managed account that has nothing."""
    return str(ask(stack, "/accounts", {"label": f"holder {next(NUMBERS)}"})["address"])


@contextmanager
def nothing_sent(stack: Stack) -> Iterator[None]:
    """The sender stands still until the end of the block."""
    os.kill(stack.processes["sender"].pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(stack.processes["sender"].pid, signal.SIGCONT)


def mint(stack: Stack, token: str, holder: str, *, key: str | None = None) -> str:
    """Ask for one unit; the operation's id."""
    return str(ask(stack, f"/tokens/{token}/mint", {"to": holder, "amount": "1"}, key=key)["id"])


def newest(stack: Stack) -> dict[str, Any]:
    """The newest transaction."""
    found: dict[str, Any] = json.loads(muniment(stack, "transactions", "list", "--limit", "1", "--json"))["data"][0]
    return found


def test_transactions_are_listed_and_shown_by_id_and_by_hash(stack: Stack, token: str, holder: str) -> None:
    operation = mint(stack, token, holder)
    sent = final(stack, operation)["transaction"]
    listed = newest(stack)
    assert listed["operation"] == {"id": operation, "kind": "token.mint", "status": "succeeded"}
    table = muniment(stack, "transactions", "list", "--issuer", ISSUER, "--signer", FIRST)
    assert listed["id"] in table
    assert "token.mint" in table
    for name in (listed["id"], sent["hash"]):
        told = muniment(stack, "transactions", "show", name)
        for word in (sent["hash"], operation, FIRST, "versions", "signatures", "allowed"):
            assert word in told
    assert json.loads(muniment(stack, "transactions", "show", sent["hash"], "--json"))["id"] == listed["id"]
    assert muniment(stack, "transactions", "list", "--stuck").strip() == "no transactions"


def test_what_waits_is_approved_bumped_or_cancelled_by_whoever_operates(stack: Stack, token: str, holder: str) -> None:
    with nothing_sent(stack):
        operation = mint(stack, token, holder)
        id_ = newest(stack)["id"]
        assert "only what has a nonce" in muniment(stack, "transactions", "bump", id_, code=2)
        assert "approved by operator Ada" in muniment(stack, "transactions", "approve", id_, "--by", "Ada")
        assert f"{id_} is cancelled" in muniment(stack, "transactions", "cancel", id_)
        assert "it is cancelled" in muniment(stack, "transactions", "cancel", id_, code=2)
    assert final(stack, operation)["status"] == "failed"
    assert ask(stack, f"/tokens/{token}/holders/{holder}")["amount"] == "0"
    assert "operator Ada" in muniment(stack, "transactions", "show", id_)


def test_endpoints_are_listed_by_number_and_host_and_look_dead_with_their_sender(stack: Stack) -> None:
    def up() -> dict[str, Any] | None:
        rows = json.loads(muniment(stack, "transactions", "endpoints", "--json"))["data"]
        return rows[0] if rows and rows[0]["head"] is not None else None

    told = local.wait_for(up, what="word of the endpoint")
    assert (told["name"], told["state"], told["failures"]) == ("endpoint 1 (127.0.0.1)", "up", 0)
    assert stack.postgres is not None
    with nothing_sent(stack):
        with psycopg.connect(stack.postgres.url) as connection:
            connection.execute("UPDATE endpoints SET seen_at = now() - interval '1 hour'")
        table = muniment(stack, "transactions", "endpoints")
    for word in ("endpoint 1 (127.0.0.1)", "unknown", "60 min ago"):
        assert word in table


def test_what_cannot_be_is_one_sentence(stack: Stack) -> None:
    for arguments, told in (
        (("transactions", "show", "0x12"), "name a transaction by its id, or by a hash"),
        (("transactions", "show", "0x" + "00" * 32), "no such transaction"),
        (("transactions", "list", "--status", "lost"), "--status is one of queued, pending"),
        (("transactions", "list", "--issuer", "Nobody"), "there is no issuer 'Nobody'"),
        (("transactions", "list", "--watch"), "--watch draws on a terminal"),
        (("transactions", "resume", STRANGER), "no sender has ever looked at"),
        (("signers", "rotate", FIRST, FIRST, "--issuer", ISSUER), "name another one"),
        (("signers", "rotate", FIRST, STRANGER, "--issuer", ISSUER), "there is no key for"),
        (("signers", "rotate", SECOND, FIRST, "--issuer", ISSUER), "already"),
        (("keys", "create", "--issuer", ISSUER, "--scope", "everything"), "Invalid value"),
    ):
        said = muniment(stack, *arguments, code=2)
        assert told in said, said


def test_a_policy_is_set_shown_and_obeyed_and_a_frozen_signer_is_told_and_resumed(
    stack: Stack, token: str, holder: str
) -> None:
    assert "it may sign anything" in muniment(stack, "signers", "policy", FIRST)
    file = stack.folder / "policy.json"
    file.write_text('{"rate_max": "many"}')
    assert "rate_max" in muniment(stack, "signers", "policy", FIRST, "--set", str(file), code=2)
    file.write_text('{"rate_max": 100000}')
    assert json.loads(muniment(stack, "signers", "policy", FIRST, "--set", str(file)))["rate_max"] == 100_000
    assert "is frozen" in muniment(stack, "signers", "freeze", FIRST)
    operation = mint(stack, token, holder)

    def halted() -> dict[str, Any] | None:
        rows = json.loads(muniment(stack, "transactions", "signers", "--json"))["data"]
        (found,) = (row for row in rows if row["address"] == FIRST)
        return found if found["halt"] is not None else None

    told = local.wait_for(halted, what="the halt")
    assert (told["halt"], told["frozen"], told["policy"]["rate_max"]) == ("frozen", True, 100_000)
    assert "nothing:" in muniment(stack, "transactions", "signers")
    assert json.loads(muniment(stack, "transactions", "list", "--stuck", "--json"))["data"][0]["last_error"] == "frozen"
    muniment(stack, "signers", "unfreeze", FIRST)
    assert "tried again now" in muniment(stack, "transactions", "resume", FIRST)
    assert final(stack, operation)["status"] == "succeeded"


def test_a_terminal_is_drawn_anew_until_an_interruption(stack: Stack, token: str, holder: str) -> None:
    final(stack, mint(stack, token, holder))
    command = [sys.executable, "-m", "service.cli", "transactions", "list", "--watch"]
    ours, theirs = pty.openpty()
    environment = {**os.environ, **stack.settings, "TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen(
        command, cwd=local.ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    read_until(ours, lambda seen: seen.count("token.mint") >= 1)
    with nothing_sent(stack):
        operation = mint(stack, token, holder)
        read_until(ours, lambda seen: "queued" in seen)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    os.close(ours)
    final(stack, operation)


def read_until(terminal: int, enough: Callable[[str], bool]) -> None:
    """Read what is drawn until it is enough."""
    seen = b""
    end_s = time.monotonic() + 30
    while not enough(seen.decode(errors="replace")):
        assert time.monotonic() < end_s, seen.decode(errors="replace")
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 65_536)


# Rotation


@dataclass(slots=True)
class Minting:
    """Mints one unit after another until it is stopped, each under a key of its own."""

    stack: Stack
    token: str
    holder: str
    operations: list[str] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def _run(self, name: int) -> None:
        for number in itertools.count():
            if self._stopped.is_set():
                return
            try:
                self.operations.append(mint(self.stack, self.token, self.holder, key=f"rotating-{name}-{number}"))
            except BaseException as error:
                self.failures.append(error)
                return
            time.sleep(0.02)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Until the end of the block."""
        start = next(NUMBERS) * 10
        threads = [threading.Thread(target=self._run, args=(start + name,)) for name in range(3)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()
        assert self.failures == []


def roles(stack: Stack, account: str) -> dict[str, int]:
    """The roles of an account with their delays, as the API tells them."""
    rows = ask(stack, "/roles?limit=200")["data"]
    return {row["role"]: row["delay_s"] for row in rows if row["account"] == account}


def test_a_signer_is_rotated_while_mints_go_on_and_each_happens_once(stack: Stack, token: str, holder: str) -> None:
    final(stack, ask(stack, "/roles/grant", {"role": "enforcer", "account": FIRST, "delay_s": 3600})["id"])
    held = roles(stack, FIRST)
    assert (held["enforcer"], held["minter"]) == (3600, 0)
    minting = Minting(stack, token, holder)
    with minting.going_on():
        told = muniment(stack, "signers", "rotate", FIRST, SECOND, "--issuer", ISSUER)
        time.sleep(0.5)
    for step in ("grant", "switch", "drain", "revoke", "done"):
        assert step in told
    ended = [final(stack, each) for each in minting.operations]
    assert {each["status"] for each in ended} == {"succeeded"}
    assert {each["transaction"]["signer"] for each in ended} == {FIRST, SECOND}
    assert ask(stack, f"/tokens/{token}/holders/{holder}")["amount"] == str(len(minting.operations))
    assert (roles(stack, FIRST), roles(stack, SECOND)) == ({}, held)
    again = muniment(stack, "signers", "rotate", FIRST, SECOND, "--issuer", ISSUER, code=2)
    assert "already, and nothing is left" in again
    # The factory's administrator stays what it is, and the successor deploys.
    assert "still administers the factory" in told
    assert final(stack, ask(stack, "/contracts", {"kind": "documents"})["id"])["status"] == "succeeded"
    assert muniment(stack, "verify")


def without_operation(stack: Stack) -> int:
    """How many transactions serve no operation and close no gap: those of rotations."""
    assert stack.postgres is not None
    with psycopg.connect(stack.postgres.url) as connection:
        row = connection.execute(
            """SELECT count(*) FROM transactions WHERE origin = 'wish'
            AND NOT EXISTS (SELECT FROM operations WHERE transaction_id = transactions.id)"""
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_rotation_that_is_killed_again_and_again_goes_on_where_it_stopped(
    stack: Stack, token: str, holder: str
) -> None:
    assert roles(stack, SECOND)
    held = roles(stack, SECOND)
    before = without_operation(stack)
    minting = Minting(stack, token, holder)
    command = ("signers", "rotate", SECOND, FIRST, "--issuer", ISSUER)
    with minting.going_on():
        for number, lived_s in enumerate((0.3, 0.5, 0.7, 0.9, 1.1)):
            process = stack.start_process(f"rotate-{number}", *command)
            time.sleep(lived_s)
            process.kill()
        code, told = stack.run(*command)
        assert code == 0 or "already, and nothing is left" in told, told
    ended = [final(stack, each) for each in minting.operations]
    assert {each["status"] for each in ended} == {"succeeded"}
    assert ask(stack, f"/tokens/{token}/holders/{holder}")["amount"] == str(len(minting.operations))
    assert (roles(stack, SECOND), roles(stack, FIRST)) == ({}, held)
    # One grant, one revoke, and one revoke of the right to deploy, whatever was killed.
    assert without_operation(stack) == before + 3


def test_a_rotation_goes_on_without_a_sender(stack: Stack, token: str, holder: str) -> None:
    stack.processes["sender"].stop()
    assert stack.postgres is not None
    with psycopg.connect(stack.postgres.url) as connection:
        connection.execute("UPDATE signers SET seen_at = now() - interval '1 hour'")
    told = muniment(stack, "signers", "rotate", FIRST, SECOND, "--issuer", ISSUER)
    assert "done" in told
    stack.start_process("sender")
    assert final(stack, mint(stack, token, holder))["transaction"]["signer"] == SECOND


# The last, since anvil does not return to blocks a tenth of a second apart


@contextmanager
def nothing_mined(stack: Stack) -> Iterator[None]:
    """No block comes until the end of the block of code; then three at once, and one a second from there on."""
    assert stack.anvil is not None
    rpc(stack.anvil.url, "evm_setIntervalMining", 0)
    try:
        yield
    finally:
        rpc(stack.anvil.url, "anvil_mine", "0x3")
        rpc(stack.anvil.url, "evm_setIntervalMining", 1)


def test_a_bump_offers_more_for_what_waits_in_the_mempool(stack: Stack, token: str, holder: str) -> None:
    with nothing_mined(stack):
        operation = mint(stack, token, holder)
        id_ = newest(stack)["id"]

        def shown() -> dict[str, Any]:
            found: dict[str, Any] = json.loads(muniment(stack, "transactions", "show", id_, "--json"))
            return found

        local.wait_for(lambda: shown()["status"] == "submitted", what="the broadcast")
        told = muniment(stack, "transactions", "bump", id_)
        assert f"{id_} is submitted; the sender offers more with its next step" in told
        first, second = local.wait_for(lambda: two(shown()["attempts"]), what="a better offer")
    assert first["nonce"] == second["nonce"]
    for name in ("max_fee_wei", "priority_fee_wei"):
        assert int(second[name]) * 8 >= int(first[name]) * 9
    done = final(stack, operation)
    assert (done["status"], done["transaction"]["hash"]) == ("succeeded", second["hash"])
    assert ask(stack, f"/tokens/{token}/holders/{holder}")["amount"] == "1"
    assert "only what has a nonce" in muniment(stack, "transactions", "bump", id_, code=2)


def two(versions: list[Any]) -> list[Any] | None:
    """Two versions, once there are two that are signed."""
    return versions if len(versions) == 2 and all(each["hash"] for each in versions) else None
