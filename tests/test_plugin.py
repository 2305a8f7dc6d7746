"""The notifier that docs/plugins.md prints works as it stands there, installed beside Jitgate."""

import re
import sys
from collections.abc import AsyncIterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from aiohttp import web

from gateway.notices.channels import BadChannel, open_channels
from gateway.notices.settings import ChannelSettings
from notifiers.errors import NotDelivered, TryAgain
from tests.notifiers.told import delivery

PAGE = Path(__file__).parent.parent / "docs" / "plugins.md"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip leaves a package: its module, and what its metadata says of it."""
    (code,) = re.findall(r'```python\n("""pager\.py.*?)```', PAGE.read_text(), re.S)
    (tmp_path / "pager.py").write_text(code)
    told = tmp_path / "pager-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: pager\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text("[jitgate.notifiers]\npager = pager:make\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pager", raising=False)
    assert "pager" in entry_points(group="jitgate.notifiers").names


@pytest.fixture
async def service() -> AsyncIterator[tuple[str, dict[str, str]]]:
    """Its address, and what was paged, by path."""
    paged: dict[str, str] = {}

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        paged[request.path] = (await request.read()).decode()
        return web.Response(status=204)

    runner = web.ServerRunner(web.Server(serve))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", paged
    await runner.cleanup()


@pytest.mark.usefixtures("installed")
async def test_a_third_partys_notifier_pages(service: tuple[str, dict[str, str]]) -> None:
    url, paged = service
    wanted = {"pager": ChannelSettings.model_validate({"url": url})}
    channels = open_channels(wanted, {}, source="//here")
    [pager] = channels.notifiers
    assert pager.concurrency == 2
    assert await pager.check() == "the pager service answers"
    await pager.deliver(delivery(address={"pager": "555"}))
    [line] = [line for path, line in paged.items() if path.startswith("/555/d-")]
    assert "alice" in line
    await channels.close()


@pytest.mark.usefixtures("installed")
async def test_one_that_cannot_be_used_takes_nothing_down(service: tuple[str, dict[str, str]]) -> None:
    wanted = {"pager": ChannelSettings(), "console": ChannelSettings()}
    channels = open_channels(wanted, {}, source="//here")
    pager, console = channels.notifiers
    with pytest.raises(TryAgain, match="pager is not available: a pager needs `url`"):
        await pager.deliver(delivery(address={"pager": "555"}))
    with pytest.raises(NotDelivered):
        await pager.check()
    assert await console.check()
    await channels.close()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def make(settings):\n    return {}['a bug']\n", "the plugin failed: KeyError: 'a bug'"),
        ("import nothing_of_that_name\n", "the plugin failed: ModuleNotFoundError"),
        ("another = 1\n", "the plugin failed: AttributeError"),
        ("def make(settings):\n    return object()\n", "attribute 'check'"),
    ],
)
@pytest.mark.usefixtures("installed")
async def test_nor_does_one_that_is_broken(tmp_path: Path, code: str, says: str) -> None:
    (tmp_path / "pager.py").write_text(code)
    channels = open_channels({"pager": ChannelSettings(), "console": ChannelSettings()}, {}, source="//here")
    pager, console = channels.notifiers
    with pytest.raises((TryAgain, AttributeError), match=says):
        await pager.check()
    assert await console.check()
    await channels.close()


def test_a_kind_that_nobody_installed_is_named() -> None:
    with pytest.raises(BadChannel, match=r"there is no kind 'pigeon'; there are console, email"):
        open_channels({"pigeon": ChannelSettings()}, {}, source="//here")
