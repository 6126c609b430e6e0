"""Settings: few, typed, read once, and never told in an error."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from scripts import local
from service.settings import KNOWN_TEST_CHAINS, READ_BY, Settings, SettingsMissing, read_settings
from tests.world import make_settings

GIVEN = {
    "MUNIMENT_DATABASE_URL": "postgresql://someone:hidden-database@localhost/ledger",
    "MUNIMENT_RPC_URL": "http://127.0.0.1:8545",
    "MUNIMENT_CHAIN_ID": "31337",
    "MUNIMENT_KEYSTORE_DIR": "keystore",
    "MUNIMENT_KEYSTORE_PASSWORD": "hidden-password",
    "MUNIMENT_KEY_ENCRYPTION_KEY": "aGlkZGVuLWtleS1vZi1leGFjdGx5LTMyLWJ5dGVzISE=",
    "MUNIMENT_API_KEY_PEPPER": "hidden-pepper-of-at-least-32-characters",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, text in GIVEN.items():
        monkeypatch.setenv(name, text)
    return monkeypatch


def test_the_environment_is_read(environment: pytest.MonkeyPatch) -> None:
    settings = read_settings()
    assert settings.chain_id == 31337
    assert settings.finality == "finalized"
    assert settings.keystore_password.get_secret_value() == "hidden-password"


def test_secrets_are_not_shown(environment: pytest.MonkeyPatch) -> None:
    settings = read_settings()
    for shown in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert "hidden" not in shown


PROCESSES = ("api", "dispatcher", "indexer", "sender")


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_reads_no_secret_of_others_and_starts_without_them(
    process: str, environment: pytest.MonkeyPatch
) -> None:
    whole = read_settings()
    for present in (True, False):
        settings = read_settings(process)
        for name, readers in READ_BY.items():
            if process in readers:
                assert getattr(settings, name) == getattr(whole, name)
                continue
            with pytest.raises(SettingsMissing, match="reads no such secret"):
                getattr(settings, name).get_secret_value()
            if present:
                environment.delenv(f"MUNIMENT_{name.upper()}", raising=False)
    environment.delenv("MUNIMENT_DATABASE_URL")
    with pytest.raises(SettingsMissing, match="MUNIMENT_DATABASE_URL"):
        read_settings(process)


def test_every_secret_has_its_readers_and_the_readme_names_them() -> None:
    secret = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    of_all = {"database_url", "replica_url", "rpc_url", "rpc_ws_url"}
    assert secret - of_all == set(READ_BY)
    table = (local.ROOT / "README.md").read_text().split("| process | secrets |")[1]
    for process in PROCESSES:
        names = [f"`MUNIMENT_{name.upper()}`" for name in sorted(READ_BY) if process in READ_BY[name]]
        assert f"| `{process}` | {' '.join(names) or 'none'} |\n" in table


@pytest.mark.parametrize("name", GIVEN)
def test_an_absent_setting_is_named_and_no_other_is_told(name: str, environment: pytest.MonkeyPatch) -> None:
    environment.delenv(name)
    with pytest.raises(SettingsMissing) as raised:
        read_settings()
    assert name in str(raised.value)
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MUNIMENT_RPC_URL", " , "),
        ("MUNIMENT_RPC_URL", "https://one.example/hidden ftp://two.example"),
        ("MUNIMENT_RPC_URL", "https://one.example/hidden,https://one.example/hidden"),
        ("MUNIMENT_RPC_WS_URL", "https://one.example/hidden"),
        ("MUNIMENT_RECEIPTS_SHARE", "1.5"),
        ("MUNIMENT_RECEIPT_QUORUM", "0"),
        ("MUNIMENT_RECEIPT_QUORUM", "2"),
        ("MUNIMENT_CHAIN_ID", "0"),
        ("MUNIMENT_CHAIN_ID", "-1"),
        ("MUNIMENT_CHAIN_ID", "one"),
        ("MUNIMENT_TEST_CHAINS", "7, hidden"),
        ("MUNIMENT_TEST_CHAINS", "0"),
        ("MUNIMENT_ENVIRONMENT", "hidden"),
        ("MUNIMENT_FINALITY", "depth:"),
        ("MUNIMENT_FINALITY", "depth:-1"),
        ("MUNIMENT_FINALITY", "depth:12345"),
        ("MUNIMENT_FINALITY", "safe"),
        ("MUNIMENT_FACTORY_ADDRESS", "0x1234"),
        ("MUNIMENT_FACTORY_ADDRESS", "0x5aaeb6053F3E94C9b9A09f33669435E7Ef1BeAed"),
        ("MUNIMENT_START_BLOCK", "-1"),
        ("MUNIMENT_API_KEY_PEPPER", "hidden-but-short"),
        ("MUNIMENT_API_PORT", "65536"),
        ("MUNIMENT_API_CONNECTIONS_MAX", "1"),
        ("MUNIMENT_BODY_BYTES_MAX", "0"),
        ("MUNIMENT_NODE_TIMEOUT_S", "0"),
        ("MUNIMENT_NODE_BATCH_MAX", "0"),
        ("MUNIMENT_POLL_INTERVAL_S", "0"),
        ("MUNIMENT_LEASE_TTL_S", "0.5"),
        ("MUNIMENT_INDEXER_BLOCKS_MAX", "2001"),
        ("MUNIMENT_SENDER_TRANSACTIONS_MAX", "0"),
        ("MUNIMENT_RESEND_AFTER_S", "-1"),
    ],
)
def test_a_malformed_setting_is_named_and_its_content_is_not(
    name: str, text: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv(name, text)
    with pytest.raises(SettingsMissing, match=name) as raised:
        read_settings()
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize("name", ["MUNIMENT_LEASE_TTL_S", "MUNIMENT_POLL_INTERVAL_S", "MUNIMENT_NODE_TIMEOUT_S"])
def test_a_duration_is_a_number(name: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv(name, "nan")
    with pytest.raises(SettingsMissing, match=name):
        read_settings()


@pytest.mark.parametrize("between", [" ", ",", ", ", "\n  "])
def test_several_nodes_are_one_setting(between: str, environment: pytest.MonkeyPatch) -> None:
    urls = ["https://one.example/hidden-key", "http://user:hidden@127.0.0.1:8545"]
    environment.setenv("MUNIMENT_RPC_URL", between.join(urls))
    environment.setenv("MUNIMENT_RECEIPT_QUORUM", "2")
    settings = read_settings()
    assert settings.rpc_urls == urls
    assert settings.receipt_quorum == 2
    assert "hidden" not in repr(settings)


@pytest.mark.parametrize("process", [None, *PROCESSES])
@pytest.mark.parametrize("chain", ["1", "8453"])
def test_test_keys_are_refused_on_a_chain_whose_units_are_worth_something(
    chain: str, process: str | None, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("MUNIMENT_CHAIN_ID", chain)
    for named in (None, "test"):
        if named is not None:
            environment.setenv("MUNIMENT_ENVIRONMENT", named)
        with pytest.raises(
            SettingsMissing, match=rf"^MUNIMENT_ENVIRONMENT: chain {chain} is no known test chain"
        ) as told:
            read_settings(process)
        assert "MUNIMENT_ENVIRONMENT=live" in str(told.value)
        assert "MUNIMENT_TEST_CHAINS" in str(told.value)


@pytest.mark.parametrize("chain", sorted(KNOWN_TEST_CHAINS))
def test_test_keys_are_for_known_test_chains(chain: int, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MUNIMENT_CHAIN_ID", str(chain))
    assert read_settings().environment == "test"


def test_an_operator_may_name_test_chains_of_its_own(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MUNIMENT_TEST_CHAINS", "7, 4242")
    for chain in (7, 4242, 31337):
        environment.setenv("MUNIMENT_CHAIN_ID", str(chain))
        assert read_settings().environment == "test"
    environment.setenv("MUNIMENT_CHAIN_ID", "1")
    with pytest.raises(SettingsMissing, match="chain 1 is no known test chain"):
        read_settings()


def test_live_keys_are_for_every_chain(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MUNIMENT_ENVIRONMENT", "live")
    for chain in (1, 31337):
        environment.setenv("MUNIMENT_CHAIN_ID", str(chain))
        assert read_settings().chain_id == chain


def test_an_unknown_variable_is_left_alone(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MUNIMENT_SOMETHING_ELSE", "1")
    assert read_settings().chain_id == 31337


def test_settings_do_not_change(tmp_path: Path) -> None:
    settings = make_settings(SecretStr("postgresql:///ledger"), "http://127.0.0.1:1", tmp_path)
    with pytest.raises(ValidationError, match="frozen"):
        settings.__setattr__("chain_id", 1)


def test_a_command_that_needs_the_factory_says_how_to_get_it(tmp_path: Path) -> None:
    settings: Settings = make_settings(SecretStr("postgresql:///ledger"), "http://127.0.0.1:1", tmp_path)
    with pytest.raises(SettingsMissing, match="muniment factory deploy"):
        _ = settings.factory
