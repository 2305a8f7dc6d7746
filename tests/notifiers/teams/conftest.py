from collections.abc import AsyncIterator

import pytest

from notifiers.teams import TeamsNotifier, TeamsSettings
from notifiers.teams.service import ConnectorService
from tests.notifiers.teams.cloud import SECRET, Cloud, running_cloud


@pytest.fixture
async def cloud(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cloud]:
    monkeypatch.setenv("TEAMS_TEST_SECRET", SECRET)
    async with running_cloud() as running:
        yield running


@pytest.fixture
async def notifier(cloud: Cloud) -> AsyncIterator[TeamsNotifier]:
    settings = TeamsSettings.model_validate(cloud.settings())
    made = TeamsNotifier(settings, ConnectorService(settings, lambda: cloud.now))
    yield made
    await made.close()
