"""The token of an asset that a record belongs to: that it is one of the issuer's is asked of whoever knows tokens."""

from collections.abc import Awaitable, Callable, Collection, Iterable
from uuid import UUID

from service.vault.problems import AssetTokenNotFound

TokensAmong = Callable[[UUID, Collection[UUID]], Awaitable[set[UUID]]]
"""Told an issuer and ids, gives those of them that are tokens of the issuer's. The application has it from above."""


async def insist_on_tokens(tokens_among: TokensAmong, issuer_id: UUID, named: Iterable[UUID | None]) -> None:
    """Make sure that all of these are tokens of the issuer's; None is no label, and asks nobody.

    Raises:
        AssetTokenNotFound: one is not.
    """
    ids = {each for each in named if each is not None}
    unknown = ids - await tokens_among(issuer_id, ids) if ids else ids
    if unknown:
        raise AssetTokenNotFound(f"no token {min(unknown)}: take it from GET /v1/tokens, or leave the field out")
