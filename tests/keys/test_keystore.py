"""The keystore: files that open once, and secrets that stay inside."""

import json
import logging
import pickle
import stat
import traceback
from pathlib import Path
from typing import Any, Literal

import pytest
from coincurve import PrivateKey
from eth_account import Account
from pydantic import SecretStr

from service.keys import keystore
from service.keys.keystore import Keystore, KeystoreError
from service.keys.signing import WrongSignature
from service.keys.unsigned import SignedTransaction, UnsignedTransaction, assemble, digest
from tests.keys.conftest import KDF_ITERATIONS

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of secp256k1; source: SEC 2
GOOD = UnsignedTransaction(
    chain_id=31337, nonce=0, to=b"\x22" * 20, data=b"", value=1, gas_limit=21_000, max_fee_wei=2, priority_fee_wei=1
)


def test_a_made_signer_opens_and_signs(tmp_path: Path, password: SecretStr) -> None:
    addresses = {keystore.create(tmp_path / "keys", password, kdf_iterations=KDF_ITERATIONS) for _ in range(3)}
    opened = Keystore.open(tmp_path / "keys", password)
    assert opened.addresses == addresses
    for signer in opened.signers:
        raw = assemble(GOOD, signer.sign_now(digest(GOOD))).raw
        assert bytes.fromhex(Account.recover_transaction(raw)[2:]) == signer.address


def test_files_belong_to_their_owner_alone(tmp_path: Path, password: SecretStr) -> None:
    directory = tmp_path / "keys"
    address = keystore.create(directory, password, kdf_iterations=KDF_ITERATIONS)
    assert [entry.name for entry in directory.iterdir()] == [f"{address.hex()}.json"]
    assert stat.S_IMODE((directory / f"{address.hex()}.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_file_is_a_v3_file_that_eth_account_opens(tmp_path: Path, password: SecretStr) -> None:
    secret = b"\x07" * 32
    address = keystore.store(tmp_path, password, secret, kdf_iterations=KDF_ITERATIONS)
    content = json.loads((tmp_path / f"{address.hex()}.json").read_text())
    assert content["version"] == 3
    assert bytes(Account.decrypt(content, password.get_secret_value())) == secret
    assert bytes.fromhex(Account.from_key(secret).address[2:]) == address


def test_a_file_that_eth_account_made_opens_here(tmp_path: Path, password: SecretStr) -> None:
    kdfs: tuple[Literal["pbkdf2", "scrypt"], ...] = ("pbkdf2", "scrypt")
    for number, kdf in enumerate(kdfs, 1):
        content = Account.encrypt(bytes([number]) * 32, password.get_secret_value(), kdf=kdf, iterations=KDF_ITERATIONS)
        file = tmp_path / f"UTC--2026-11-22T00-00-00.{number}Z"
        file.write_text(json.dumps(content))
        file.chmod(0o600)
    opened = Keystore.open(tmp_path, password)
    assert {"0x" + address.hex() for address in opened.addresses} == {
        Account.from_key(bytes([number]) * 32).address.lower() for number in (1, 2)
    }


def test_the_slowness_is_the_standards_unless_told_otherwise() -> None:
    assert keystore.KDF_ITERATIONS == 262_144
    assert keystore.create.__kwdefaults__ == keystore.store.__kwdefaults__ == {"kdf_iterations": 262_144}


def test_a_key_is_never_written_over(tmp_path: Path, password: SecretStr) -> None:
    address = keystore.store(tmp_path, password, b"\x07" * 32, kdf_iterations=KDF_ITERATIONS)
    before = (tmp_path / f"{address.hex()}.json").read_bytes()
    with pytest.raises(KeystoreError, match="already"):
        keystore.store(tmp_path, SecretStr("another"), b"\x07" * 32, kdf_iterations=KDF_ITERATIONS)
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [before]


@pytest.mark.parametrize(
    "secret", [b"", b"\x07" * 31, b"\x07" * 33, bytes(32), ORDER.to_bytes(32, "big"), b"\xff" * 32]
)
def test_what_is_no_private_key_is_refused(tmp_path: Path, password: SecretStr, secret: bytes) -> None:
    with pytest.raises(KeystoreError, match="a private key is 32 bytes"):
        keystore.store(tmp_path, password, secret, kdf_iterations=KDF_ITERATIONS)
    assert not list(tmp_path.iterdir())


def test_an_empty_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="needs a password"):
        keystore.create(tmp_path, SecretStr(""), kdf_iterations=KDF_ITERATIONS)


def test_no_directory_and_no_file_are_told(tmp_path: Path, password: SecretStr) -> None:
    with pytest.raises(KeystoreError, match="no keystore directory"):
        Keystore.open(tmp_path / "missing", password)
    (tmp_path / ".half-written").write_text("{")
    with pytest.raises(KeystoreError, match="holds no key file"):
        Keystore.open(tmp_path, password)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o606, 0o644])
