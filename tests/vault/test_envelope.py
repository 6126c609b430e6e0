"""A record's two layers: what opens them, what does not, and what a rewrap needs."""

import os
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from service.vault.envelope import (
    OVERHEAD_BYTES,
    Opened,
    Row,
    Sealed,
    Tampered,
    key_version,
    open_many,
    open_sealed,
    rewrap_many,
    seal,
    seal_many,
    unwrap_subject_key,
    wrap_subject_key,
)

DATA_KEYS = {1: os.urandom(32), 2: os.urandom(32)}
ROW = Row(uuid4(), uuid4(), uuid4(), os.urandom(32))
RECORD = Opened(ROW, b"tok_live_0123456789abcdefghijkl", os.urandom(32), b"4111 1111 1111 1111")
SEALED = Sealed(ROW, RECORD.token, RECORD.record_key, seal(RECORD, 1, DATA_KEYS[1]))


@settings(max_examples=60, deadline=None)
@given(value=st.binary(max_size=2_000), token=st.none() | st.binary(min_size=1, max_size=64), subject=st.booleans())
def test_a_value_comes_back(value: bytes, token: bytes | None, subject: bool) -> None:
    row = ROW if subject else replace(ROW, subject=None)
    sealed = seal(Opened(row, token, RECORD.record_key, value), 2, DATA_KEYS[2])
    assert open_sealed(Sealed(row, token, RECORD.record_key, sealed), DATA_KEYS) == value
    assert len(sealed) == len(value) + OVERHEAD_BYTES
    assert key_version(sealed) == 2


def test_one_value_is_never_sealed_alike_twice() -> None:
    assert len(set(seal_many([RECORD] * 100, 1, DATA_KEYS[1]))) == 100


def test_both_layers_are_what_other_code_reads() -> None:
    sealed, row = SEALED.sealed, ROW
    assert sealed[:6] == bytes((1, 1, 0, 0, 0, 1))
    assert row.subject is not None
    bound = b"muniment vault row 1|" + sealed[:6] + row.issuer.bytes + row.policy.bytes + row.subject.bytes + row.index
    inner = AESGCM(DATA_KEYS[1]).decrypt(sealed[6:18], sealed[18:], bound)
    assert RECORD.token is not None
    info = b"muniment vault record 1|" + row.issuer.bytes + row.policy.bytes + b"t" + RECORD.token
    key = HKDF(hashes.SHA256(), 32, salt=None, info=info).derive(RECORD.record_key)
    assert AESGCM(key).decrypt(inner[:12], inner[12:], None) == RECORD.value


@pytest.mark.parametrize(
    "other",
    [
        replace(ROW, issuer=uuid4()),
        replace(ROW, policy=uuid4()),
        replace(ROW, subject=uuid4()),
        replace(ROW, subject=None),
        replace(ROW, index=os.urandom(32)),
    ],
)
def test_a_record_opens_in_its_own_row_alone(other: Row) -> None:
    with pytest.raises(Tampered, match="binds a record to its row"):
        open_sealed(replace(SEALED, row=other), DATA_KEYS)
    (rewrapped,) = rewrap_many([(other, SEALED.sealed)], DATA_KEYS, version=2)
    assert isinstance(rewrapped, Tampered)


def test_swapped_rows_do_not_open_and_harm_no_other() -> None:
    rows = [replace(ROW, index=os.urandom(32)) for _ in range(3)]
    first, second, third = seal_many([replace(RECORD, row=row) for row in rows], 1, DATA_KEYS[1])
    swapped = [
        replace(SEALED, row=row, sealed=sealed) for row, sealed in zip(rows, (second, first, third), strict=True)
    ]
    opened = open_many(swapped, DATA_KEYS)
    assert [isinstance(each, Tampered) for each in opened] == [True, True, False]
    assert opened[2] == RECORD.value


@pytest.mark.parametrize("token", [b"tok_live_another", None])
def test_every_key_without_the_token_opens_nothing(token: bytes | None) -> None:
    with pytest.raises(Tampered, match="own layer"):
        open_sealed(replace(SEALED, token=token), DATA_KEYS)


