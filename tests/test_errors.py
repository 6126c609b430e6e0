"""Problems: each has one name, one status and one sentence."""

import re
from typing import Any

import pytest

from service import app  # registers every problem
from service.errors import Problem

KINDS = [Problem.registry[slug] for slug in sorted(Problem.registry)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.slug)
def test_a_problem_is_documented(kind: type[Problem]) -> None:
    assert app is not None
    assert kind.__doc__
    assert kind.__doc__ != Problem.__doc__
    assert kind.__doc__.strip().endswith(".")
    assert "\n" not in kind.__doc__.strip()
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.slug)
    assert kind.title
    assert not kind.title.endswith(".")
    assert 400 <= kind.status <= 599


def test_no_two_problems_share_a_title_or_a_revert() -> None:
    titles = [kind.title for kind in KINDS]
    reverts = [revert for kind in KINDS for revert in kind.reverts]
    assert len(titles) == len(set(titles))
    assert len(reverts) == len(set(reverts))


def test_a_second_problem_of_the_same_name_cannot_be_made() -> None:
    with pytest.raises(AssertionError, match="two problems are called invalid-request"):
        type("Copy", (Problem,), {"slug": "invalid-request", "title": "A copy", "status": 422})
    assert Problem.registry["invalid-request"].__name__ == "InvalidRequest"


@pytest.mark.parametrize("extensions", [{}, {"errors": []}, {"oldest": 4}])
def test_a_body_has_the_members_of_rfc_9457(extensions: dict[str, Any]) -> None:
    kind = Problem.registry["invalid-request"]
    assert kind("do this instead", **extensions).body() == {
        "type": "/problems/invalid-request",
        "title": kind.title,
        "status": 422,
        "detail": "do this instead",
        **extensions,
    }
