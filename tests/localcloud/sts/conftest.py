"""An STS stand-in whose clock stands still, for all tests here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.sts.calls import frozen_clock, running_sts

from localcloud.clock import Clock
from localcloud.sts import StsStandIn


@pytest.fixture
def clock() -> Clock:
    return frozen_clock()


@pytest.fixture
def sts(clock: Clock) -> Iterator[StsStandIn]:
    with running_sts(clock) as sts:
        yield sts
