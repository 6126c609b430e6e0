"""Signers in a real SoftHSM: its traps, its PIN, and what ends a session."""

import asyncio
import logging
import os
import traceback
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import exceptions as words
from pydantic import SecretStr

from service.keys.pkcs11 import Pkcs11Signer, Token, _point, open_token
from service.keys.signed import packed, recover
from service.keys.signing import ProviderDown, ProviderUnusable, SignerRefused, WrongSignature
from tests.keys.providers import PIN, TIMEOUT_S, Hsm, in_hsm
from tests.keys.test_unsigned import ORDER


async def test_the_token_itself_signs_with_a_high_s(hsm: Hsm) -> None:
    # Else the conformance test of the lower half would show nothing.
    async with in_hsm(hsm) as there:
        assert isinstance(there.signer, Pkcs11Signer)
        made = [await there.signer._token.sign(there.signer.address, bytes([number]) * 32) for number in range(40)]
        assert any(int.from_bytes(each[32:]) > ORDER // 2 for each in made)


async def test_a_key_of_another_curve_is_no_signer(hsm: Hsm) -> None:
    async with open_token(hsm.module, hsm.label, PIN, timeout_s=TIMEOUT_S) as signers:
        assert len(signers) == 1


@pytest.mark.parametrize("leading", [b"", b"\x04\x41"])
def test_a_point_is_read_with_and_without_its_der_header(leading: bytes) -> None:
    point = b"\x04" + b"\x41" * 64
    assert _point(leading + point) == point


async def test_a_cut_session_is_opened_again(hsm: Hsm) -> None:
    async with in_hsm(hsm) as there:
        assert isinstance(there.signer, Pkcs11Signer)
        token = there.signer._token
        assert token._session is not None
        await token.run(token._session.close)
        with pytest.raises(ProviderDown):
            await there.signer.sign_digest(bytes(32))
        made = await there.signer.sign_digest(bytes(32))
        assert recover(bytes(32), packed(made)) == there.signer.address


async def test_a_wrong_pin_is_tried_once_and_never_told(hsm: Hsm, caplog: pytest.LogCaptureFixture) -> None:
    wrong = SecretStr("161803")
    token = Token(hsm.module, hsm.label, wrong, timeout_s=TIMEOUT_S)
    with caplog.at_level(logging.DEBUG), pytest.raises(ProviderUnusable, match="refuses MUNIMENT_PKCS11_PIN") as first:
        await token.addresses()
    with pytest.raises(ProviderUnusable, match="not tried again") as second:
        await token.addresses()
    told = "".join(traceback.format_exception(first.value) + traceback.format_exception(second.value))
    assert wrong.get_secret_value() not in told + repr(token) + caplog.text
    await token.close()


async def test_no_such_token_is_told_by_the_setting(hsm: Hsm) -> None:
    with pytest.raises(ProviderUnusable, match="MUNIMENT_PKCS11_TOKEN"):
        async with open_token(hsm.module, "nobody", PIN, timeout_s=TIMEOUT_S):
            pass


async def test_what_is_no_module_is_told_by_the_setting(tmp_path: Path) -> None:
    (tmp_path / "module.so").write_text("no library")
    for module in (tmp_path / "module.so", tmp_path / "missing.so"):
        with pytest.raises(ProviderUnusable, match="MUNIMENT_PKCS11_MODULE"):
            async with open_token(module, "any", PIN, timeout_s=TIMEOUT_S):
                pass


async def test_a_key_that_is_gone_is_a_final_word(hsm: Hsm) -> None:
    async with in_hsm(hsm) as there:
        assert isinstance(there.signer, Pkcs11Signer)
        gone = Pkcs11Signer(there.signer._token, b"\x22" * 20)
        with pytest.raises(SignerRefused, match="holds no key"):
            await gone.sign_digest(bytes(32))
        with pytest.raises(SignerRefused, match="holds no key"):
            await gone.health()


async def test_a_signature_by_another_key_is_not_handed_out(hsm: Hsm) -> None:
    async with in_hsm(hsm) as there:
        assert isinstance(there.signer, Pkcs11Signer)
        there.signer._token._keys[b"\x22" * 20] = there.signer._token._keys[there.signer.address]
        with pytest.raises(WrongSignature):
            await Pkcs11Signer(there.signer._token, b"\x22" * 20).sign_digest(bytes(32))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (words.MechanismInvalid, SignerRefused),
        (words.FunctionRejected, SignerRefused),
        (words.DeviceRemoved, ProviderDown),
        (words.GeneralError, ProviderDown),
        (words.PinLocked, SignerRefused),
    ],
)
async def test_the_words_of_a_token_are_final_or_not(
    hsm: Hsm, error: type[pkcs11.PKCS11Error], told: type[Exception]
) -> None:
    def work() -> None:
        raise error

    token = Token(hsm.module, hsm.label, PIN, timeout_s=TIMEOUT_S)
    with pytest.raises(told):
        await token.run(work)
    await token.close()


async def test_a_forked_process_signs_with_a_session_of_its_own(hsm: Hsm) -> None:
    async with in_hsm(hsm) as there:
        await there.signer.sign_digest(bytes(32))
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            # Nothing of pytest's may run on in here.
            asyncio.set_event_loop(None)
            asyncio.events._set_running_loop(None)
            try:
                os.write(writing, packed(asyncio.run(there.signer.sign_digest(b"\x01" * 32))))
            finally:
                os._exit(0)
        os.close(writing)
        made = await asyncio.to_thread(os.read, reading, 65)
        os.close(reading)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert status == 0
        assert recover(b"\x01" * 32, made) == there.signer.address
        assert recover(bytes(32), packed(await there.signer.sign_digest(bytes(32)))) == there.signer.address


async def test_a_token_that_was_closed_can_be_opened_again_at_once(hsm: Hsm) -> None:
    for _ in range(20):
        token = Token(hsm.module, hsm.label, PIN, timeout_s=TIMEOUT_S)
        try:
            assert len(await token.addresses()) == 1
        finally:
            await token.close()
