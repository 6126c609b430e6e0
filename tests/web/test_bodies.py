"""JSON that is read in one way only, whatever its size."""

import json
import time

import pytest

from service.web.strict_json import DEPTH_MAX, strict_json


@pytest.mark.parametrize("piece", [b"[", b'{"a":', b'[{"a":'])
def test_a_deep_body_ends_no_process(piece: bytes) -> None:
    with pytest.raises(json.JSONDecodeError):
        strict_json(piece * 200_000)


def test_a_body_of_the_greatest_depth_is_read() -> None:
    assert strict_json(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)
    with pytest.raises(json.JSONDecodeError):
        strict_json(b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1))


@pytest.mark.parametrize("text", ["[" * 500, '"' + "[" * 500, "\\" + "{" * 500, '\\"' + "[" * 500])
def test_brackets_in_a_text_are_no_depth(text: str) -> None:
    assert strict_json(json.dumps({"text": text}).encode()) == {"text": text}


@pytest.mark.parametrize("body", [b'"' * 4_000_001, b'\\"' * 2_000_000, b'"' + b'\\"' * 2_000_000, b"[]" * 1_000_000])
def test_a_hostile_body_is_refused_in_linear_time(body: bytes) -> None:
    start_s = time.monotonic()
    with pytest.raises(json.JSONDecodeError):
        strict_json(body)
    assert time.monotonic() - start_s < 5


@pytest.mark.parametrize("escaped", [r"\ud800", r"\udfff", r"\uD83D", r"x\ud83dy", r"\udc00\ud800"])
@pytest.mark.parametrize("body", ['{"a": "%s"}', '{"%s": 1}', '[["%s"]]', '"%s"'])
def test_half_a_character_is_no_text(body: str, escaped: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        strict_json((body % escaped).encode())


def test_a_whole_character_may_be_escaped() -> None:
    assert strict_json(rb'{"a": "\ud83d\ude00", "b": "\\ud800", "c": "\u00e9"}') == {
        "a": "😀",
        "b": r"\ud800",
        "c": "é",
    }


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" * 400 + ".0", "NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_none_is_refused(number: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        strict_json(f'{{"a": {number}}}'.encode())
