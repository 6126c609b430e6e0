"""Postgres: typed tables and DB transactions for writes, a read-only pool for reads."""

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from decimal import Decimal
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.types.numeric import NumericBinaryLoader, NumericLoader
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from pydantic import SecretStr
from sqlalchemy import DateTime, LargeBinary, MetaData, Numeric, TypeDecorator
from sqlalchemy import exc as sa_exc
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

CONNECT_TIMEOUT_S = 3
"""A dead Postgres is told as such within this time."""

_OPTIONS = {
    # A process that stops in the middle of a DB transaction must not hold its rows against its successor for ever.
    "idle_in_transaction_session_timeout": "15s",
    "lock_timeout": "10s",
    "statement_timeout": "30s",
}

ReadConnection = AsyncConnection[TupleRow]
"""A connection inside one read-only, repeatable-read DB transaction."""

UNAVAILABLE = (
    PoolTimeout,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    sa_exc.OperationalError,
    sa_exc.InterfaceError,
    sa_exc.TimeoutError,
)
"""Postgres did not answer: try again later."""


NOT_MIGRATED = (psycopg.errors.ProgrammingError, sa_exc.ProgrammingError)
"""Among others, a table that is not there."""


def is_not_migrated(error: Exception) -> bool:
    """Whether an error of NOT_MIGRATED says that a table or a schema is missing."""
    missing = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.UndefinedColumn)
    return isinstance(getattr(error, "orig", error), missing)


class Uint256(TypeDecorator[int]):
    """NUMERIC(78,0), an `int` in Python."""

    impl = Numeric(78, 0)
    cache_ok = True

    def process_result_value(self, value: Decimal | None, dialect: Dialect) -> int | None:
        """Base units, exactly."""
        return None if value is None else int(value)


class Base(DeclarativeBase):
    """Every table. No relationships and no lazy loading: a query reads all that it returns."""

    metadata = MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
            "ck": "%(table_name)s_%(constraint_name)s_check",
        }
    )
    type_annotation_map = {  # noqa: RUF012
        bytes: LargeBinary,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
    }


class _IntLoader(NumericLoader):
    def load(self, data: Any) -> Any:
        return int(super().load(data))


class _IntBinaryLoader(NumericBinaryLoader):
    def load(self, data: Any) -> Any:
        return int(super().load(data))


class Database:
    """One process's way to Postgres, in the role that holds just its rights.

    Args:
        url: any `postgresql://` URL.
        role: what the connection becomes after login, for instance `muniment_api`.
    """

    def __init__(self, url: SecretStr, *, role: str | None, connections_max: int = 10) -> None:
        parsed = make_url(url.get_secret_value())
        options = {**_OPTIONS, **({"role": role} if role else {})}
        connect_args: dict[str, Any] = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
        }
        self._engine = create_async_engine(
            parsed.set(drivername="postgresql+psycopg"),
            connect_args=connect_args,
            pool_size=connections_max,
            max_overflow=0,
            pool_timeout=CONNECT_TIMEOUT_S,
            pool_pre_ping=True,
            hide_parameters=True,
        )
        self._tries = connections_max + 1  # after a restart of Postgres each pooled connection fails once
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)
        self._reads: AsyncConnectionPool[ReadConnection] = AsyncConnectionPool(
            parsed.set(drivername="postgresql").render_as_string(hide_password=False),
            kwargs={**connect_args, "autocommit": True},
            min_size=1,
            max_size=connections_max,
            open=False,
            timeout=CONNECT_TIMEOUT_S,
            reconnect_timeout=CONNECT_TIMEOUT_S,
            configure=_configure_read,
        )

    async def open(self) -> None:
        """Start the read pool; Postgres need not be up yet."""
        await self._reads.open(wait=False)

    async def close(self) -> None:
        """Give every connection back."""
        await self._reads.close()
        await self._engine.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """One DB transaction: committed at the end of the block, undone by any exception."""
        try:
            async with self._sessions() as session, session.begin():
                yield session
        except sa_exc.InternalError as error:
            # Postgres ended a DB transaction in which this process stood still: the work is undone, and may be redone.
            if isinstance(error.orig, psycopg.errors.IdleInTransactionSessionTimeout):
                raise psycopg.OperationalError("Postgres ended a DB transaction that stood still") from None
            raise

    @asynccontextmanager
    async def read(self) -> AsyncIterator[ReadConnection]:
        """One read-only DB transaction that sees one state of the database throughout."""
        connection = await self._begin()
        try:
            yield connection
        finally:
            try:
                # After a ROLLBACK psycopg forgets what it has prepared, and every query would be planned anew.
                with suppress(psycopg.Error):
                    await connection.commit()
            finally:
                await self._reads.putconn(connection)

    async def fetch(self, query: LiteralString, parameters: Sequence[Any]) -> list[TupleRow]:
        """The rows of one statement that needs no DB transaction around it: two round trips less than `read`.

        One that writes is committed when it has answered. It must be one that may be said twice: where the connection
        is cut before the answer comes, it is.
        """
        for _ in range(self._tries):
            connection = await self._reads.getconn()
            try:
                return await (await connection.execute(query, parameters)).fetchall()
            except psycopg.OperationalError:
                if not connection.broken:
                    raise
            finally:
                await self._reads.putconn(connection)
        raise psycopg.OperationalError("every connection to Postgres was cut")

    async def _begin(self) -> ReadConnection:
        """A connection that has just proved to live: those that a restart of Postgres has cut are thrown away."""
        for _ in range(self._tries):
            connection = await self._reads.getconn()
            try:
                await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            except psycopg.OperationalError:
                await self._reads.putconn(connection)
            except BaseException:
                await self._reads.putconn(connection)
                raise
            else:
                return connection
        raise psycopg.OperationalError("every connection to Postgres was cut")


async def _configure_read(connection: ReadConnection) -> None:
    connection.adapters.register_loader("numeric", _IntLoader)
    connection.adapters.register_loader("numeric", _IntBinaryLoader)


def new_id() -> UUID:
    """A fresh id that sorts by time. Source: RFC 9562 section 5.7, UUID version 7."""
    milliseconds = time.time_ns() // 1_000_000
    random_bits = secrets.randbits(74)
    high = (milliseconds << 16) | (0x7 << 12) | (random_bits >> 62)
    low = (0b10 << 62) | (random_bits & (2**62 - 1))
    return UUID(int=(high << 64) | low)