def test_without_the_subjects_key_nothing_opens() -> None:
    with pytest.raises(Tampered, match="own layer"):
        open_sealed(replace(SEALED, record_key=os.urandom(32)), DATA_KEYS)


def test_a_token_that_looks_like_an_index_is_none() -> None:
    exportable = seal(replace(RECORD, token=None), 1, DATA_KEYS[1])
    with pytest.raises(Tampered, match="own layer"):
        open_sealed(replace(SEALED, token=ROW.index, sealed=exportable), DATA_KEYS)


def test_every_altered_bit_and_every_cut_is_noticed() -> None:
    whole = SEALED.sealed
    altered = []
    for at in range(len(whole)):
        copy = bytearray(whole)
        copy[at] ^= 1 << (at % 8)
        altered.append(bytes(copy))
    cut = [whole[:length] for length in range(len(whole))]
    opened = open_many([replace(SEALED, sealed=each) for each in (*altered, *cut, whole + b"\0")], DATA_KEYS)
    assert all(isinstance(each, Tampered) for each in opened)


def test_another_data_key_of_the_same_version_opens_nothing() -> None:
    with pytest.raises(Tampered):
        open_sealed(SEALED, {1: DATA_KEYS[2]})
    with pytest.raises(Tampered, match="does not have"):
        open_sealed(SEALED, {2: DATA_KEYS[2]})


def test_a_rewrap_changes_the_data_key_and_needs_no_token() -> None:
    (rewrapped,) = rewrap_many([(ROW, SEALED.sealed)], DATA_KEYS, version=2)
    assert isinstance(rewrapped, bytes)
    assert key_version(rewrapped) == 2
    assert open_sealed(replace(SEALED, sealed=rewrapped), {2: DATA_KEYS[2]}) == RECORD.value


def test_a_subjects_key_comes_back_for_its_subject_alone() -> None:
    key, issuer, subject = os.urandom(32), uuid4(), uuid4()
    wrapped = wrap_subject_key(key, DATA_KEYS[1], 1, issuer=issuer, subject=subject)
    assert unwrap_subject_key(wrapped, DATA_KEYS[1], 1, issuer=issuer, subject=subject) == key
    for places in ((1, issuer, uuid4()), (1, uuid4(), subject), (2, issuer, subject)):
        with pytest.raises(Tampered):
            unwrap_subject_key(wrapped, DATA_KEYS[1], places[0], issuer=places[1], subject=places[2])
    with pytest.raises(Tampered):
        unwrap_subject_key(wrapped[:-1], DATA_KEYS[1], 1, issuer=issuer, subject=subject)


def test_nothing_tells_a_value_a_token_or_a_key() -> None:
    with pytest.raises(Tampered) as caught:
        open_sealed(replace(SEALED, record_key=bytes(range(32))), DATA_KEYS)
    told = repr(RECORD) + repr(SEALED) + str(caught.value)
    for secret in (RECORD.value, RECORD.token, RECORD.record_key, SEALED.sealed, bytes(range(32))):
        assert secret is not None
        assert repr(secret)[2:-1] not in told


@pytest.mark.parametrize(
    ("record", "version", "data_key"),
    [
        (RECORD, 0, DATA_KEYS[1]),
        (RECORD, 2**32, DATA_KEYS[1]),
        (RECORD, 1, b"short"),
        (replace(RECORD, record_key=b"short"), 1, DATA_KEYS[1]),
        (replace(RECORD, row=Row(UUID(int=1), UUID(int=2), None, b"short")), 1, DATA_KEYS[1]),
    ],
    ids=["version-0", "version-2**32", "data-key", "record-key", "index"],
)
def test_what_is_no_key_index_or_version_is_refused(record: Opened, version: int, data_key: bytes) -> None:
    with pytest.raises(ValueError, match=r"bytes|2\*\*32"):
        seal(record, version, data_key)
