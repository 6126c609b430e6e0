"""The scripts that users copy, on a system of the test's own."""

from pathlib import Path

from tests.flows import devnets


def test_the_examples_tokenize_a_house_once_and_tell_its_history(place: Path) -> None:
    with devnets.running(place / "devnet", "--block-time", "0.2") as devnet:
        first = devnet.example("tokenize_house.py", "--reference", "folio-4711")
        assert "cap table at block" in first
        again = devnet.example("tokenize_house.py", "--reference", "folio-4711")
        assert _owners(again) == _owners(first)
        (token,) = devnet.get("/tokens")["data"]
        assert (token["name"], token["total_supply"]) == ("12 Harbour Street", "1000")

        told = devnet.example("ownership_history.py")
        for line in ("mint", "transfer", "Ada", "380", "320"):
            assert line in told
        past = devnet.example("ownership_history.py", token["id"], "--at-block", str(token["deployed_block"]))
        assert "mint" not in past


def _owners(told: str) -> list[str]:
    return told.split("cap table")[1].splitlines()[1:4]
