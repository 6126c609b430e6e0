"""What a terminal, or another program, is shown."""

import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.client.calls import UNTOLD, Call, words
from service.client.problems import plain
from service.remote.calls import command_line

FAULTS_SHOWN_MAX = 20
"""Faulty rows of a batch; --json has more."""


def _text(value: Any) -> str:
    return "-" if value is None else plain(words(value))


def _pairs(content: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in content.items():
        if isinstance(value, dict) and value:
            yield from _pairs(value, f"{before}{name}.")
        else:
            yield before + plain(name), _text(value)


def _print_lines(console: Console, pairs: Iterable[tuple[str, str]]) -> None:
    lines = list(pairs)
    width = max((len(name) for name, _ in lines), default=0)
    for name, value in lines:
        console.print(Text.assemble((name.ljust(width), "bold"), "  ", value), soft_wrap=True)


def _print_rows(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(box=box.SIMPLE_HEAD)
    for name in names:
        table.add_column(Text(plain(name)))
    for row in rows:
        table.add_row(*(Text(_text(row.get(name))) for name in names))
    if not rows:
        console.print("none")
    elif console.is_terminal and _wide(console).measure(table).maximum > console.width:
        # Folded into narrow columns, no address could be copied.
        for row in rows:
            _print_lines(console, _pairs(row))
            console.print()
    else:
        _print(console, table)


def _print(console: Console, table: Table) -> None:
    (console if console.is_terminal else _wide(console)).print(table)


def _wide(console: Console) -> Console:
    """A pipe has no width: what goes to other programs is never folded."""
    return Console(file=console.file, width=10_000)


def print_json(content: Any) -> None:
    """One line for programs."""
    sys.stdout.write(json.dumps(content) + "\n")


def note(err: Console, text: str, style: str = "dim") -> None:
    """A remark beside the answer."""
    err.print(plain(text), style=style, markup=False, highlight=False, soft_wrap=True)


def show(out: Console, content: Any, *, as_json: bool) -> None:
    """An answer: a list as a table, text as it is, and all else as lines of name and value."""
    if isinstance(content, str):
        sys.stdout.write(content)
        return
    if as_json:
        print_json(content)
        return
    rest = dict(content) if isinstance(content, dict) else {}
    rows = content if isinstance(content, list) else rest.get("data")
    if isinstance(rows, list):
        _print_rows(out, [row if isinstance(row, dict) else {"value": row} for row in rows])
        rest = {name: value for name, value in rest.items() if name not in {"data", "next_cursor"}}
    _print_lines(out, _pairs(rest))


def print_problem(err: Console, problem: dict[str, Any]) -> None:
    """Why the API, or later the chain, refused; with the rule that forbids it."""
    note(err, f"muniment: {problem.get('title')}", "red")
    note(err, f"  {problem.get('detail')}", "red")
    for each in [*problem.get("errors", ()), *problem.get("rows", ())][:FAULTS_SHOWN_MAX]:
        if isinstance(each, dict) and ("row" in each or "rows" in each):
            note(err, f"  {_place(each)}: {each.get('title') or each.get('pointer')}: {each.get('detail')}", "red")
    rule = problem.get("rule")
    if isinstance(rule, dict):
        told = ", ".join(f"{name} {words(value)}" for name, value in rule.items() if name not in {"name", "text"})
        note(err, f"  rule {rule.get('name')}: {rule.get('text')} ({told})", "red")


def _place(fault: dict[str, Any]) -> str:
    line = f" (line {fault['line']})" if "line" in fault else ""
    return f"row {fault['row']}{line}" if "row" in fault else "rows {} to {} together".format(*fault["rows"])


def print_calls(out: Console, calls: Iterable[Call]) -> None:
    """All that can be called, by tag."""
    table = Table("", "call", "asks", "what it does", box=box.SIMPLE_HEAD)
    for tag, group in itertools.groupby(sorted(calls, key=lambda call: call.tag), lambda call: call.tag):
        table.add_section()
        for number, call in enumerate(group):
            table.add_row(
                Text("" if number else tag, "bold"),
                Text(call.name, "cyan", no_wrap=True),
                Text(f"{call.method} {call.path}", "dim"),
                Text(plain(call.summary)),
            )
    _print(out, table)


def print_fields(console: Console, call: Call) -> None:
    """All that a call takes, with a command line to start from."""
    head = (Text(f"{call.name}: {call.method} {call.path}", "bold"), Text(plain(call.summary)))
    console.print(*head, sep="\n", soft_wrap=True)
    if call.fields:
        table = Table(box=box.SIMPLE_HEAD)
        for title in ("field", "in", "type", "required", "description", "example"):
            table.add_column(title, overflow="fold")
        for each in call.fields:
            required = "yes" if each.required else "no"
            example = "" if each.example is UNTOLD else _text(each.example)
            row = (each.name, each.place, each.type, required, each.description, example)
            table.add_row(*(Text(plain(cell)) for cell in row))
        _print(console, table)
    console.print(Text(command_line(call)), soft_wrap=True)
