"""What every provider of signatures is held to: one protocol, its failures, and the check of what it hands out."""

from typing import Protocol

from eth_hash.auto import keccak

from service.keys.managed import Signature
from service.keys.signed import packed, recover

DIGEST_BYTES = 32
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of secp256k1; source: SEC 2


class ProviderUnusable(Exception):
    """A provider cannot be used as it is configured; the message says why and names the setting, never a secret."""


class ProviderDown(Exception):
    """No usable answer: nothing is known, and the same digest may be asked for again."""


class SignerRefused(Exception):
    """The provider's final word: this key does not sign, until somebody changes something there."""


class WrongSignature(SignerRefused):
    """What came back is no signature of this digest by this key."""


class UnknownSigner(Exception):
    """No provider holds a key for this address."""


class Signer(Protocol):
    """One key, wherever it is kept."""

    @property
    def address(self) -> bytes:
        """The account that it signs for, 20 bytes; it never changes."""

    @property
    def provider(self) -> str:
        """The kind of place that keeps the key."""

    async def sign_digest(self, digest: bytes) -> Signature:
        """Sign 32 bytes, with s in its lower half (EIP-2); the signature is known to be this key's.

        Raises:
            ValueError: `digest` is not 32 bytes.
            ProviderDown: no answer in time, or none that says anything; asking again is safe.
            SignerRefused: the provider will not sign, or what it gave is no signature by this key.
        """

    async def health(self) -> None:
        """Ask the provider whether the key is there.

        Raises:
            ProviderDown: no answer.
            SignerRefused: the key is gone or switched off.
        """


def insist_on_digest(digest: bytes) -> None:
    """Raise ValueError unless these are 32 bytes: a provider may hash or cut anything else."""
    if len(digest) != DIGEST_BYTES:
        raise ValueError("a digest has 32 bytes")


def address_of(point: bytes) -> bytes:
    """The address of an uncompressed public key: 64 bytes, or 65 with their leading 04.

    Raises:
        ValueError: another form.
    """
    if len(point) == 65 and point[0] == 4:
        point = point[1:]
    if len(point) != 64:
        raise ValueError("an uncompressed public key has 64 bytes after its leading 04")
    return keccak(point)[12:]


def verified(address: bytes, digest: bytes, r: int, s: int) -> Signature:
    """The signature that `r` and `s` make: s brought into its lower half, and v found by recovering the signer.

    Half of what an HSM signs has a high s, and none tells which of the two keys recovers: so both are tried.

    Raises:
        WrongSignature: neither recovers to `address`.
    """
    if 0 < r < _ORDER and 0 < s < _ORDER:
        low = min(s, _ORDER - s).to_bytes(32)
        for v in (27, 28):
            signature = Signature(v=v, r=r.to_bytes(32), s=low)
            if recover(digest, packed(signature)) == address:
                return signature
    raise WrongSignature(f"what was given for 0x{address.hex()} is no signature of its key")
