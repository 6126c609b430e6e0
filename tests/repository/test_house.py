"""The rules that the repository keeps of itself."""

import ast
import json
import re
import subprocess
from pathlib import Path

import pytest

from service.errors import Problem
from service.settings import Settings
from service.telemetry import FIELDS

ROOT = Path(__file__).parents[2]
TRACKED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
).stdout.split("\n")[:-1]
PYTHON = [name for name in TRACKED if name.endswith(".py") and (ROOT / name).exists()]
LOCKS = ["requirements.lock", "scripts/node.lock", "scripts/slither.lock", "contracts/package-lock.json"]
FORBIDDEN_NAMES = {"utils", "helpers", "common", "core", "base", "manager", "repository", "service"}
LINES_MAX = 520
FUNCTION_LINES_MAX = 70
LOGGING = {"bind", "info", "warning", "error"}


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_has_hashes_and_names_no_host(name: str) -> None:
    text = text_of(name)
    assert "sha256:" in text or '"integrity"' in text
    assert '"resolved"' not in text
    funding = r'"url": "https'  # a package's own wish for donations, not an address to fetch from
    assert [line for line in text.splitlines() if "://" in line and not re.search(funding, line)] == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [name for name in PYTHON if Path(name).stem in FORBIDDEN_NAMES] == []


def test_modules_and_functions_stay_small() -> None:
    long_modules = [name for name in PYTHON if name.startswith("service/") and text_of(name).count("\n") > LINES_MAX]
    assert long_modules == []
    long_functions = []
    for name in PYTHON:
        for node in ast.walk(ast.parse(text_of(name))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    long_functions.append(f"{name}:{node.lineno} {node.name}: {length} lines")
    assert long_functions == []


def test_every_field_that_is_logged_reaches_the_log() -> None:
    lost = []
    for name in (name for name in PYTHON if name.startswith("service/")):
        for node in ast.walk(ast.parse(text_of(name))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOGGING:
                unlisted = {each.arg for each in node.keywords} - FIELDS - {"exc_info", None}
                lost += [f"{name}:{node.lineno} {field}" for field in unlisted]
    assert lost == []


def test_every_public_function_of_the_service_has_a_docstring() -> None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    bare = []
    for name in PYTHON:
        if name.startswith("service/"):
            tree = ast.parse(text_of(name))
            nodes = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
            bare += [f"{name}:{node.lineno} {node.name}" for node in nodes if not ast.get_docstring(node)]
            bare += [] if ast.get_docstring(tree) else [name]
    assert bare == []


def test_nothing_is_left_unfinished_or_skipped() -> None:
    marks = re.compile(
        "|".join(["TO" + "DO", "FIX" + "ME", "raise NotImpl" + "emented", r"pytest\.sk" + "ip", "xf" + "ail\\b"])
    )
    found = [name for name in PYTHON if marks.search(text_of(name))]
    assert found == []


@pytest.mark.parametrize("package", sorted(path.parent.name for path in (ROOT / "service").glob("*/__init__.py")))
def test_every_package_has_a_readme_that_maps_its_files(package: str) -> None:
    folder = ROOT / "service" / package
    readme = (folder / "README.md").read_text()
    missing = [path.name for path in folder.glob("*.py") if path.stem != "__init__" and path.name not in readme]
    assert missing == []


def test_every_setting_is_in_the_readme() -> None:
    readme = text_of("README.md")
    assert [name for name in Settings.model_fields if f"MUNIMENT_{name.upper()}" not in readme] == []


def test_no_page_has_a_gap_to_fill() -> None:
    assert [name for name in TRACKED if name.endswith(".md") and "@" * 2 in text_of(name)] == []


def test_no_secret_is_in_the_repository() -> None:
    key = re.compile(rb"munsk_(live|test)_[0-9A-Za-z]{60}")
    assert [name for name in TRACKED if (ROOT / name).is_file() and key.search((ROOT / name).read_bytes())] == []


def test_mirror_tables_are_named_by_the_mirror_alone() -> None:
    names = "blocks|contracts|deployments|transfers|holdings|supplies|pauses|heads|titles|states|events"
    table = re.compile(rf"\b(mirror|staging)\.({names})\b")
    outside = [name for name in PYTHON if name.startswith("service/") and not name.startswith("service/mirror/")]
    assert [name for name in outside if table.search(text_of(name))] == []


def test_every_problem_has_a_sentence_and_a_stable_name() -> None:
    for slug, problem in Problem.registry.items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", slug)
        assert problem.__doc__
        assert problem.__doc__.rstrip().endswith(".")
        assert 400 <= problem.status < 600


def test_every_answer_to_slither_has_a_reason() -> None:
    answers = [
        (name, line.strip())
        for name in TRACKED
        if name.endswith(".sol") and (ROOT / name).exists()
        for line in text_of(name).splitlines()
        if "slither-disable" in line
    ]
    # One line at a time, never a range of them.
    form = re.compile(r"// slither-disable-next-line [a-z0-9-]+(,[a-z0-9-]+)*( \S+){3,}")
    assert [answer for answer in answers if not form.fullmatch(answer[1])] == []


def test_every_detector_left_out_has_a_sentence() -> None:
    excluded = json.loads(text_of("contracts/slither.config.json"))["detectors_to_exclude"].split(",")
    readme = text_of("contracts/README.md")
    assert [detector for detector in excluded if f"`{detector}`" not in readme] == []
