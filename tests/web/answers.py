"""What every refusal must look like."""

from typing import Any

import httpx

from service.errors import Problem


def problem(answer: httpx.Response, slug: str) -> dict[str, Any]:
    """The body of a refusal, after a check of all that RFC 9457 and our registry say of it."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body: dict[str, Any] = answer.json()
    kind = Problem.registry[slug]
    assert body["type"] == f"/problems/{slug}", answer.text
    assert body["title"] == kind.title
    assert body["status"] == kind.status == answer.status_code
    assert body["instance"] == answer.request.url.path
    assert isinstance(body["detail"], str)
    assert body["detail"]
    return body


def pointers(answer: httpx.Response) -> list[str]:
    """Which fields an invalid request is told to mend."""
    errors = problem(answer, "invalid-request")["errors"]
    assert all(each["detail"] for each in errors)
    return [each["pointer"] for each in errors]
