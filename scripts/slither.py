"""Run slither over the deployable contracts; a finding that nobody has answered fails.

An answer stands in the source, as `// slither-disable-next-line DETECTOR REASON`, or for a whole detector in
contracts/slither.config.json with a sentence in contracts/README.md. An answer that answers nothing fails too.
Slither lives in an environment of its own under .local/, as it needs another web3.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts import compile as compiling
from scripts import forge, setup

FOLDER = setup.LOCAL / "slither"
VENV = FOLDER / "venv"
LOCK = setup.ROOT / "scripts" / "slither.lock"
PASSED = FOLDER / "passed"
NO_CODE = {"object": "", "sourceMap": ""}


class SlitherFailed(Exception):
    """Slither came to no result; the message says why."""


def sources() -> list[Path]:
    """The deployable contracts."""
    return sorted(compiling.CONTRACTS.glob("*.sol"))


def inputs() -> str:
    """All that decides what slither says."""
    contracts = compiling.CONTRACTS
    parts = [*sources(), *sorted(contracts.glob("parts/**/*.sol"))]
    settings = [contracts / "slither.config.json", contracts / "package-lock.json"]
    names = " ".join(str(file.relative_to(contracts)) for file in parts)
    return setup.fingerprint(names, *parts, *settings, LOCK, Path(compiling.__file__), Path(__file__))


def install() -> None:
    """Slither's environment, where it is not there yet.

    Raises:
        SlitherFailed: no registry has the packages.
    """
    stamp = VENV / "setup-stamp"
    wanted = setup.fingerprint(LOCK, str(VENV), sys.version)
    if setup.is_stamped(stamp, wanted):
        return
    with setup.alone():
        if setup.is_stamped(stamp, wanted):
            return
        FOLDER.mkdir(exist_ok=True)
        setup.LOG.write_bytes(b"")
        try:
            setup.make_venv(VENV)
            setup.install(LOCK, VENV / "bin" / "python")
        except setup.SetupFailed as error:
            raise SlitherFailed(f"slither could not be installed: {error}\nThe log is {setup.LOG}") from error
        setup.write_stamp(stamp, wanted)


def write_build(folder: Path) -> None:
    """The contracts as slither reads them: one build of forge's form, with syntax trees and no code.

    Raises:
        CompileError: a source is wrong.
    """
    everything = compiling.task(sources(), {"*": {"": ["ast"], "*": ["abi"]}})
    [answer] = compiling.ask([everything], compiling.npm_compiler())
    for contracts in answer["contracts"].values():
        for contract in contracts.values():
            contract["evm"] = {"bytecode": NO_CODE, "deployedBytecode": NO_CODE}
    build = {
        "solcVersion": compiling.SOLC_VERSION,
        "input": {"language": "Solidity", "settings": compiling.SETTINGS},
        "output": answer,
    }
    (folder / "build-info").mkdir()
    (folder / "build-info" / "contracts.json").write_text(json.dumps(build))


def findings() -> list[dict[str, Any]]:
    """What slither says and nobody has answered.

    Raises:
        SlitherFailed: slither came to no result.
        CompileError: a source is wrong.
        ForgeMissing: slither asks forge for contracts/foundry.toml.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_build(folder)
        path = os.pathsep.join([str(VENV / "bin"), str(forge.forge_path().parent), os.environ.get("PATH", os.defpath)])
        done = subprocess.run(
            [
                str(VENV / "bin" / "slither"),
                *(".", "--ignore-compile", "--foundry-out-directory", name, "--exclude-dependencies"),
                *("--warn-unused-ignores", "--no-fail-pedantic", "--json", str(folder / "report.json")),
            ],
            cwd=compiling.CONTRACTS,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        report = folder / "report.json"
        told: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {}
    if not told.get("success"):
        raise SlitherFailed(f"slither came to no result:\n{told.get('error') or done.stdout}")
    found: list[dict[str, Any]] = told["results"].get("detectors", [])
    return found


def lines(finding: dict[str, Any]) -> Iterator[str]:
    """A finding in words: nothing for a dependency's own answers to slither."""
    if finding["check"] == "unused-ignore-directive":
        for unused in finding["unused_ignores"]:
            if "node_modules" not in Path(unused["file"]).parts:
                where = os.path.relpath(unused["file"], compiling.CONTRACTS)
                yield f"{where}#{unused['line']}: answers no finding of {', '.join(unused['unused_detectors'])}"
    else:
        yield f"[{finding['check']}, {finding['impact']}] {finding['description'].strip()}"


def judge() -> int:
    """Run slither, or remember that it had nothing to say; the number of findings."""
    wanted = inputs()
    if setup.is_stamped(PASSED, wanted):
        print(f"no findings in {len(sources())} contracts, which are as they were")
        return 0
    install()
    told = [line for finding in findings() for line in lines(finding)]
    print(*told, sep="\n\n")
    if told:
        print(f"\n{len(told)} findings in {len(sources())} contracts")
    else:
        print(f"no findings in {len(sources())} contracts")
        if inputs() == wanted:
            setup.write_stamp(PASSED, wanted)
    return len(told)


def main() -> int:
    """Judge; the exit status is 1 for findings, and where slither cannot run."""
    if sys.argv[1:]:
        print(__doc__)
        return 0 if sys.argv[1] in ("-h", "--help") else 2
    try:
        return 1 if judge() else 0
    except (SlitherFailed, forge.ForgeMissing, compiling.CompileError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
