"""The form of an API key."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from service.access import apikeys
from service.access.commands import UnknownIssuer, create_issuer, create_key
from service.db import Database
from tests.world import PEPPER, make_settings

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize("environment", apikeys.ENVIRONMENTS)
def test_a_made_key_is_read_back(environment: str) -> None:
    key = apikeys.make(environment)
    assert key.text.startswith(f"munsk_{environment}_{key.id}")
    assert len(key.text) == len(f"munsk_{environment}_") + 11 + 43 + 6
    assert apikeys.parse(key.text) == key


def test_keys_differ() -> None:
    keys = [apikeys.make("test") for _ in range(200)]
    assert len({key.id for key in keys}) == len({key.text for key in keys}) == 200


@given(st.integers(0, 70), st.sampled_from(ALPHABET))
def test_no_altered_character_passes_the_check(index: int, character: str) -> None:
    text = apikeys.make("test").text
    altered = text[:index] + character + text[index + 1 :]
    if index < len(text) and altered != text:
        assert apikeys.parse(altered) is None


@given(st.text(max_size=90))
def test_garbage_is_no_key(text: str) -> None:
    assert apikeys.parse(text) is None


@pytest.mark.parametrize("change", [" {}", "{} ", "{}\n", "\ufeff{}", "{}{}"])
def test_a_key_with_something_around_it_is_no_key(change: str) -> None:
    text = apikeys.make("live").text
    assert apikeys.parse(change.format(text, text)) is None


def test_a_hash_depends_on_the_whole_key_and_on_the_pepper() -> None:
    key, other = apikeys.make("test"), apikeys.make("test")
    hashes = {key.hashed(PEPPER), other.hashed(PEPPER), key.hashed(SecretStr("another pepper"))}
    assert len(hashes) == 3
    assert all(len(each) == 32 for each in hashes)
    assert key.hashed(PEPPER) == key.hashed(PEPPER)


def test_a_key_is_not_shown() -> None:
    key = apikeys.make("test")
    assert key.text not in repr(key)
    assert key.id in repr(key)


async def test_an_issuer_is_made_once_and_a_key_needs_one(db: Database) -> None:
    async with db.transaction() as session:
        assert await create_issuer(session, name="Harbour", signer=bytes(20))
        assert not await create_issuer(session, name="Harbour", signer=b"\x01" * 20)
        with pytest.raises(UnknownIssuer, match="muniment issuers create"):
            await create_key(session, issuer="Quay", caller="tests", environment="test", pepper=PEPPER)


@pytest.mark.parametrize("given", ["1:pepper", "[]", '{"1": "short"}', '{"0": "' + "p" * 32 + '"}', '{"1": 7}', "[1]"])
def test_former_peppers_of_another_form_stop_the_start_untold(given: str) -> None:
    with pytest.raises(ValidationError, match="the pepper of version 1") as raised:
        make_settings(
            SecretStr("postgresql:///x"), "http://127.0.0.1:1", Path("keystore"), api_key_peppers_old=SecretStr(given)
        )
    assert given not in str(raised.value)


def test_a_key_is_found_wherever_it_stands() -> None:
    first, second = apikeys.make("test"), apikeys.make("live")
    assert apikeys.find(f"a={first.text}&b={second.text}/{first.text[:-1]}") == [first, second]
