"""The app that operators upload to Teams, as far as it has to fit what the gateway does."""

import json
import struct
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "deploy" / "teams"


def test_the_app_is_the_bot_in_personal_chats_and_teams() -> None:
    manifest = json.loads((FOLDER / "manifest.json").read_text())
    [bot] = manifest["bots"]
    assert bot["botId"] == manifest["id"]
    assert set(bot["scopes"]) == {"personal", "team"}
    assert not bot["isNotificationOnly"]
    assert len(manifest["description"]["short"]) <= 80
    assert len(manifest["name"]["short"]) <= 30


def test_the_icons_have_the_sizes_that_teams_wants() -> None:
    manifest = json.loads((FOLDER / "manifest.json").read_text())
    for name, size in (("color", 192), ("outline", 32)):
        head = (FOLDER / manifest["icons"][name]).read_bytes()[:24]
        assert head[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", head[16:24]) == (size, size)
