"""What a library says of an address that it cannot reach holds no ticket for it."""

import json
import subprocess
import sys

PROGRAM = """
import logging
from gateway.logs import configure
configure("info")
url = "wss://wss.example.com/link/?ticket=very-secret&app_id=1"
try:
    raise OSError(f"400, message='no', url={url!r}")
except OSError as failure:
    logging.getLogger("slack_sdk").exception("Failed to connect (error: %s)", failure)
logging.getLogger("aiohttp").error("GET https://example.com/a?token=very-secret failed")
logging.getLogger("aiohttp").error("what? of http://example.com/b nothing is taken away")
"""


def test_no_query_of_an_address_is_logged() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert "very-secret" not in done.stderr
    assert "url='wss://wss.example.com/link/?…'" in lines[0]["event"]
    assert "url='wss://wss.example.com/link/?…'" in lines[0]["exception"]
    assert lines[1]["event"] == "GET https://example.com/a?… failed"
    assert lines[2]["event"] == "what? of http://example.com/b nothing is taken away"