def test_a_file_that_everyone_may_read_or_write_is_refused(tmp_path: Path, password: SecretStr, mode: int) -> None:
    address = keystore.create(tmp_path, password, kdf_iterations=KDF_ITERATIONS)
    (tmp_path / f"{address.hex()}.json").chmod(mode)
    with pytest.raises(KeystoreError, match=f"{address.hex()}.json is open to everyone"):
        Keystore.open(tmp_path, password)


def damaged(content: dict[str, Any], **changes: Any) -> str:
    return json.dumps(content | changes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "{}",
        '{"version": 1}',
        '{"version": 3}',
        '{"version": 3, "crypto": "no"}',
        '{"version": 3, "crypto": {"kdf": "none", "mac": "00", "ciphertext": "00"}}',
        "x" * 70_000,
    ],
)
def test_a_file_of_another_kind_is_told_by_name(tmp_path: Path, password: SecretStr, text: str) -> None:
    file = tmp_path / "strange.json"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(KeystoreError, match=r"strange\.json"):
        Keystore.open(tmp_path, password)


def test_a_file_that_lies_about_its_address_is_refused(tmp_path: Path, password: SecretStr) -> None:
    address = keystore.create(tmp_path, password, kdf_iterations=KDF_ITERATIONS)
    file = tmp_path / f"{address.hex()}.json"
    file.write_text(damaged(json.loads(file.read_text()), address="00" * 20))
    with pytest.raises(KeystoreError, match="another address"):
        Keystore.open(tmp_path, password)


def test_a_wrong_password_names_the_file_and_tells_no_secret(
    tmp_path: Path, password: SecretStr, caplog: pytest.LogCaptureFixture
) -> None:
    secret = b"\x5a" * 32
    address = keystore.store(tmp_path, password, secret, kdf_iterations=KDF_ITERATIONS)
    wrong = SecretStr("my-wrong-password")
    with caplog.at_level(logging.DEBUG), pytest.raises(KeystoreError, match=f"{address.hex()}.json") as refused:
        Keystore.open(tmp_path, wrong)
    told = "".join(traceback.format_exception(refused.value)) + repr(refused.value) + caplog.text
    for hidden in (wrong.get_secret_value(), password.get_secret_value(), secret.hex()):
        assert hidden not in told


def test_reprs_tell_neither_keys_nor_signed_bytes() -> None:
    opened = Keystore([PrivateKey(b"\x5a" * 32)])
    (signer,) = opened.signers
    signed = assemble(GOOD, signer.sign_now(digest(GOOD)))
    told = f"{opened!r} {opened} {signer!r} {vars(signer)!r} {signed!r} {vars(opened)!r} {GOOD!r}"
    assert "5a" * 32 not in told
    assert signed.raw.hex() not in told
    assert repr(signed.raw) not in told
    assert repr(signed) == f"SignedTransaction(hash={signed.hash!r})"
    assert SignedTransaction(raw=b"a", hash=b"b") != SignedTransaction(raw=b"c", hash=b"b")


def test_a_keystore_cannot_be_pickled_away() -> None:
    opened = Keystore([PrivateKey(b"\x07" * 32)])
    for secret in (opened, *opened.signers):
        with pytest.raises(TypeError):
            pickle.dumps(secret)


def test_a_miscalculated_signature_is_not_handed_out() -> None:
    (signer,) = Keystore([PrivateKey(b"\x5a" * 32)]).signers
    signer._key = PrivateKey(b"\x07" * 32)
    with pytest.raises(WrongSignature):
        signer.sign_now(bytes(32))
