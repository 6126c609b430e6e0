"""The parent of the four processes: it imports the service once and forks each of them, which takes milliseconds.

`python -m scripts.host FOLDER` hears one JSON object a line and answers each with one; scripts/stack.py speaks to it.
Every process runs the `muniment` command in full, as it would by itself. When whoever started the host is gone, even by
`kill -9`, its input ends: it then ends all that runs for the folder, and the folder too if it is to be thrown away.
"""

import asyncio
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NoReturn

from scripts import local
from service.cli.processes import for_good

STOP_TIMEOUT_S = 10
REAP_INTERVAL_S = 0.05
ISSUER = "Harbour Estates"


class ChainLost(Exception):
    """The chain is older than what the mirror knows to be final: it was cut off before it was saved."""


class Host:
    """Forks processes, remembers how they ended, and leaves none behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings: dict[str, str] = {}
        self.running: dict[str, int] = {}
        self.codes: dict[str, int] = {}
        self.throw_away = False
        self.stopped = False

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Do one thing that was asked for; the answer."""
        match asked["do"]:
            case "prepare":
                self.settings, self.throw_away = asked["settings"], asked["throw_away"]
                self.settings["MUNIMENT_FACTORY_ADDRESS"] = prepare(self.folder, self.settings, asked["signer_key"])
                return {"settings": self.settings}
            case "start":
                return {"pid": self.start(asked["name"], asked["arguments"], asked["settings"])}
            case "codes":
                return self.codes
            case "stop":
                self.stop(asked["names"])
                return self.codes
            case _:
                self.stopped = True
                self.stop(list(self.running))
                return {}

    def start(self, name: str, arguments: list[str], settings: dict[str, str]) -> int:
        """Run the `muniment` command in a process of its own, its output in a log; the process's id."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MUNIMENT_")}
        environment |= self.settings | settings
        self.codes.pop(name, None)
        log = self.folder / "logs" / f"{name}.log"
        with log.open("wb") as output:
            pid = _fork(arguments, environment, output) if sys.platform == "linux" else None
            if pid is None:
                # Elsewhere a fork without exec may crash inside system libraries.
                command = [sys.executable, "-m", "service.cli", *arguments]
                pid = subprocess.Popen(
                    command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
                ).pid
        self.running[name] = pid
        return pid

    def reap(self) -> None:
        """Note who has ended, and how: a negative code is a signal."""
        for name, pid in list(self.running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self.running[name]
                self.codes[name] = os.waitstatus_to_exitcode(status)

    def stop(self, names: list[str]) -> None:
        """End processes together: politely, then for sure."""
        wanted = [name for name in names if name in self.running]
        for name in wanted:
            os.kill(self.running[name], signal.SIGTERM)
        end_s = time.monotonic() + STOP_TIMEOUT_S
        while any(name in self.running for name in wanted):
            self.reap()
            if time.monotonic() > end_s:
                for name in wanted:
                    if name in self.running:
                        os.kill(self.running[name], signal.SIGKILL)
            time.sleep(0.01)

    def clean_up(self) -> None:
        """After our starter was killed: end all, and keep what is to be kept."""
        self.stop(list(self.running))
        chain_state = None if self.throw_away else self.folder / local.CHAIN_STATE
        local.stop_leftovers(self.folder, chain_state=chain_state)
        if self.throw_away:
            shutil.rmtree(self.folder, ignore_errors=True)


def _fork(arguments: list[str], environment: dict[str, str], output: IO[bytes]) -> int:
    """Fork a `muniment` command; only ever from one thread. The child never returns from here."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        os.environ.clear()
        os.environ.update(environment)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        code = _command(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _command(arguments: list[str]) -> int:
    from service import cli

    sys.argv = ["muniment", *arguments]
    try:
        cli.main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def prepare(folder: Path, given: dict[str, str], signer_key: str) -> str:
    """Once: tables, signer, factory, issuer and key. Again: what is missing of it. The factory's address."""
    from service import factory, migrate
    from service.access import commands
    from service.access.apikeys import Scope
    from service.addresses import checksum
    from service.db import Database
    from service.keys import keystore
    from service.mirror import queries as mirror
    from service.settings import Settings
    from service.transactions.direct import open_means
    from service.transactions.lanes import Means

    settings = Settings.model_validate({name.removeprefix("MUNIMENT_").lower(): value for name, value in given.items()})
    migrate.upgrade(settings.database_url)
    keystore_dir, password = settings.keystore_dir, settings.keystore_password
    if not keystore_dir.exists():
        keystore.store(keystore_dir, password, bytes.fromhex(signer_key), kdf_iterations=10_000)
    (signer,) = keystore.Keystore.open(keystore_dir, password).addresses
    key_file = folder / "api-key"

    async def work() -> None:
        db = Database(settings.database_url, role=None, connections_max=2)
        await db.open()
        try:
            async with open_means(settings, db) as means:
                await refuse_lost_chain(means)
                await factory.deploy(means, signer, lease_ttl_s=settings.lease_ttl_s)
            if not key_file.exists():
                await make_key(db)
        finally:
            await db.close()

    async def refuse_lost_chain(means: Means) -> None:
        async with means.db.read() as connection:
            known = await mirror.status(connection, chain_id=settings.chain_id)
        tip = (await means.chain.head()).tip.number
        if known.final is not None and tip < known.final:
            raise ChainLost(
                f"the chain ends at block {tip}, and block {known.final} was final in the mirror: it was cut off "
                "before its newest blocks were saved, so start again with --fresh"
            )

    async def make_key(db: Database) -> None:
        async with db.transaction() as session:
            await commands.create_issuer(session, name=ISSUER, signer=signer)
            key = await commands.create_key(
                session,
                issuer=ISSUER,
                caller="devnet",
                environment="test",
                pepper=settings.api_key_pepper,
                scopes=tuple(Scope),
            )
        key_file.touch(mode=0o600)
        key_file.write_text(key.text)

    asyncio.run(work())
    return checksum(factory.address_for(signer))


def serve(host: Host) -> None:
    """Answer until told to stop, or until the input ends."""
    pending = b""
    while not host.stopped:
        readable, _, _ = select.select([0], [], [], REAP_INTERVAL_S)
        host.reap()
        if not readable:
            continue
        heard = os.read(0, 65_536)
        if not heard:
            host.clean_up()
            return
        *lines, pending = (pending + heard).split(b"\n")
        for line in lines:
            try:
                told: dict[str, Any] = {"ok": host.answer(json.loads(line))}
            except Exception as error:
                traceback.print_exc()
                told = {"error": f"{type(error).__name__}: {error}"}
            os.write(1, json.dumps(told).encode() + b"\n")


def main() -> NoReturn:
    """Import the service while Postgres and the chain start, then serve."""
    host = Host(Path(sys.argv[1]))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        with for_good():
            import service.app  # so that an api which is killed is back in milliseconds
            import service.migrate
            import service.processes  # noqa: F401

        serve(host)
    except BrokenPipeError:
        host.clean_up()
    finally:
        host.stop(list(host.running))
    # Nothing is left to be done, and taking all modules down would take half a second.
    os._exit(0)


if __name__ == "__main__":
    main()
