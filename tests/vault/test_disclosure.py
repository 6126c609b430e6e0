"""Disclosures prove what they show, and nothing that was altered."""

import hashlib
import json

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from service.vault import disclosure
from service.vault.disclosure import Attribute, DisclosureFalse, check, disclose, root_of, salted

VALUES = {"parcel": "CH-1204-77", "valuation": "1250000", "owner": "Anna Muster", "lien": "none", "zone": "W3"}

# The tree that Certificate Transparency implementations are held to: eight leaves, and the root over the first n.
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

names = st.text(min_size=1, max_size=12)
attributes = st.dictionaries(names, st.text(max_size=20), min_size=1, max_size=40)
PLACES = st.integers(0, 2**32)  # the length of a disclosure is random, so it can't bound what is drawn
examples = settings(max_examples=60, deadline=None)


def by_index(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes | None:
    """The root that an inclusion proof leads to, by the steps of RFC 9162 section 2.1.3.2; None where it fails."""
    fn, sn, reached = index, size - 1, leaf
    for sibling in path:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            reached = hashlib.sha256(b"\x01" + sibling + reached).digest()
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            reached = hashlib.sha256(b"\x01" + reached + sibling).digest()
        fn, sn = fn >> 1, sn >> 1
    return reached if sn == 0 else None


@pytest.mark.parametrize("count", range(1, 9))
def test_roots_are_those_of_certificate_transparency(count: int) -> None:
    hashes = [hashlib.sha256(b"\x00" + bytes.fromhex(leaf)).digest() for leaf in LEAVES[:count]]
    assert disclosure._root(hashes).hex() == ROOTS[count - 1]


@given(attributes)
@examples
def test_every_attribute_proves_itself_by_the_steps_of_the_rfc_too(values: dict[str, str]) -> None:
    made = salted(values)
    root = root_of(made)
    assert check(disclose(made, values), root) == values
    for place, each in enumerate(made):
        (shown,) = json.loads(disclose(made, [each.name]))["attributes"]
        path = [bytes.fromhex(step.partition(":")[2]) for step in shown["path"]]
        assert by_index(each.hash, place, len(made), path) == root


@given(attributes, st.data())
@examples
def test_one_altered_byte_makes_a_disclosure_fail(values: dict[str, str], data: st.DataObject) -> None:
    made = salted(values)
    shown = data.draw(st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=4, unique=True))
    told = bytearray(disclose(made, shown))
    told[data.draw(PLACES) % len(told)] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DisclosureFalse):
        check(bytes(told), root_of(made))


@given(attributes, st.data())
@examples
def test_a_byte_left_out_or_put_in_makes_a_disclosure_fail(values: dict[str, str], data: st.DataObject) -> None:
    made = salted(values)
    told = disclose(made, sorted(values)[:2])
    at = data.draw(PLACES) % len(told)
    for altered in (told[:at] + told[at + 1 :], told[:at] + b" " + told[at:], told[:at] + b"\n" + told[at:]):
        with pytest.raises(DisclosureFalse):
            check(altered, root_of(made))


def test_the_root_of_another_commitment_fails() -> None:
    assert root_of(salted(VALUES)) != root_of(salted(VALUES))  # salts are fresh
    with pytest.raises(DisclosureFalse, match="does not lead to this root"):
        check(disclose(salted(VALUES), ["parcel"]), root_of(salted(VALUES)))


@pytest.mark.parametrize("field", ["name", "path", "salt", "value"])
def test_what_two_attributes_swap_fails(field: str) -> None:
    made = salted(VALUES)
    told = json.loads(disclose(made, ["parcel", "valuation"]))
    one, other = told["attributes"]
    one[field], other[field] = other[field], one[field]
    with pytest.raises(DisclosureFalse):
        check(rfc8785.dumps(told), root_of(made))


def test_a_disclosure_tells_no_other_name_and_no_other_value() -> None:
    told = disclose(salted(VALUES), ["valuation"]).decode()
    assert "1250000" in told
    for name, value in VALUES.items():
        if name != "valuation":
            assert name not in told
            assert value not in told


def test_a_place_in_the_tree_does_not_follow_from_the_name() -> None:
    places = {tuple(each.name for each in salted(VALUES)) for _ in range(20)}
    assert len(places) > 5


def test_a_node_is_not_taken_for_a_leaf() -> None:
    made = salted(VALUES)
    told = json.loads(disclose(made, ["parcel"]))
    told["attributes"][0]["path"] = told["attributes"][0]["path"][1:]
    with pytest.raises(DisclosureFalse):
        check(rfc8785.dumps(told), root_of(made))


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"[]",
        b"null",
        b'{"attributes":[],"form":"muniment-disclosure-1"}',
        b'{"attributes":[1],"form":"muniment-disclosure-1"}',
        b'{"attributes":{},"form":"muniment-disclosure-1"}',
        b'{"attributes":[{"name":"a","path":[1],"salt":"'
        + b"00" * 32
        + b'","value":"b"}],"form":"muniment-disclosure-1"}',
        b'{"attributes":[{"name":"a","path":[],"salt":"00","value":"b"}],"form":"muniment-disclosure-1"}',
        b'{"attributes":[],"form":"another"}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":NaN}',
        b'{"a":"\\ud800"}',
    ],
)
def test_what_is_no_disclosure_is_refused(told: bytes) -> None:
    with pytest.raises(DisclosureFalse):
        check(told, bytes(32))


def test_an_attribute_that_is_disclosed_twice_is_refused() -> None:
    made = salted(VALUES)
    with pytest.raises(DisclosureFalse, match="twice"):
        check(disclose(made, ["parcel", "parcel"]), root_of(made))


def test_a_line_feed_at_the_end_is_an_editors() -> None:
    made = salted(VALUES)
    assert check(disclose(made, ["parcel"]) + b"\n", root_of(made)) == {"parcel": VALUES["parcel"]}


def test_attributes_are_1_to_256() -> None:
    assert len(salted({str(number): "" for number in range(256)})) == 256
    for values in ({}, {str(number): "" for number in range(257)}):
        with pytest.raises(ValueError, match="1 to 256"):
            salted(values)


def test_no_repr_tells_a_value_or_a_salt() -> None:
    assert repr(Attribute("parcel", "CH-1204-77", b"s" * 32)) == "Attribute(name='parcel')"
