"""Where the characters of strings stand: checked against what YAML itself reads, style by style."""

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.ssm.scalars import Spread, spread


def spread_of(text: str) -> tuple[str, Spread | None]:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(node, yaml.ScalarNode)
    return node.value, spread(text, node)


STYLES = {
    "json": r'"a\n\u00e9 \"b\" \ud83d\ude00c\t"',
    "single quotes": "'it''s  here\n\n   and there'",
    "folded in quotes": '"when {\\r\\n\n    \\  a ==\n    \\"b\\" \\\n   c\n\n\n   d"',
    "block": "|\n  permit (\n    principal\n\n  );\n",
    "block without its last line end": "|-\n  a\n   b",
    "block with all its line ends": "|+\n  a\n\n\n",
    "block with the line ends of Windows": "|\r\n  a\r\n    b\r\n",
    "plain": "permit(principal, action, resource);",
    "empty": '""',
}


@pytest.mark.parametrize("style", STYLES)
def test_each_character_is_found_where_it_is_written(style: str) -> None:
    text = STYLES[style]
    value, found = spread_of(text)
    assert found is not None
    assert found.value == value.encode("utf-16", "surrogatepass").decode("utf-16")
    assert len(found.offsets) == len(found.value) + 1
    assert list(found.offsets) == sorted(found.offsets)
    for char, at in zip(found.value, found.offsets, strict=False):
        if char.isalpha() and char.isascii():
            assert text[at] == char


def test_a_folded_block_has_no_places_of_its_own() -> None:
    assert spread_of(">\n  a\n  b\n")[1] is None
    assert spread_of("a\n b\n")[1] is None


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("said", ["x", "it's", 'say "x"', "one\ntwo"])
def test_what_is_written_instead_is_read_as_what_was_meant(style: str, said: str) -> None:
    text = STYLES[style]
    _, found = spread_of(text)
    assert found is not None
    written = found.written(said)
    if written is None:
        assert style in ("plain", "single quotes")
        return
    at = max((place for place, char in enumerate(found.value) if char.isascii() and char.isalpha()), default=0)
    start, end = found.offsets[at], found.offsets[at + 1 if found.value else 0]
    read, _ = spread_of(text[:start] + written + text[end:])
    read = read.encode("utf-16", "surrogatepass").decode("utf-16")
    assert read == found.value[:at] + said + found.value[at + 1 :]


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=40), st.booleans())
def test_any_json_string_is_found_whole(value: str, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    try:
        _, found = spread_of(text)
    except yaml.YAMLError:
        return  # a control character, which JSON takes as it is and YAML doesn't
    assert found is not None
    assert found.value == value or "\x85" in value or "\u2028" in value or "\u2029" in value


@settings(max_examples=150, deadline=None)
@given(st.text("ab \n\t'\"\\\r:-#é", max_size=40), st.sampled_from(["'", '"', "|"]))
def test_what_yaml_writes_is_found_whole_too(value: str, style: str) -> None:
    text = yaml.safe_dump(value, default_style=style, width=10, allow_unicode=True)
    read, found = spread_of(text)
    assert found is None or found.value == read
    assert found is not None or text.startswith(("|1", "|2", "|3", "|4", "|5", "|6", "|7", "|8", "|9"))
