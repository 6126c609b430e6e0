"""The `muniment` command: what it does, and that each refusal is one sentence and exit code 2."""

import json
import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
import typer
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import text
from typer.testing import CliRunner
from web3 import Web3

from scripts import local
from scripts.stack import CHAIN_ID, DEV_ADDRESSES, DEV_KEYS
from service import cli, factory
from service.addresses import parse_address
from service.app import create_app
from service.chain import artifacts
from service.cli import frame
from service.db import Database
from service.keys import keystore
from service.settings import READ_BY, Settings
from service.transactions.lanes import Lane
from service.workers import Lease
from tests.flows import terminal
from tests.flows.terminal import Ended, Terminal
from tests.rpc import rpc
from tests.world import PASSWORD, World, make_settings

ADMIN, OTHER, _ = DEV_ADDRESSES
NOBODY = "http://127.0.0.1:1"
OTHER_CHAIN_ID = 4_242
SECRET = "hunter2-must-not-be-told"

PROCESSES = ("api", "sender", "indexer")
NEEDS_DATABASE = (
    ("issuers", "create", "Harbour Estates", "--signer", ADMIN),
    ("keys", "create", "--issuer", "Harbour Estates"),
    ("factory", "deploy", ADMIN),
    ("factory", "allow", ADMIN, OTHER),
    ("verify",),
    ("digest",),
)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """Where the commands of this module run."""
    with terminal.opened(tmp_path_factory.mktemp("terminal")) as opened:
        yield opened


@pytest.fixture
def keystore_dir(tmp_path: Path) -> Path:
    """A keystore with the chain's first funded account."""
    keystore.store(tmp_path / "keystore", PASSWORD, bytes.fromhex(DEV_KEYS[0]), kdf_iterations=10)
    return tmp_path / "keystore"


@pytest.fixture
def settings(database_url: SecretStr, own_chain_url: str, keystore_dir: Path) -> dict[str, str]:
    """The environment of a migrated deployment that has no factory yet."""
    return environment(make_settings(database_url, own_chain_url, keystore_dir))


@pytest.fixture
def alone(keystore_dir: Path) -> dict[str, str]:
    """The environment of a deployment whose Postgres and node are away."""
    away = SecretStr(f"postgresql://muniment:{SECRET}@127.0.0.1:1/muniment")
    return environment(make_settings(away, NOBODY, keystore_dir))


@pytest.fixture
def empty_database_url(postgres: local.Postgres) -> Iterator[str]:
    """A database without a table."""
    name = f"empty_{uuid.uuid4().hex}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield postgres.database(name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def other_chain_url(tmp_path: Path) -> Iterator[str]:
    """A node of another chain."""
    chain = local.start_anvil(tmp_path / "other.log", "--chain-id", str(OTHER_CHAIN_ID))
    with local.stopping(chain):
        yield chain.url


def environment(settings: Settings) -> dict[str, str]:
    """Settings as a shell holds them."""
    given = settings.model_dump(exclude_none=True)
    return {
        f"MUNIMENT_{name.upper()}": each.get_secret_value() if isinstance(each, SecretStr) else str(each)
        for name, each in given.items()
        if each != ()
    }


def sentence(ended: Ended) -> str:
    """What a refusal says: one line, exit code 2, no secret."""
    lines = [line for line in ended.told.splitlines() if line]
    assert "Traceback (most recent call last):" not in lines, lines[-1]
    assert ended.code == 2, ended.told
    assert len(lines) == 1, ended.told
    assert lines[0].startswith("muniment: ")
    assert SECRET not in lines[0]
    return lines[0].removeprefix("muniment: ")


def answer(ended: Ended) -> str:
    """What a command printed that did what was asked."""
    assert ended.code == 0, ended.told
    return ended.told.strip()


def rows(settings: dict[str, str], query: str) -> list[tuple[object, ...]]:
    """What the database holds."""
    with psycopg.connect(settings["MUNIMENT_DATABASE_URL"]) as connection:
        return connection.execute(query.encode()).fetchall()


