"""An issuer with a bit of everything in its vault, and what it takes to look after the keys."""

import os
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import SecretStr

from scripts import local
from service.keys.wrapping import KeyEncryptionKeys
from service.keys.wrapping_local import from_environment
from service.vault import rewrapping, rotation
from service.vault.keys import Vault, open_vault
from service.vault.rewrapping import Shelved
from service.vault.rotation import Version
from tests.vault.desk import Desk
from tests.vault.reveals import PREFIX, reveal


@dataclass(slots=True)
class Keeper:
    """An issuer, its key, and what each of its vault tokens stands for."""

    desk: Desk
    key: str
    issuer_id: UUID
    vault: Vault
    policy: str
    values: dict[str, str]

    async def more(self, count: int, **item: Any) -> list[str]:
        """So many new vault tokens."""
        values = [f"{len(self.values) + number}@example.org" for number in range(count)]
        items = [{"value": each, **item} for each in values]
        answer = await self.desk.post("/tokenize", {"policy": self.policy, "items": items}, key=self.key)
        assert answer.status_code == 200, answer.text
        tokens = [each["token"] for each in answer.json()["data"]]
        self.values.update(zip(tokens, values, strict=True))
        return tokens

    async def revealed(self) -> dict[str, str | None]:
        """What each vault token reveals."""
        tokens = list(self.values)
        found: dict[str, str | None] = {}
        for first in range(0, len(tokens), 500):
            some = tokens[first : first + 500]
            answer = await reveal(self.desk, *some, key=self.key)
            assert answer.status_code == 200, answer.text
            found |= dict(zip(some, (each["value"] for each in answer.json()["data"]), strict=True))
        return found

    async def versions(self, table: str, column: str = "data_version") -> set[int]:
        """Which versions the rows of a table name."""
        rows = await self.desk.rows(
            f"SELECT DISTINCT {column} FROM {table} WHERE issuer_id = %s AND {column} IS NOT NULL", self.issuer_id
        )
        return {version for (version,) in rows}

    async def rotate(self) -> int:
        """A new version of the keys."""
        number = await rotation.rotate(self.vault, self.issuer_id)
        self.noticed()
        return number

    async def minimum(self, version: int) -> list[Version]:
        """Close what is below it."""
        found = await rotation.set_minimum(self.vault, self.issuer_id, version)
        self.noticed()
        return found

    def noticed(self) -> None:
        """The API has heard of it, as it does within two seconds."""
        self.desk.vault.keyring.forget(self.issuer_id)

    async def rewrap(self, **given: Any) -> dict[str, Shelved]:
        """Bring all of it under the newest version."""
        return await rewrapping.rewrap(self.vault, [self.issuer_id], lambda *_: None, **given)

    async def age(self) -> None:
        """Let the retired versions be retired for long."""
        await self.desk.alter(
            f"""UPDATE vault.keys SET changed_at = changed_at - interval '2 hours'
            WHERE issuer_id = '{self.issuer_id}' AND state = 'retired'"""
        )


def environment(desk: Desk) -> dict[str, str]:
    """The desk's settings, for a process of its own."""
    settings = desk.app.state.settings
    given = {**os.environ, "PYTHONPATH": str(local.ROOT)}
    for name in type(settings).model_fields:
        value: Any = getattr(settings, name)
        if value not in (None, ()):
            secret = isinstance(value, SecretStr)
            given[f"MUNIMENT_{name.upper()}"] = str(value.get_secret_value() if secret else value)
    return given


def operators(desk: Desk) -> Vault:
    """The vault as an operator's command has it: with its own keyring, and all rights."""
    return open_vault(desk.db, KeyEncryptionKeys([from_environment(desk.app.state.settings.key_encryption_key)]))


async def keeper(desk: Desk, name: str, *, count: int = 4) -> Keeper:
    """A new issuer with records, half of them of one subject."""
    key = await desk.new_issuer(name)
    ((issuer_id,),) = await desk.rows("SELECT id FROM issuers WHERE name = %s", name)
    order = {
        "name": "addresses",
        "kind": "vault",
        "data_class": "email",
        "format": PREFIX,
        "reveal": {"purposes": ["support"], "views": ["plain"]},
    }
    answer = await desk.post("/policies", order, key=key)
    assert answer.status_code == 201, answer.text
    made = Keeper(desk, key, issuer_id, operators(desk), answer.json()["id"], {})
    await made.more(count - count // 2)
    if count > 1:
        await made.more(count // 2, subject="Ada")
    return made
