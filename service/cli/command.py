"""The `muniment` command: every group of commands, and what an expected failure says."""

import sys

import typer

from service.cli import (
    batches,
    calls,
    exports,
    factory,
    frame,
    issuers,
    mirror,
    processes,
    reindexing,
    signers,
    transactions,
    vault,
    verification,
)
from service.settings import SettingsMissing

app = typer.Typer(
    help="An asset tokenization ledger. Settings come from MUNIMENT_… environment variables.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (
    *(processes.api, processes.sender, processes.indexer, processes.dispatcher),
    *(processes.migrate, processes.openapi, calls.call, exports.export, verification.verify, verification.digest),
    reindexing.reindex,
):
    app.command()(command)
app.add_typer(batches.app, name="batch")
app.add_typer(transactions.app, name="transactions")
app.add_typer(mirror.app, name="mirror")
app.add_typer(signers.app, name="signers")
app.add_typer(factory.app, name="factory")
app.add_typer(vault.app, name="vault")
app.add_typer(issuers.issuers, name="issuers")
app.add_typer(issuers.keys, name="keys")


def main() -> None:
    """Run the command; an expected failure is one sentence and exit code 2."""
    try:
        app()
    except Exception as error:
        told = _sentence(error)
        if told is None:
            raise
        frame.err.print(f"muniment: {told}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


def _sentence(error: Exception) -> str | None:
    """What is told of an expected failure; None for all others, which are bugs."""
    # Only now: a command that ends well need not wait for what it does not use.
    from service.access.commands import UnknownIssuer
    from service.chain.node import NodeRefused, NodeUnavailable
    from service.chain.reader import WrongChain
    from service.client.problems import Unusable
    from service.db import NOT_MIGRATED, UNAVAILABLE, is_not_migrated
    from service.errors import Problem
    from service.factory import NoDeterministicDeployer, NoFactory
    from service.keys.policies import PolicyUnreadable
    from service.keys.signing import ProviderDown, ProviderUnusable, UnknownSigner
    from service.mirror.reindexing import NotMirrored
    from service.mirror.verify import ReorganisedMeanwhile
    from service.operators.rotation import RotationRefused
    from service.transactions.direct import NoEther, NotMined

    expected: tuple[type[Exception], ...] = (
        *(frame.Refused, Unusable, SettingsMissing, UnknownIssuer, Problem),
        *(NodeUnavailable, NodeRefused, WrongChain, NoDeterministicDeployer, NoFactory),
        *(ProviderUnusable, ProviderDown, UnknownSigner, NoEther, NotMined, ReorganisedMeanwhile),
        *(PolicyUnreadable, RotationRefused, NotMirrored),
    )
    if isinstance(error, expected):
        return str(error)
    if isinstance(error, NOT_MIGRATED):
        if is_not_migrated(error):
            return "the database has no tables of this version: run `muniment migrate`"
        return None
    if isinstance(error, UNAVAILABLE):
        return f"Postgres does not answer ({type(error).__name__})"
    return None
