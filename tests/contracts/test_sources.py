"""What holds for every source: each write has a role, and each thing that others see has its words."""

import re
from collections import defaultdict

from web3 import Web3
from web3.contract import Contract

from tests.contracts.onchain import README, ROOT
from tests.contracts.syntax import declarations

ROLE = re.compile(r"^\| `(?P<role>[A-Z]+)` \| (?P<number>\d+) \| (?P<may>[^|]*)\|(?P<functions>[^|]*)\|$", re.MULTILINE)


def stated() -> dict[str, tuple[int, set[str]]]:
    """The README's table of roles: number and functions, by name."""
    rows = ROLE.finditer(README.read_text())
    return {row["role"]: (int(row["number"]), set(re.findall(r"`(\w+)`", row["functions"]))) for row in rows}


def defaults(authority: Contract) -> dict[str, int]:
    """What the authority told when it was made: the role that each function needs, by selector."""
    events = authority.events.DefaultFunctionRole().get_logs(from_block=0)
    return {bytes(event["args"]["selector"])[:4].hex(): event["args"]["role"] for event in events}


def test_every_write_by_permission_has_the_role_that_the_readme_states(chain: Web3, authority: Contract) -> None:
    restricted = {each.selector: each.name for each in declarations() if "restricted" in each.modifiers}
    assert len(restricted) > 20
    told = defaults(authority)
    assert {selector: restricted.get(selector) for selector in told} == restricted
    of_role = defaultdict(set)
    for selector, role in told.items():
        of_role[role].add(restricted[selector])
        assert authority.functions.getTargetFunctionRole(authority.address, bytes.fromhex(selector)).call() == role
    assert {number: functions for number, functions in stated().values() if functions} == of_role


def test_the_roles_have_the_numbers_that_the_readme_states(chain: Web3, authority: Contract) -> None:
    labels = authority.events.RoleLabel().get_logs(from_block=0)
    told = {event["args"]["label"]: event["args"]["roleId"] for event in labels}
    assert {role: number for role, (number, _) in stated().items()} == {"ADMIN": 0, **told}


def test_a_write_burns_an_id_unless_its_standard_leaves_no_room() -> None:
    without = {each.name for each in declarations() if "restricted" in each.modifiers and "once" not in each.modifiers}
    assert without == {"forcedTransfer", "setFrozenTokens"}


def test_everything_that_others_see_has_its_words() -> None:
    lacking = {f"{each.where} {each.name}": each.missing() for each in declarations() if each.missing()}
    assert lacking == {}


def test_the_readme_maps_every_source_and_names_no_test_that_is_not_there() -> None:
    readme = README.read_text()
    folder = ROOT / "contracts"
    sources = [str(file.relative_to(folder)) for file in (*folder.glob("*.sol"), *folder.glob("parts/*.sol"))]
    assert [name for name in sources if f"`{name}`" not in readme] == []
    there = "".join(file.read_text() for file in folder.glob("test/*.sol"))
    named = set(re.findall(r"`((?:test|testFuzz|invariant)_\w+)`", readme))
    assert [name for name in sorted(named) if f"function {name}(" not in there] == []
