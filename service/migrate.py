"""Migrations, run by the `muniment` command and by the tests; every package's tables in one place."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from pydantic import SecretStr
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

import service.access.nonces
import service.access.tables
import service.deployments.tables
import service.journal
import service.keys.managed
import service.mirror.staging_tables
import service.mirror.tables
import service.operations.tables
import service.operators.tables
import service.tokens.tables
import service.transactions.tables
import service.transactions.totals
import service.vault.document_tables
import service.vault.person_tables
import service.vault.reveal_tables
import service.vault.tables
import service.web.idempotency
import service.webhooks.tables
import service.workers  # noqa: F401
from service.db import CONNECT_TIMEOUT_S, Base

SCRIPTS = Path(__file__).resolve().parent.parent / "migrations"

metadata = Base.metadata
"""All tables, as the code knows them."""


def upgrade(url: SecretStr, revision: str = "head") -> None:
    """Bring the database up to a revision; all or nothing."""
    _run(url, revision, up=True)


def downgrade(url: SecretStr, revision: str) -> None:
    """Take the database back to a revision, `base` being empty; all or nothing."""
    _run(url, revision, up=False)


def _run(url: SecretStr, revision: str, *, up: bool) -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    driver_url = make_url(url.get_secret_value()).set(drivername="postgresql+psycopg")
    engine = create_engine(driver_url, hide_parameters=True, connect_args={"connect_timeout": CONNECT_TIMEOUT_S})
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            (command.upgrade if up else command.downgrade)(config, revision)
    finally:
        engine.dispose()
