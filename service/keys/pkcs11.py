"""Signers in an HSM, by PKCS#11: one session, on one thread of its own.

A pool of sessions over several threads crashes the process with common modules, and one session signs thousands of
times a second.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11 import exceptions as words
from pkcs11.util.ec import encode_named_curve_parameters
from pydantic import SecretStr

from service.keys.managed import Signature
from service.keys.signing import (
    ProviderDown,
    ProviderUnusable,
    SignerRefused,
    address_of,
    insist_on_digest,
    verified,
)

_CURVE = encode_named_curve_parameters("secp256k1")
_PIN_REFUSED = (
    words.PinIncorrect,
    words.PinInvalid,
    words.PinLenRange,
    words.PinExpired,
    words.PinLocked,
    words.UserPinNotInitialized,
)
_FINAL = (
    words.MechanismInvalid,
    words.FunctionNotSupported,
    words.FunctionRejected,
    words.KeyTypeInconsistent,
    words.KeySizeRange,
)
T = TypeVar("T")


class Token:
    """One token and its session; every call runs on the one thread that may use it.

    Args:
        pin: the user's PIN; no error and no repr tells it.
        timeout_s: longest wait for one answer, those before it included. A call that hangs inside the module cannot be
            cut off: the signers stay down until it returns.
    """

    def __init__(self, module: Path, label: str, pin: SecretStr, *, timeout_s: float) -> None:
        self._module, self._label, self._pin, self._timeout_s = str(module), label, pin, timeout_s
        self._session: pkcs11.Session | None = None
        self._keys: dict[bytes, Any] = {}
        self._pin_refused = False
        self._pid = os.getpid()
        self._thread = _one_thread()

    async def addresses(self) -> list[bytes]:
        """The accounts of the token's secp256k1 keys.

        Raises:
            ProviderUnusable: no such module or token, or the PIN is refused.
            ProviderDown: the token does not answer.
        """
        try:
            return await self.run(lambda: list(self._logged_in()))
        except SignerRefused as error:
            raise ProviderUnusable(str(error)) from None

    async def sign(self, address: bytes, digest: bytes) -> bytes:
        """r and s over 32 bytes, as the token makes them."""

        def work() -> bytes:
            made: bytes = self._key(address).sign(digest, mechanism=Mechanism.ECDSA)
            return made

        return await self.run(work)

    async def check(self, address: bytes) -> None:
        """Ask the token for the key; failures as in `Signer.health`."""
        await self.run(lambda: self._key(address)[Attribute.KEY_TYPE])

    async def run(self, work: Callable[[], T]) -> T:
        """Do something on the token's thread, and read the token's words."""
        if self._pid != os.getpid():
            self._begin_again()
        call = asyncio.get_running_loop().run_in_executor(self._thread, self._told, work)
        try:
            return await asyncio.wait_for(call, self._timeout_s)
        except TimeoutError:
            raise ProviderDown(f"the token {self._label!r} gave no answer within {self._timeout_s:g} s") from None

    async def close(self) -> None:
        """Log out, so that the token can be opened again; a call that hangs is waited for as long as for any answer."""
        logout = asyncio.get_running_loop().run_in_executor(self._thread, self._forget)
        self._thread.shutdown(wait=False)
        with suppress(TimeoutError):
            await asyncio.wait_for(logout, self._timeout_s)

    def session(self) -> pkcs11.Session:
        """The token's one session, logged in; only for what `run` runs."""
        self._logged_in()
        assert self._session is not None
        return self._session

    def _begin_again(self) -> None:
        # A forked process has neither the thread nor a session, and PKCS#11 makes it initialize the module anew.
        self._pid, self._thread, self._session, self._keys = os.getpid(), _one_thread(), None, {}
        pkcs11.lib(self._module).reinitialize()

    def _told(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except _PIN_REFUSED:
            # Never tried again: a few wrong PINs lock the token.
            self._pin_refused = True
            raise SignerRefused(f"the token {self._label!r} refuses MUNIMENT_PKCS11_PIN") from None
        except _FINAL as error:
            raise SignerRefused(f"the token {self._label!r} does not do that: {type(error).__name__}") from None
        except pkcs11.PKCS11Error as error:
            self._forget()
            raise ProviderDown(f"the token {self._label!r} does not answer: {type(error).__name__}") from None

    def _key(self, address: bytes) -> Any:
        key = self._logged_in().get(address)
        if key is None:
            raise SignerRefused(f"the token {self._label!r} holds no key for 0x{address.hex()}")
        return key

    def _logged_in(self) -> dict[bytes, Any]:
        if self._session is not None:
            return self._keys
        if self._pin_refused:
            raise SignerRefused(f"the token {self._label!r} has refused MUNIMENT_PKCS11_PIN: not tried again")
        try:
            token = pkcs11.lib(self._module).get_token(token_label=self._label)
        except words.NoSuchToken:
            raise SignerRefused(f"MUNIMENT_PKCS11_TOKEN: there is no token {self._label!r}") from None
        except words.MultipleTokensReturned:
            raise SignerRefused(f"MUNIMENT_PKCS11_TOKEN: several tokens are called {self._label!r}") from None
        session = token.open(user_pin=self._pin.get_secret_value())
        self._session, self._keys = session, _keys(session)
        return self._keys

    def _forget(self) -> None:
        session, self._session, self._keys = self._session, None, {}
        if session is not None:
            with suppress(pkcs11.PKCS11Error):
                session.close()

    def __repr__(self) -> str:
        return f"Token({self._label!r})"


class Pkcs11Signer:
    """A key of a token."""

    provider = "pkcs11"

    def __init__(self, token: Token, address: bytes) -> None:
        self._token = token
        self.address = address

    async def sign_digest(self, digest: bytes) -> Signature:
        """See `Signer.sign_digest`; another signature each time, as the token draws its own nonces."""
        insist_on_digest(digest)
        made = await self._token.sign(self.address, digest)
        return verified(self.address, digest, int.from_bytes(made[:32]), int.from_bytes(made[32:]))

    async def health(self) -> None:
        """See `Signer.health`."""
        await self._token.check(self.address)


@asynccontextmanager
async def open_token(
    module: Path, label: str, pin: SecretStr, *, timeout_s: float
) -> AsyncIterator[list[Pkcs11Signer]]:
    """The signers of a token: every secp256k1 private key with its public key beside it, under the same id.

    Raises:
        ProviderUnusable: no such module or token, or the PIN is refused.
        ProviderDown: the token does not answer.
    """
    load(module)
    token = Token(module, label, pin, timeout_s=timeout_s)
    try:
        yield [Pkcs11Signer(token, address) for address in await token.addresses()]
    finally:
        await token.close()


def load(module: Path) -> None:
    """Load a module into this process.

    Raises:
        ProviderUnusable: it is none.
    """
    try:
        pkcs11.lib(str(module))
    except (RuntimeError, OSError):
        raise ProviderUnusable(f"MUNIMENT_PKCS11_MODULE: {module} cannot be loaded as a PKCS#11 module") from None


def _one_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="pkcs11")


def _keys(session: pkcs11.Session) -> dict[bytes, Any]:
    public = {}
    for key in session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.KEY_TYPE: KeyType.EC}):
        if key[Attribute.EC_PARAMS] == _CURVE:
            public[key[Attribute.ID]] = _point(key[Attribute.EC_POINT])
    private = session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.KEY_TYPE: KeyType.EC})
    return {address_of(public[key[Attribute.ID]]): key for key in private if key[Attribute.ID] in public}


def _point(written: bytes) -> bytes:
    """The bare point of a CKA_EC_POINT: a DER octet string by the standard, and the point itself in some modules."""
    return written[2:] if len(written) == 67 else written
