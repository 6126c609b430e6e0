"""Postgres: typed tables and DB transactions for writes, a read-only pool for reads, and a replica for some of them."""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from datetime import datetime
from decimal import Decimal
from typing import Any, LiteralString
from uuid import UUID
from weakref import WeakKeyDictionary, WeakValueDictionary

import psycopg
from psycopg import AsyncConnection, AsyncTransaction, IsolationLevel
from psycopg.rows import TupleRow
from psycopg.types.numeric import NumericBinaryLoader, NumericLoader
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from pydantic import SecretStr
from sqlalchemy import DateTime, LargeBinary, MetaData, Numeric, TypeDecorator, event, text
from sqlalchemy import exc as sa_exc
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from service.telemetry import logger

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


_ACTING: ContextVar[str] = ContextVar("acting", default="")
"""Whose rows this task sees in the role `muniment_api`, as the setting `muniment.issuers` has it; at first nobody's."""

EVERY_ISSUER = "*"
_UNKNOWN = "?"
"""What no task acts for: a connection of which that is noted is told anew."""


def act_for(issuer_id: UUID) -> None:
    """From here on this task, and what it starts, sees and writes rows of this issuer alone (row security)."""
    _ACTING.set(f"{{{issuer_id}}}")


@contextmanager
def acting_for(issuer_ids: Iterable[UUID | str]) -> Iterator[None]:
    """See and write rows of these issuers, for what is done for several of them at once."""
    with _acting(f"{{{','.join(sorted({str(id_) for id_ in issuer_ids}))}}}"):
        yield


@contextmanager
def acting_for_every_issuer() -> Iterator[None]:
    """See and write rows of all issuers: for what is told or kept of the deployment as a whole."""
    with _acting(EVERY_ISSUER):
        yield


@contextmanager
def _acting(issuers: str) -> Iterator[None]:
    token = _ACTING.set(issuers)
    try:
        yield
    finally:
        _ACTING.reset(token)


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


class Turns:
    """So many at a time for each name; the others wait their turn, and a name that nobody uses is forgotten.

    Args:
        most: how many at a time.
        patience_s: longest wait for a turn.
    """

    def __init__(self, most: int, *, patience_s: float) -> None:
        self._most, self._patience_s = most, patience_s
        self._free: WeakValueDictionary[Hashable, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, name: Hashable) -> AsyncIterator[None]:
        """One turn.

        Raises:
            sqlalchemy.exc.TimeoutError: of UNAVAILABLE; none came.
        """
        free = self._free.get(name)
        if free is None:
            self._free[name] = free = asyncio.Semaphore(self._most)
        try:
            async with asyncio.timeout(self._patience_s):
                await free.acquire()
        except TimeoutError:
            raise sa_exc.TimeoutError("others of the same kind are before it, and do not end") from None
        try:
            yield
        finally:
            free.release()


_MAY_DO_MORE = """
SELECT count(*) > 1 FROM pg_roles WHERE pg_has_role(session_user, oid, 'MEMBER') AND (
    rolname IN ('muniment_api', 'muniment_sender', 'muniment_indexer', 'muniment_dispatcher')
    OR oid = (SELECT relowner FROM pg_class WHERE oid = to_regclass('leases')))
"""


