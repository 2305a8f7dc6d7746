"""Servers that fail as a test says, before moto."""

from collections.abc import Iterator

import pytest

from tests.aws.trouble import Troubled, troubled


@pytest.fixture
def troubled_moto(moto: str, aws_environment: None) -> Iterator[Troubled]:
    with troubled(moto) as proxy:
        yield proxy
