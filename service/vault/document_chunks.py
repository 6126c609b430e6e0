"""A document in chunks, each under AES-256-GCM with the document's own key and bound to its place.

A chunk that was moved, swapped with another document's or cut off, and a last chunk that is not the last, do not open.
"""

import os
from dataclasses import dataclass, field
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.vault.envelope import Tampered

CHUNK_BYTES = 2**20
DOCUMENT_BYTES_MAX = 2**30

OVERHEAD_BYTES = 28
"""What a sealed chunk is longer than its content."""

_BOUND = b"muniment document chunk 1|"
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Cipher:
    """What seals and opens the chunks of one document.

    A nonce is random, not the chunk's number: an upload that begins again seals other bytes under the same key.

    Args:
        size_bytes: of the whole document, 1 to DOCUMENT_BYTES_MAX; it says which chunk is the last.
        key: the document's own, 32 bytes.
    """

    issuer: UUID
    document: UUID
    size_bytes: int
    key: AESGCM = field(repr=False)

    @property
    def count(self) -> int:
        """How many chunks there are."""
        return -(-self.size_bytes // CHUNK_BYTES)

    def length(self, number: int) -> int:
        """How many bytes of the document a chunk has; numbers begin with 0."""
        return min(CHUNK_BYTES, self.size_bytes - number * CHUNK_BYTES)

    def seal(self, number: int, content: bytes) -> bytes:
        """Seal a chunk: nonce, ciphertext and tag.

        Raises:
            ValueError: it is not as long as this chunk is.

        Source: NIST SP 800-38D.
        """
        if len(content) != self.length(number):
            raise ValueError(f"chunk {number} has {self.length(number)} bytes")
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self.key.encrypt(nonce, content, self._bound(number))

    def open(self, number: int, sealed: bytes) -> bytes:
        """Open a chunk.

        Raises:
            Tampered: it is not this chunk of this document, or not whole.
        """
        try:
            content = self.key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._bound(number))
        except (InvalidTag, ValueError):
            raise Tampered(f"chunk {number} of a document does not open: altered, or another place's") from None
        if len(content) != self.length(number):
            raise Tampered(f"chunk {number} of a document is not as long as it was")
        return content

    def _bound(self, number: int) -> bytes:
        last = b"\x01" if number == self.count - 1 else b"\x00"
        return _BOUND + self.issuer.bytes + self.document.bytes + number.to_bytes(4) + last
