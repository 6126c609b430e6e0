"""Expected failures. Each has one name, and is told as an RFC 9457 problem."""

from collections.abc import Mapping
from typing import Any, ClassVar


class Problem(Exception):
    """An expected failure, told to the caller as it is.

    `slug` is the stable name in `type`; `reverts` are the contracts' errors of the same meaning.
    The class docstring is the sentence that documents it; the message says what to do next.
    """

    slug: ClassVar[str]
    title: ClassVar[str]
    status: ClassVar[int]
    reverts: ClassVar[tuple[str, ...]] = ()
    registry: ClassVar[dict[str, type["Problem"]]] = {}

    def __init__(self, detail: str, **extensions: Any) -> None:
        super().__init__(detail)
        self.extensions = extensions

    def __init_subclass__(cls) -> None:
        assert cls.slug not in Problem.registry, f"two problems are called {cls.slug}"
        Problem.registry[cls.slug] = cls

    @classmethod
    def explained(cls, arguments: Mapping[str, str]) -> dict[str, Any]:
        """What a contract's error of this meaning tells besides its arguments; `detail` replaces the usual sentence."""
        return {}

    def body(self) -> dict[str, Any]:
        """The problem as a JSON object, without `instance`. Source: RFC 9457 section 3.1."""
        return {
            "type": f"/problems/{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": str(self),
            **self.extensions,
        }