# migrate


def test_migrate_makes_the_tables_and_does_nothing_more_the_second_time(
    shell: Terminal, settings: dict[str, str], empty_database_url: str
) -> None:
    settings["MUNIMENT_DATABASE_URL"] = empty_database_url
    for _ in range(2):
        assert answer(shell.run(settings, "migrate")) == "the database is up to date"
        assert rows(settings, "SELECT count(*) FROM issuers") == [(0,)]


def test_a_database_that_was_never_migrated_is_told_with_what_to_do(
    shell: Terminal, settings: dict[str, str], empty_database_url: str
) -> None:
    settings["MUNIMENT_DATABASE_URL"] = empty_database_url
    started = [shell.start(settings, *command) for command in NEEDS_DATABASE]
    for name in started:
        assert "muniment migrate" in sentence(shell.wait(name))


# signers


def test_a_created_signer_is_a_file_that_only_its_owner_reads(
    shell: Terminal, alone: dict[str, str], keystore_dir: Path
) -> None:
    address = answer(shell.run(alone, "signers", "create"))
    file = keystore_dir / f"{parse_address(address).hex()}.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert keystore.Keystore.open(keystore_dir, PASSWORD).addresses == {parse_address(ADMIN), parse_address(address)}


def test_an_imported_signer_is_encrypted_and_taken_once(
    shell: Terminal, alone: dict[str, str], keystore_dir: Path, tmp_path: Path
) -> None:
    source = tmp_path / "key"
    source.write_text(f"0x{DEV_KEYS[1]}\n")
    assert answer(shell.run(alone, "signers", "import", str(source))) == OTHER
    file = keystore_dir / f"{parse_address(OTHER).hex()}.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert DEV_KEYS[1] not in file.read_text()
    assert "already" in sentence(shell.run(alone, "signers", "import", str(source)))


@pytest.mark.parametrize("content", [SECRET.encode(), b"\xff\xfe\x00", b"", DEV_KEYS[1][:-2].encode(), b"00" * 32])
def test_a_file_that_holds_no_private_key_is_refused(
    shell: Terminal, alone: dict[str, str], tmp_path: Path, content: bytes
) -> None:
    source = tmp_path / "key"
    source.write_bytes(content)
    told = sentence(shell.run(alone, "signers", "import", str(source)))
    assert "private key" in told
    assert DEV_KEYS[1][:-2] not in told