class Reads:
    """One process's way to read of one Postgres, in the role that holds just its rights.

    Args:
        url: any `postgresql://` URL.
        role: what the connection becomes after login, for instance `muniment_api`.
        patience_s: longest wait for a connection.
    """

    def __init__(
        self,
        url: SecretStr,
        *,
        role: str | None,
        connections_max: int = 10,
        patience_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self._url = make_url(url.get_secret_value())
        options = {**_OPTIONS, **({"role": role} if role else {})}
        self._connect_args: dict[str, Any] = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "tcp_user_timeout": CONNECT_TIMEOUT_S * 1_000,
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
        }
        self._tries = connections_max + 1  # after a restart of Postgres each pooled connection fails once
        self._reads: AsyncConnectionPool[ReadConnection] = AsyncConnectionPool(
            self._url.set(drivername="postgresql").render_as_string(hide_password=False),
            kwargs={**self._connect_args, "autocommit": True},
            min_size=1,
            max_size=connections_max,
            open=False,
            timeout=patience_s,
            reconnect_timeout=CONNECT_TIMEOUT_S,
            configure=_configure_read,
        )
        self._told: WeakKeyDictionary[ReadConnection, str] = WeakKeyDictionary()

    async def open(self) -> None:
        """Start the read pool; Postgres need not be up yet."""
        await self._reads.open(wait=False)

    async def close(self) -> None:
        """Give every connection back."""
        await self._reads.close()

    async def warn_of_login(self) -> None:
        """Log it where the login may do more than its one process; where Postgres is away, nothing is known."""
        with suppress(*UNAVAILABLE):
            if (True,) in await self.fetch(_MAY_DO_MORE, ()):
                logger().warning("login_may_do_more", detail="give each process its own: migrations/README.md, Logins")

    @asynccontextmanager
    async def read(self) -> AsyncIterator[ReadConnection]:
        """One read-only DB transaction that sees one state of the database throughout."""
        connection, transaction = await self._begin()
        try:
            yield connection
        finally:
            try:
                # After a ROLLBACK psycopg forgets what it has prepared, and every query would be planned anew.
                with suppress(psycopg.Error):
                    await transaction.__aexit__(None, None, None)
            finally:
                await self._reads.putconn(connection)

    async def fetch(self, query: LiteralString, parameters: Sequence[Any] | Mapping[str, Any]) -> list[TupleRow]:
        """The rows of one statement that needs no DB transaction around it: two round trips less than `read`.

        One that writes is committed when it has answered. It must be one that may be said twice: where the connection
        is cut before the answer comes, it is.
        """
        for _ in range(self._tries):
            connection = await self._reads.getconn()
            try:
                await self._tell(connection)
                return await (await connection.execute(query, parameters)).fetchall()
            except psycopg.OperationalError:
                if not connection.broken:
                    raise
            finally:
                await self._reads.putconn(connection)
        raise psycopg.OperationalError("every connection to Postgres was cut")

    async def _tell(self, connection: ReadConnection) -> None:
        """Let Postgres know whom this task acts for, where that is another one than the connection's last."""
        acting = _ACTING.get()
        if self._told.get(connection, "") != acting:
            # Cancelled in the middle, nobody knows what it is.
            self._told[connection] = _UNKNOWN
            await connection.execute("SELECT set_config('muniment.issuers', %s, false)", (acting,))
            self._told[connection] = acting

    async def _begin(self) -> tuple[ReadConnection, AsyncTransaction]:
        """A connection that has just proved to live: those that a restart of Postgres has cut are thrown away."""
        for _ in range(self._tries):
            connection = await self._reads.getconn()
            # Its BEGIN and COMMIT cost a third of what a statement does.
            transaction = AsyncTransaction(connection)
            try:
                await self._tell(connection)
                await transaction.__aenter__()
            except psycopg.OperationalError:
                await self._reads.putconn(connection)
            except BaseException:
                await self._reads.putconn(connection)
                raise
            else:
                return connection, transaction
        raise psycopg.OperationalError("every connection to Postgres was cut")


