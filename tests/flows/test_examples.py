"""The scripts that users copy, on one system of the tests' own."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows import devnets
from tests.flows.devnets import Devnet


@pytest.fixture(scope="module")
def devnet() -> Iterator[Devnet]:
    """One devnet for all examples, as a user has one: whichever is run first deploys what they share."""
    with (
        tempfile.TemporaryDirectory(prefix="muniment-test-", ignore_cleanup_errors=True) as folder,
        devnets.running(Path(folder).resolve() / "devnet", "--block-time", "0.2") as running,
    ):
        yield running


def test_the_examples_tokenize_a_house_once_and_tell_its_history(devnet: Devnet) -> None:
    first = devnet.example("tokenize_house.py", "--reference", "folio-4711")
    assert "cap table at block" in first
    again = devnet.example("tokenize_house.py", "--reference", "folio-4711")
    assert _owners(again) == _owners(first)
    (token,) = [each for each in devnet.get("/tokens")["data"] if each["symbol"] == "HARB12"]
    assert (token["name"], token["total_supply"]) == ("12 Harbour Street", "1000")

    told = devnet.example("ownership_history.py", token["id"])
    for line in ("mint", "transfer", "Ada", "380", "320"):
        assert line in told
    past = devnet.example("ownership_history.py", token["id"], "--at-block", str(token["deployed_block"]))
    assert "mint" not in past


def test_the_example_of_shares_sells_to_who_is_allowed_and_names_the_rule_that_forbids_the_rest(devnet: Devnet) -> None:
    for _ in range(2):
        told = devnet.example("regulated_shares.py", "--reference", "works-9")
        assert "100 shares to Chiyo would be refused: receiver-country" in told
        assert sorted(told.splitlines()[-2:]) == ["Ada    holds 800", "Bruno  holds 100"]
    assert len(devnet.get("/identities")["data"]) == 3


def test_the_example_of_a_vote_mints_what_was_decided_once(devnet: Devnet) -> None:
    for _ in range(2):
        told = devnet.example("council_vote.py", "--reference", "roof-9").splitlines()
        assert "executed: for 65, against 35" in told
        assert sorted(told[-3:]) == ["Ada    holds 40", "Bruno  holds 35", "Chiyo  holds 75"]


def _owners(told: str) -> list[str]:
    return told.split("cap table")[1].splitlines()[1:4]
