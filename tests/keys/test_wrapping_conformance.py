"""What every key-encryption key has in common, asked of each provider."""

import asyncio
import os
import time
import traceback
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import SecretStr

from service.keys.signing import ProviderDown
from service.keys.wrapping import KeyAltered, KeyContext, KeyEncryptionKeys, KeyRefused
from tests.keys.clouds import ACCESS_TOKEN, CLIENT_SECRET, TRANSIT_TOKEN
from tests.keys.providers import PIN
from tests.keys.wrapping_providers import (
    TIMEOUT_S,
    WrappingPlace,
    in_aws_kms,
    in_cloud,
    in_environment,
    in_file,
    in_token,
)

CONTEXT = KeyContext(UUID(int=1), "data", 1)
POLICY = UUID(int=9)
REMOTE = ["pkcs11", "aws-kms", "transit", "gcp-kms", "azure"]


@pytest.fixture(params=["file", "environment", *REMOTE])
async def place(request: pytest.FixtureRequest, tmp_path: Path, kek: SecretStr) -> AsyncIterator[WrappingPlace]:
    if request.param == "file":
        opened = in_file(tmp_path)
    elif request.param == "environment":
        opened = in_environment(kek)
    elif request.param == "pkcs11":
        opened = in_token(request.getfixturevalue("hsm"))
    elif request.param == "aws-kms":
        opened = in_aws_kms(request.getfixturevalue("kms"))
    else:
        opened = in_cloud(request.param)
    async with opened as there:
        yield there


async def test_a_key_comes_back_and_no_two_wrappings_are_alike(place: WrappingPlace) -> None:
    key = os.urandom(32)
    first, second = await place.kek.wrap(key, CONTEXT), await place.kek.wrap(key, CONTEXT)
    assert first.sealed != second.sealed
    assert key not in first.sealed
    assert first.kek == place.kek.name
    assert await place.kek.unwrap(first, CONTEXT) == await place.kek.unwrap(second, CONTEXT) == key
    await place.kek.health()


async def test_another_context_opens_nothing(place: WrappingPlace) -> None:
    wrapped = await place.kek.wrap(os.urandom(32), CONTEXT)
    for other in (
        replace(CONTEXT, issuer=UUID(int=2)),
        replace(CONTEXT, purpose="index"),
        replace(CONTEXT, version=2),
        replace(CONTEXT, policy=POLICY),
    ):
        with pytest.raises(KeyAltered):
            await place.kek.unwrap(wrapped, other)


async def test_an_altered_or_shortened_key_does_not_open(place: WrappingPlace) -> None:
    wrapped = await place.kek.wrap(os.urandom(32), CONTEXT)
    for at in (len(wrapped.sealed) // 2, -1):
        altered = bytearray(wrapped.sealed)
        altered[at] ^= 1
        with pytest.raises(KeyAltered):
            await place.kek.unwrap(replace(wrapped, sealed=bytes(altered)), CONTEXT)
    altered = bytearray(wrapped.sealed)
    altered[0] ^= 1
    with pytest.raises((KeyAltered, KeyRefused)):
        await place.kek.unwrap(replace(wrapped, sealed=bytes(altered)), CONTEXT)
    for length in (0, 1, 20, len(wrapped.sealed) - 1):
        with pytest.raises(KeyAltered):
            await place.kek.unwrap(replace(wrapped, sealed=wrapped.sealed[:length]), CONTEXT)


async def test_fifty_at_once_do_not_mix(place: WrappingPlace) -> None:
    keys = [os.urandom(32) for _ in range(50)]
    contexts = [replace(CONTEXT, version=number) for number in range(1, 51)]
    wrapped = await asyncio.gather(*map(place.kek.wrap, keys, contexts))
    assert await asyncio.gather(*map(place.kek.unwrap, wrapped, contexts)) == keys


async def test_what_is_no_key_is_not_wrapped(place: WrappingPlace) -> None:
    for length in (0, 31, 33):
        with pytest.raises(ValueError, match="32 bytes"):
            await place.kek.wrap(bytes(length), CONTEXT)


@pytest.mark.parametrize("place", REMOTE, indirect=True)
async def test_a_provider_that_is_down_is_told_and_comes_back(place: WrappingPlace) -> None:
    key = os.urandom(32)
    wrapped = await place.kek.wrap(key, CONTEXT)
    assert place.down is not None
    async with place.down():
        with pytest.raises(ProviderDown):
            await place.kek.unwrap(wrapped, CONTEXT)
    assert await place.kek.unwrap(wrapped, CONTEXT) == key


@pytest.mark.parametrize("place", REMOTE, indirect=True)
async def test_a_provider_that_is_silent_is_given_up_in_time(place: WrappingPlace) -> None:
    wrapped = await place.kek.wrap(os.urandom(32), CONTEXT)
    assert place.held is not None
    async with place.held():
        began_s = time.monotonic()
        made = await asyncio.gather(
            place.kek.wrap(os.urandom(32), CONTEXT), place.kek.unwrap(wrapped, CONTEXT), return_exceptions=True
        )
        assert time.monotonic() - began_s < TIMEOUT_S - 1
        assert [type(each) for each in made] == [ProviderDown, ProviderDown]


async def test_no_repr_and_no_error_tells_a_secret(
    place: WrappingPlace, kek: SecretStr, caplog: pytest.LogCaptureFixture
) -> None:
    key = os.urandom(32)
    caplog.set_level("DEBUG")
    wrapped = await place.kek.wrap(key, CONTEXT)
    told = repr(place.kek) + repr(wrapped) + repr(KeyEncryptionKeys([place.kek]))
    with pytest.raises(KeyAltered) as altered:
        await place.kek.unwrap(replace(wrapped, sealed=wrapped.sealed[:-1]), CONTEXT)
    told += "".join(traceback.format_exception(altered.value))
    if place.down is not None:
        async with place.down():
            with pytest.raises(ProviderDown) as down:
                await place.kek.wrap(key, CONTEXT)
        told += "".join(traceback.format_exception(down.value))
    told += "".join(record.getMessage() for record in caplog.records if record.name.startswith("service"))
    secrets = [PIN.get_secret_value(), TRANSIT_TOKEN, CLIENT_SECRET, ACCESS_TOKEN, kek.get_secret_value()]
    for secret in (key.hex(), repr(key)[2:-1], repr(wrapped.sealed)[2:-1], *secrets):
        assert secret not in told