class Database(Reads):
    """One process's way to Postgres: reads as of `Reads`, and DB transactions."""

    def __init__(self, url: SecretStr, *, role: str | None, connections_max: int = 10) -> None:
        super().__init__(url, role=role, connections_max=connections_max)
        self._engine = create_async_engine(
            self._url.set(drivername="postgresql+psycopg"),
            connect_args=self._connect_args,
            pool_size=connections_max,
            max_overflow=0,
            pool_timeout=CONNECT_TIMEOUT_S,
            pool_pre_ping=True,
            hide_parameters=True,
        )
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)
        self._turns = Turns(max(1, connections_max * 3 // 4), patience_s=CONNECT_TIMEOUT_S)

    async def close(self) -> None:
        """Give every connection back."""
        await super().close()
        await self._engine.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """One DB transaction: committed at the end of the block, undone by any exception.

        Those of one issuer leave a quarter of the connections to others, whatever they wait for.
        """
        acting = _ACTING.get()
        try:
            async with (
                nullcontext() if acting in ("", EVERY_ISSUER) else self._turns.turn(acting),
                self._sessions() as session,
                session.begin(),
            ):
                await _tell(session)
                yield session
        except (sa_exc.InternalError, psycopg.InternalError) as error:
            # Postgres ended a DB transaction in which this process stood still: the work is undone, and may be redone.
            if isinstance(getattr(error, "orig", error), psycopg.errors.IdleInTransactionSessionTimeout):
                raise psycopg.OperationalError("Postgres ended a DB transaction that stood still") from None
            raise


REPLICA_PATIENCE_S = 0.5
"""Longest wait for a connection to a replica: there is another Postgres to ask."""

WATCH_INTERVAL_S = 0.5
"""Pause between two looks at a replica."""

_PRIMARY_AT = "SELECT system_identifier, pg_current_wal_lsn() - '0/0'::pg_lsn FROM pg_control_system()"

_REPLICA_AT = """
SELECT system_identifier, CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() - '0/0'::pg_lsn END
FROM pg_control_system()
"""


class Replica(Reads):
    """A streaming replica of a database, for reads that accept its lag, and only while it is known to be well.

    Args:
        lag_max_s: it is left alone while it lacks what the primary had written so long ago.
    """

    def __init__(self, url: SecretStr, *, role: str | None, connections_max: int, lag_max_s: float) -> None:
        super().__init__(url, role=role, connections_max=connections_max, patience_s=REPLICA_PATIENCE_S)
        self._lag_max_s = lag_max_s
        # What the primary had written at which time, oldest first, as far as the replica was not seen to have it.
        # Of a replica that stands still the oldest are forgotten, and the rest still say that it is behind.
        self._written: deque[tuple[int, float]] = deque(maxlen=int(lag_max_s / WATCH_INTERVAL_S) + 2)
        self._reason: str | None = "not-seen-yet"

    @property
    def serves(self) -> bool:
        """Whether reads may go there."""
        return self._reason is None

    def doubt(self) -> None:
        """Leave it alone until the next look, since it just failed a read."""
        self._become("silent")

    async def watch(self, primary: Reads) -> None:
        """Look how it stands, again and again; ends by cancellation alone."""
        while True:
            self._become(await self._look(primary))
            await asyncio.sleep(WATCH_INTERVAL_S)

    async def _look(self, primary: Reads) -> str | None:
        """Why reads may not go there, or None."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                ((system, written),) = await primary.fetch(_PRIMARY_AT, ())
        except (psycopg.Error, PoolTimeout, TimeoutError):
            return self._reason  # nothing was learnt about the replica
        self._written.append((written, time.monotonic()))
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                ((of_system, replayed),) = await self.fetch(_REPLICA_AT, ())
        except (psycopg.Error, PoolTimeout, TimeoutError):
            return "silent"
        if of_system != system:
            return "of-another-database"
        if replayed is None:
            return "not-a-replica"
        while self._written and self._written[0][0] <= replayed:
            self._written.popleft()
        behind_s = time.monotonic() - self._written[0][1] if self._written else 0.0
        return "behind" if behind_s > self._lag_max_s else None

    def _become(self, reason: str | None) -> None:
        if reason == self._reason:
            return
        self._reason = reason
        if reason is None:
            logger().info("replica_serves")
        else:
            logger().warning("replica_left", reason=reason)


async def _tell(session: AsyncSession) -> None:
    """Let Postgres know whom this task acts for, where that is another one than the connection's last."""
    acting = _ACTING.get()
    known = (await session.connection()).info
    if known.get("acting", "") == acting:
        return
    # Undone with its DB transaction, the setting is again what it was: until the commit nobody knows what it is.
    known["acting"] = None
    await session.execute(_TELL, {"acting": acting})
    event.listen(session.sync_session, "after_commit", lambda _: known.update(acting=acting), once=True)


_TELL = text("SELECT set_config('muniment.issuers', :acting, false)")


async def _configure_read(connection: ReadConnection) -> None:
    await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    await connection.set_read_only(True)
    connection.adapters.register_loader("numeric", _IntLoader)
    connection.adapters.register_loader("numeric", _IntBinaryLoader)


async def take_turn(session: AsyncSession, name: str) -> None:
    """Wait for whoever else took this turn, in any process; it is ours until the DB transaction ends."""
    await session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})


def new_id() -> UUID:
    """A fresh id that sorts by time. Source: RFC 9562 section 5.7, UUID version 7."""
    milliseconds = time.time_ns() // 1_000_000
    random_bits = secrets.randbits(74)
    high = (milliseconds << 16) | (0x7 << 12) | (random_bits >> 62)
    low = (0b10 << 62) | (random_bits & (2**62 - 1))
    return UUID(int=(high << 64) | low)