def test_a_keystore_that_is_no_folder_is_refused(shell: Terminal, alone: dict[str, str], tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.touch()
    alone["MUNIMENT_KEYSTORE_DIR"] = str(taken)
    assert "taken" in sentence(shell.run(alone, "signers", "create"))


# factory


def test_a_factory_is_deployed_once(shell: Terminal, settings: dict[str, str]) -> None:
    address = "0x" + factory.address_for(parse_address(ADMIN)).hex()
    told = answer(shell.run(settings, "factory", "deploy", ADMIN))
    assert "deployed in block 1\n" in told
    assert f"MUNIMENT_FACTORY_ADDRESS={Web3.to_checksum_address(address)}" in told
    assert len(rpc(settings["MUNIMENT_RPC_URL"], "eth_getCode", address, "latest")) > 100
    assert "it was there already" in answer(shell.run(settings, "factory", "deploy", ADMIN))
    told = answer(shell.run(settings, "factory", "deploy", ADMIN, "--json"))
    assert json.loads(told) == {"address": Web3.to_checksum_address(address), "block": None}
    assert rpc(settings["MUNIMENT_RPC_URL"], "eth_blockNumber") == "0x1"


def test_a_signer_without_ether_or_without_a_key_deploys_nothing(shell: Terminal, settings: dict[str, str]) -> None:
    rpc(settings["MUNIMENT_RPC_URL"], "anvil_setBalance", ADMIN, "0x0")
    assert "has no ether" in sentence(shell.run(settings, "factory", "deploy", ADMIN)).lower()
    assert "no key for" in sentence(shell.run(settings, "factory", "deploy", OTHER))
    assert "40 hexadecimal" in sentence(shell.run(settings, "factory", "deploy", "0x12"))
    assert rpc(settings["MUNIMENT_RPC_URL"], "eth_blockNumber") == "0x0"


async def test_factory_commands_leave_it_to_a_running_sender_and_take_over_when_it_is_gone(
    shell: Terminal, settings: dict[str, str], db: Database
) -> None:
    answer(shell.run(settings, "factory", "deploy", ADMIN))
    lease = Lease(Lane(CHAIN_ID, parse_address(ADMIN)).lease_name, ttl_s=2)
    assert await lease.take(db)
    start_s = time.monotonic()
    assert answer(shell.run(settings, "factory", "allow", ADMIN, OTHER)) == "allowed"
    assert time.monotonic() - start_s > 1, "two senders at once"
    assert _may_deploy(settings, OTHER)


def test_nobody_is_allowed_on_a_factory_that_is_not_there(shell: Terminal, settings: dict[str, str]) -> None:
    sentence(shell.run(settings, "factory", "allow", ADMIN, OTHER))
    assert rpc(settings["MUNIMENT_RPC_URL"], "eth_blockNumber") == "0x0"


def _may_deploy(settings: dict[str, str], account: str) -> bool:
    contract = Web3(Web3.HTTPProvider(settings["MUNIMENT_RPC_URL"])).eth.contract(
        Web3.to_checksum_address(factory.address_for(parse_address(ADMIN))),
        abi=list(artifacts.load("AssetFactory").abi),
    )
    return bool(contract.functions.hasRole(Web3.keccak(text="OPERATOR_ROLE"), account).call())


# issuers and keys


def test_an_issuer_has_a_known_signer_and_a_name_of_its_own(shell: Terminal, settings: dict[str, str]) -> None:
    command = ("issuers", "create", "Harbour Estates", "--signer")
    assert "muniment signers create" in sentence(shell.run(settings, *command, OTHER))
    assert rows(settings, "SELECT count(*) FROM issuers") == [(0,)]
    assert answer(shell.run(settings, *command, ADMIN)) == "issuer 'Harbour Estates' created"
    assert "already" in sentence(shell.run(settings, *command, ADMIN))
    assert rows(settings, "SELECT name, signer FROM issuers") == [("Harbour Estates", parse_address(ADMIN))]


async def test_a_printed_key_opens_the_api_and_only_its_hash_is_kept(
    shell: Terminal, settings: dict[str, str], database_url: SecretStr, own_chain_url: str, keystore_dir: Path
) -> None:
    create = ("keys", "create", "--issuer", "Harbour Estates")
    assert "muniment issuers create" in sentence(shell.run(settings, *create))
    answer(shell.run(settings, "issuers", "create", "Harbour Estates", "--signer", ADMIN))
    key = answer(shell.run(settings, *create, "--caller", "shop"))
    assert key.startswith("munsk_test_")

    app = create_app(make_settings(database_url, own_chain_url, keystore_dir, factory_address=ADMIN))
    transport = httpx.ASGITransport(app=app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://api") as http:
        for given, status in ((key, 200), (key[:-1], 401)):
            told = await http.get("/v1/assets", headers={"Authorization": f"Bearer {given}"})
            assert told.status_code == status

    kept = rows(settings, "SELECT * FROM credentials JOIN callers ON callers.id = caller_id")
    assert len(kept) == 1
    secret = key.removeprefix("munsk_test_")[11:].encode()
    assert all(secret not in (each if isinstance(each, bytes) else str(each).encode()) for each in kept[0])
    (hashed,) = [each for each in kept[0] if isinstance(each, bytes)]
    assert len(hashed) == 32


def test_a_keys_life_is_steered_with_postgres_alone(shell: Terminal, settings: dict[str, str]) -> None:
    away = {**settings, "MUNIMENT_RPC_URL": "http://127.0.0.1:1"}
    answer(shell.run(settings, "issuers", "create", "Harbour Estates", "--signer", ADMIN))
    first = answer(shell.run(away, "keys", "create", "--issuer", "Harbour Estates", "--scope", "keys:admin"))
    id_ = first.removeprefix("munsk_test_")[:11]
    second = answer(shell.run(away, "keys", "rotate", id_, "--overlap-s", "60"))
    assert "retiring" in sentence(shell.run(away, "keys", "rotate", id_))
    assert f"key {id_} is revoked" in answer(shell.run(away, "keys", "revoke", id_, "--reason", "a test"))
    listed = json.loads(answer(shell.run(away, "keys", "list", "--issuer", "Harbour Estates", "--json")))["data"]
    assert [(each["version"], each["state"]) for each in listed] == [(2, "active"), (1, "revoked")]
    table = shell.run(away, "keys", "list", "--issuer", "Harbour Estates").told
    assert second.removeprefix("munsk_test_")[:11] in table
    assert second not in table
    told = answer(shell.run(away, "keys", "revoke-all", "--issuer", "Harbour Estates", "--reason", "a test"))
    assert told.startswith("1 keys are revoked")
    assert "there is no key" in sentence(shell.run(away, "keys", "revoke", "AAAAAAAAAAA", "--reason", "x"))
    auditor = ("keys", "create", "--issuer", "Harbour Estates", "--caller", "Auditors Ltd", "--role")
    answer(shell.run(away, *auditor, "auditor", "--token", str(UUID(int=7))))
    ((limits, ends_at),) = rows(settings, "SELECT limits, expires_at FROM credentials WHERE name = 'Auditors Ltd'")
    assert (limits, ends_at is not None) == ({"tokens": [str(UUID(int=7))]}, True)
    assert "has the role auditor" in sentence(shell.run(away, *auditor, "operator"))
    signing = ("keys", "create", "--issuer", "Harbour Estates", "--public-key")
    assert "64 hexadecimal digits" in sentence(shell.run(away, *signing, "5a" * 31))


LIMITS = {
    "networks": ["203.0.113.0/24"],
    "hours_utc": [8, 18],
    "chains": [CHAIN_ID],
    "amount_max": "1000",
    "amount_per_day": "5000",
    "amount_unapproved_max": "0",
    "amount_unapproved_per_day": "10",
    "signature_required": True,
    "window_s": 30,
}


def test_a_first_key_has_any_limit_and_a_live_one_that_may_move_all_is_warned_of(
    shell: Terminal, settings: dict[str, str]
) -> None:
    live = {**settings, "MUNIMENT_ENVIRONMENT": "live"}
    answer(shell.run(settings, "issuers", "create", "Harbour Estates", "--signer", ADMIN))
    create, token = ("keys", "create", "--issuer", "Harbour Estates"), str(UUID(int=7))
    held = ("--caller", "held", "--limits", json.dumps(LIMITS), "--token", token)
    assert answer(shell.run(live, *create, *held)).startswith("munsk_live_")
    assert rows(settings, "SELECT limits FROM credentials WHERE name = 'held'") == [({**LIMITS, "tokens": [token]},)]
    for given in ((), ("--scope", "tokens:write", "--limits", '{"amount_max": "1000"}'), ("--public-key", "5a" * 32)):
        _, *warned = answer(shell.run(live, *create, *given)).splitlines()
        assert len(warned) == 1
        assert """--limits '{"amount_unapproved_max": "…"}'""" in warned[0]
    for quiet in (shell.run(settings, *create), shell.run(live, *create, "--scope", "keys:admin")):
        assert len(answer(quiet).splitlines()) == 1


def test_limits_that_make_no_sense_are_one_sentence_that_names_them(shell: Terminal, settings: dict[str, str]) -> None:
    create = ("keys", "create", "--issuer", "Harbour Estates", "--limits")
    for given, told in (
        ("{", "--limits is no JSON: "),
        ("[]", "limits: input should be a valid dictionary"),
        (
            '{"amount_unapproved_max": 7}',
            'limits: amount_unapproved_max: a number of this size is a JSON string: write "7"',
        ),
        ('{"amount": "7"}', "limits: amount: this is unknown"),
        ('{"window_s": 30, "window_s": 60}', "A field is given twice"),
        ('{"hours_utc": [8, 8], "chains": [0]}', "limits: chains.0: "),
    ):
        assert told in sentence(shell.run(settings, *create, given)), given
    both = ("--token", str(UUID(int=7)))
    assert "not by both" in sentence(shell.run(settings, *create, json.dumps({"tokens": both[1:]}), *both))


def test_the_command_line_has_a_name_in_the_journal(shell: Terminal, settings: dict[str, str]) -> None:
    ada = {**settings, "LOGNAME": "ada"}
    answer(shell.run(ada, "issuers", "create", "Harbour Estates", "--signer", ADMIN))
    create = ("keys", "create", "--issuer", "Harbour Estates")
    id_ = answer(shell.run(ada, *create)).removeprefix("munsk_test_")[:11]
    answer(shell.run(ada, *create, "--public-key", "5a" * 32))
    answer(shell.run(ada, "keys", "rotate", id_))
    answer(shell.run(ada, "keys", "revoke", id_, "--reason", "a test"))
    answer(shell.run(ada, "keys", "revoke-all", "--issuer", "Harbour Estates", "--reason", "a test"))
    told = rows(
        settings, "SELECT kind, body::jsonb -> 'by', body::jsonb ->> 'operator' FROM journal_entries ORDER BY position"
    )
    kinds = ["key.created", "key.created", "key.rotated", *["key.revoked"] * 3]
    assert told == [(kind, None, "ada") for kind in kinds]


def test_an_operator_whose_login_has_no_name_is_told_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 987_654_321)
    assert frame.operator() == "987654321"


# verify


async def test_verify_tells_a_holding_that_was_tampered_with(world: World, shell: Terminal) -> None:
    settings = environment(world.settings)
    assert "earlier" in sentence(shell.run(settings, "verify", "--block", "1000000"))
    token_id, holder = await world.token(), await world.account()
    contract = (await world.operation((await world.mint(token_id, holder, 1_050)).json()["id"]))["contract"]
    await world.finish()
    assert "the mirror says what the chain says" in answer(shell.run(settings, "verify"))
    told = json.loads(answer(shell.run(settings, "verify", "--json")))
    assert told["compared"] >= 6
    assert told["differences"] == []

    async with world.db.transaction() as session:
        await session.execute(text("UPDATE mirror.holdings SET amount = 1051 WHERE amount = 1050"))
    shown, as_json = (shell.wait(each) for each in [shell.start(settings, "verify", *o) for o in ((), ("--json",))])
    assert (shown.code, as_json.code) == (1, 1)
    nobody = {"account": None, "key": None, "block": None}
    *at_block, followed = json.loads(as_json.told)["differences"]
    assert at_block == [
        {**nobody, "contract": contract, "what": "sum_of_holdings", "mirror": "1051", "chain": "1050"},
        {**nobody, "contract": contract, "account": holder, "what": "holding", "mirror": "1051", "chain": "1050"},
    ]
    assert followed == {**at_block[1], "block": followed["block"]}, "what its transfers add up to, and since when"
    for each in (contract, holder, "holding", "1051", "1050"):
        assert each in shown.told


async def test_a_sample_and_its_history_are_verified_and_digests_are_printed(world: World, shell: Terminal) -> None:
    settings = environment(world.settings)
    token_id, holder = await world.token(), await world.account()
    contract = (await world.operation((await world.mint(token_id, holder, 7)).json()["id"]))["contract"]
    await world.finish()
    drawn = json.loads(answer(shell.run(settings, "verify", "--sample", "2", "--json")))
    assert drawn["differences"] == []
    seed = str(drawn["seed"])
    shown = answer(shell.run(settings, "verify", "--sample", "2", "--seed", seed))
    assert f"{drawn['compared']} values compared; --seed {seed} draws the same sample" in shown
    assert "give --sample, too" in sentence(shell.run(settings, "verify", "--seed", "1"))

    before = json.loads(answer(shell.run(settings, "digest", "--state", "--json")))
    (told,) = [each for each in before["contracts"] if each["contract"] == contract]
    printed = answer(shell.run(settings, "digest", "--block", str(before["block"])))
    assert all(each in printed for each in (before["digest"], contract, told["digest"]))
    asked = (await world.get(f"/v1/tokens/{token_id}/digest", state=True, at_block=before["block"])).json()
    assert (asked["digest"], asked["state_digest"]) == (told["digest"], told["state"])
    async with world.db.transaction() as session:
        await session.execute(text("UPDATE mirror.blocks SET timestamp = timestamp + interval '1 second'"))
    ended = shell.run(settings, "verify", "--history", "--json")
    assert ended.code == 1
    assert {each["what"] for each in json.loads(ended.told)["differences"]} == {"block"}
    ended = shell.run(settings, "verify", "--from-block", str(before["block"]), "--json")
    assert [each["block"] for each in json.loads(ended.told)["differences"]] == [before["block"]]


async def test_reindex_makes_right_what_was_tampered_with_and_says_so(world: World, shell: Terminal) -> None:
    settings = environment(world.settings)
    token_id, holder = await world.token(), await world.account()
    contract = (await world.operation((await world.mint(token_id, holder, 1_050)).json()["id"]))["contract"]
    await world.finish()
    assert "say --yes" in sentence(shell.run(settings, "reindex"))
    nobody = str(uuid.uuid4())
    assert nobody in sentence(shell.run(settings, "reindex", "--yes", "--token", nobody))
    assert "no contract" in sentence(shell.run(settings, "reindex", "--yes", "--token", holder))
    async with world.db.transaction() as session:
        await session.execute(text("UPDATE mirror.holdings SET amount = 1051 WHERE amount = 1050"))
    (told,) = json.loads(answer(shell.run(settings, "reindex", "--yes", "--json", "--token", token_id)))["contracts"]
    assert (told["contract"], told["differed"]) == (contract, ["holdings"])
    assert told["digest_before"] == told["digest_after"]
    assert await world.holding(token_id, holder) == 1_050
    assert "of 0 the mirror had other rows" in answer(shell.run(settings, "reindex", "--yes"))


async def test_reindex_needs_the_login_that_owns_the_tables(world: World, shell: Terminal) -> None:
    await world.token()
    name = f"reader_{uuid.uuid4().hex}"
    async with world.db.transaction() as session:
        await session.execute(text(f"CREATE ROLE {name} LOGIN IN ROLE muniment_indexer"))
    try:
        settings = environment(world.settings)
        url = settings["MUNIMENT_DATABASE_URL"]
        told = sentence(shell.run({**settings, "MUNIMENT_DATABASE_URL": _as(url, name)}, "reindex", "--yes"))
        assert "may not delete" in told
        assert "muniment migrate" in told
    finally:
        async with world.db.transaction() as session:
            await session.execute(text(f"DROP ROLE {name}"))


def _as(url: str, user: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{user}@{rest.rpartition('@')[2]}"


async def test_verify_judges_nothing_by_another_chain_or_without_a_node(
    world: World, shell: Terminal, other_chain_url: str
) -> None:
    settings = environment(world.settings)
    for url, word in ((other_chain_url, str(OTHER_CHAIN_ID)), (NOBODY, "no connection")):
        assert word in sentence(shell.run({**settings, "MUNIMENT_RPC_URL": url}, "verify"))


def test_verify_of_an_empty_mirror_is_refused_without_a_trace_of_its_progress_bar(
    shell: Terminal, settings: dict[str, str]
) -> None:
    ended = shell.run({**settings, "MUNIMENT_FACTORY_ADDRESS": ADMIN}, "verify")
    assert "indexer" in sentence(ended)
    assert ended.told.startswith("muniment: ")


def test_a_postgres_that_is_away_is_told_as_such(shell: Terminal, alone: dict[str, str]) -> None:
    commands = (*NEEDS_DATABASE, ("migrate",))
    for name in [shell.start(alone, *command) for command in commands]:
        assert "Postgres does not answer" in sentence(shell.wait(name)), name


# processes


def test_a_process_refuses_a_node_of_another_chain(
    shell: Terminal, settings: dict[str, str], other_chain_url: str
) -> None:
    settings |= {"MUNIMENT_RPC_URL": other_chain_url, "MUNIMENT_FACTORY_ADDRESS": ADMIN, "MUNIMENT_API_PORT": "0"}
    for name in [shell.start(settings, process) for process in PROCESSES]:
        told = sentence(shell.wait(name))
        assert str(CHAIN_ID) in told
        assert str(OTHER_CHAIN_ID) in told


def test_a_process_that_needs_the_factory_names_its_setting(shell: Terminal, alone: dict[str, str]) -> None:
    for name in [shell.start(alone, process) for process in ("api", "indexer")]:
        assert "MUNIMENT_FACTORY_ADDRESS" in sentence(shell.wait(name))


def test_a_sender_with_the_wrong_password_says_which_file(shell: Terminal, alone: dict[str, str]) -> None:
    alone["MUNIMENT_KEYSTORE_PASSWORD"] = SECRET
    assert f"{parse_address(ADMIN).hex()}.json" in sentence(shell.run(alone, "sender"))


# settings


def test_every_missing_setting_is_named(shell: Terminal) -> None:
    required = [name for name, field in Settings.model_fields.items() if field.is_required()]
    commands = (*NEEDS_DATABASE, ("migrate",), ("sender",), ("api",))
    for command, name in [(command, shell.start({}, *command)) for command in commands]:
        told = sentence(shell.wait(name))
        unread = {each for each, readers in READ_BY.items() if command[0] in PROCESSES and command[0] not in readers}
        assert [each for each in required if (f"MUNIMENT_{each.upper()}" in told) == (each in unread)] == []


@pytest.mark.parametrize(
    "name",
    [
        *("DATABASE_URL", "RPC_URL", "CHAIN_ID", "FINALITY", "FACTORY_ADDRESS"),
        *("KEY_ENCRYPTION_KEY", "API_KEY_PEPPER", "LEASE_TTL_S"),
    ],
)
def test_a_malformed_setting_is_named_and_not_repeated(shell: Terminal, alone: dict[str, str], name: str) -> None:
    told = sentence(shell.run({**alone, f"MUNIMENT_{name}": SECRET}, "verify"))
    assert f"MUNIMENT_{name}" in told


def test_no_command_works_with_test_keys_on_a_live_chain(shell: Terminal, alone: dict[str, str]) -> None:
    alone["MUNIMENT_CHAIN_ID"] = "1"
    for name in [shell.start(alone, *command) for command in (("api",), ("sender",), ("migrate",), NEEDS_DATABASE[1])]:
        assert "MUNIMENT_ENVIRONMENT=live" in sentence(shell.wait(name)), name


# help


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every command and group."""
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


def test_every_command_explains_itself() -> None:
    found = list(commands(typer.main.get_command(cli.app)))
    assert len(found) >= 17
    for path in found:
        told = CliRunner().invoke(cli.app, [*path, "--help"])
        assert told.exit_code == 0, path
        assert "Usage:" in told.output
