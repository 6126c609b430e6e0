"""Every error of every contract is told as one problem, or nobody can meet it."""

from service.chain import artifacts
from service.chain.reverts import _TIMELOCK
from service.refusals import BY_REVERT, TOLD_BY, UNTOLD

ERRORS = {entry["name"] for name in artifacts.names() for entry in artifacts.load(name).abi if entry["type"] == "error"}
OURS = {"NoContract"}  # the sender's own word for an address without code


def test_every_error_is_told_or_cannot_be_met() -> None:
    timelocks = {entry["name"] for entry in _TIMELOCK}
    assert set(BY_REVERT) | set(UNTOLD) == ERRORS | timelocks | OURS
    assert set(BY_REVERT) & set(UNTOLD) == set()


def test_every_slice_whose_problems_have_reverts_is_read() -> None:
    assert {problem.__module__ for problem in BY_REVERT.values()} == {module.__name__ for module in TOLD_BY}
