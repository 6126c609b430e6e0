"""Chunks of a document open where they belong, and nowhere else."""

import os
from dataclasses import replace
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from service.vault.document_chunks import CHUNK_BYTES, DOCUMENT_BYTES_MAX, Cipher
from service.vault.envelope import Tampered

SIZE = 2 * CHUNK_BYTES + 5
CIPHER = Cipher(UUID(int=1), UUID(int=2), SIZE, AESGCM(bytes(32)))


def test_a_document_has_chunks_of_a_mebibyte_and_a_rest() -> None:
    assert [CIPHER.length(number) for number in range(CIPHER.count)] == [CHUNK_BYTES, CHUNK_BYTES, 5]
    assert [replace(CIPHER, size_bytes=size).count for size in (1, CHUNK_BYTES, CHUNK_BYTES + 1)] == [1, 1, 2]
    assert replace(CIPHER, size_bytes=DOCUMENT_BYTES_MAX).count == 1024


def test_a_chunk_opens_as_what_it_was() -> None:
    for number in range(CIPHER.count):
        content = os.urandom(CIPHER.length(number))
        assert CIPHER.open(number, CIPHER.seal(number, content)) == content


def test_the_same_chunk_is_never_sealed_alike() -> None:
    assert CIPHER.seal(2, b"12345") != CIPHER.seal(2, b"12345")


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(CIPHER, issuer=UUID(int=3)),
        replace(CIPHER, document=UUID(int=3)),
        replace(CIPHER, key=AESGCM(b"1" * 32)),
        replace(CIPHER, size_bytes=CHUNK_BYTES),  # cut after its first chunk, which would so be the last
    ],
)
def test_a_chunk_of_another_place_does_not_open(elsewhere: Cipher) -> None:
    sealed = CIPHER.seal(0, bytes(CHUNK_BYTES))
    with pytest.raises(Tampered):
        elsewhere.open(0, sealed)


def test_chunks_in_another_order_do_not_open() -> None:
    with pytest.raises(Tampered):
        CIPHER.open(1, CIPHER.seal(0, bytes(CHUNK_BYTES)))


def test_a_document_whose_row_tells_another_size_does_not_open() -> None:
    with pytest.raises(Tampered):
        replace(CIPHER, size_bytes=SIZE - 1).open(2, CIPHER.seal(2, b"12345"))


@given(st.integers(0, 2**32), st.integers(1, 255))
@settings(max_examples=50, deadline=None)
def test_an_altered_or_shortened_chunk_does_not_open(place: int, change: int) -> None:
    sealed = bytearray(CIPHER.seal(2, b"12345"))
    place %= len(sealed)
    cut = bytes(sealed[:place])
    sealed[place] ^= change
    for altered in (bytes(sealed), cut):
        with pytest.raises(Tampered):
            CIPHER.open(2, altered)


def test_a_chunk_of_another_length_is_not_sealed() -> None:
    with pytest.raises(ValueError, match="chunk 2 has 5 bytes"):
        CIPHER.seal(2, b"1234")


def test_no_repr_tells_the_key() -> None:
    assert "AESGCM" not in repr(CIPHER)
