"""One hash for all that a contract announced: the same for whoever saw the same chain, and another for any other."""

import json
from hashlib import sha256
from itertools import pairwise
from typing import Any

import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from service.mirror import digests

CHAIN_ID = 31337
ONE, TWO = b"1" * 20, b"2" * 20
HASHES = {number: sha256(bytes([number])).digest() for number in range(10)}

ROWS = st.lists(
    st.tuples(st.sampled_from((ONE, TWO)), st.integers(0, 9), st.integers(0, 50), st.binary(min_size=0, max_size=9)),
    unique_by=lambda row: (row[1], row[2]),
    max_size=40,
)


def columns(rows: list[tuple[bytes, int, int, bytes]]) -> digests.Columns:
    given = [(contract, number, index.to_bytes(4) + rest) for contract, number, index, rest in rows]
    contracts, numbers, encoded = zip(*given, strict=True) if given else ((), (), ())
    return contracts, numbers, encoded


def test_a_digest_is_what_its_definition_says() -> None:
    transaction = b"t" * 32
    (moved,) = digests.transfer_rows([3], [transaction], [ONE], [TWO], *digests.words([7], [None]))
    (said,) = digests.event_rows([1], [transaction], ["Paused"], [{"b": 1, "a": "é"}])
    assert moved == (3).to_bytes(4) + b"\1" + transaction + ONE + TWO + (7).to_bytes(32)
    arguments = '{"a":"é","b":1}'.encode()
    sized = len(arguments).to_bytes(4)
    assert said == (1).to_bytes(4) + b"\0" + transaction + (6).to_bytes(4) + b"Paused" + sized + arguments
    closings = digests.closing_digests(CHAIN_ID, {}, HASHES, ([ONE], [5], [moved]), ([ONE], [5], [said]))
    before = sha256(b"muniment contract digest 1\0" + CHAIN_ID.to_bytes(8) + ONE).digest()
    parts = (b"muniment block digest 1\0", before, (5).to_bytes(8), HASHES[5], said, moved)
    assert closings == {(ONE,): {5: sha256(b"".join(parts)).digest()}}
    assert digests.beginning(CHAIN_ID, ONE) == before


def test_a_deed_and_an_amount_of_its_number_differ_and_so_does_a_deed_of_another_amount() -> None:
    rows = [
        digests.transfer_rows([0], [b"t" * 32], [ONE], [TWO], *digests.words([amount], [deed_id]))[0]
        for amount, deed_id in ((7, None), (1, 7), (2, 7), (7, 7))
    ]
    assert len(set(rows)) == 4


@given(ROWS, st.lists(st.integers(1, 9), max_size=4), st.randoms())
@settings(max_examples=200, deadline=None)
def test_any_cut_into_steps_gives_the_same_digests(
    rows: list[tuple[bytes, int, int, bytes]], cuts: list[int], random: Any
) -> None:
    whole = digests.closing_digests(CHAIN_ID, {}, HASHES, columns(rows))
    edges = [0, *sorted(set(cuts)), 10]
    standing: dict[tuple[bytes], bytes] = {}
    stepwise: dict[tuple[bytes], dict[int, bytes]] = {}
    for first, end in pairwise(edges):
        step = [row for row in rows if first <= row[1] < end]
        random.shuffle(step)
        middle = len(step) // 2
        closings = digests.closing_digests(CHAIN_ID, standing, HASHES, columns(step[:middle]), columns(step[middle:]))
        for key, by_block in closings.items():
            stepwise.setdefault(key, {}).update(by_block)
            standing[key] = by_block[max(by_block)]
    assert stepwise == whole


@given(ROWS.filter(bool), st.data())
@settings(max_examples=100, deadline=None)
def test_a_missing_row_and_a_changed_byte_change_every_digest_from_its_block_on(
    rows: list[tuple[bytes, int, int, bytes]], data: Any
) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    contract, number, index, rest = rows[place]
    changed = list(rows)
    if data.draw(st.booleans()):
        del changed[place]
    else:
        changed[place] = (contract, number, index, rest + b"\0")
    before = digests.closing_digests(CHAIN_ID, {}, HASHES, columns(rows))
    after = digests.closing_digests(CHAIN_ID, {}, HASHES, columns(changed))
    for block, digest in before[(contract,)].items():
        found = after.get((contract,), {}).get(block)
        assert (found == digest) == (block < number)


@given(
    st.dictionaries(
        st.text("abcXYZ_", min_size=1),
        st.recursive(st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(), st.lists, max_leaves=5),
        max_size=4,
    )
)
def test_arguments_are_written_as_rfc_8785_says(arguments: dict[str, Any]) -> None:
    written = rfc8785.dumps(arguments)
    assert digests.json_sized(arguments) == len(written).to_bytes(4) + written


def test_a_number_beyond_2_to_the_53_keeps_its_digits() -> None:
    assert json.loads(digests.json_sized({"until": 2**64 - 1})[4:]) == {"until": 2**64 - 1}
