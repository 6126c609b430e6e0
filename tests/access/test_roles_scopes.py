"""Which scopes come with others, and how far roles go."""

import pytest

from service.access.apikeys import Scope
from service.access.roles import LIFE_MAX_S, LIFE_S, SCOPES, Role, included, life_s, opened, within


def test_scopes_that_come_with_others_come_with_all_that_comes_with_those() -> None:
    for scope in Scope:
        assert included(included([scope])) == included([scope])
    for role in Role:
        assert opened(frozenset(SCOPES[role]), role) == within(role)
    assert opened(frozenset({"issue", "keys:admin"}), "a role of tomorrow") == frozenset()
    assert Scope.KEYS_ADMIN not in opened(frozenset({"issue", "keys:admin"}), "operator")


def test_an_auditor_is_one_for_a_year_at_most() -> None:
    assert life_s(Role.AUDITOR, None) == LIFE_S[Role.AUDITOR] == 90 * 86_400
    assert life_s(None, None) is None
    with pytest.raises(ValueError, match="at most"):
        life_s(Role.AUDITOR, LIFE_MAX_S[Role.AUDITOR] + 1)
