"""The pytest fixture local_cloud: a LocalCloud for a test.

    @pytest.mark.local_cloud(logins=True)  # optional: the arguments of LocalCloud
    def test_upload(local_cloud):
        MyApp(local_cloud.token_url, ...).upload("cat.jpg")
        assert local_cloud.objects.keys() == ["cat.jpg"]

pytest loads this module wherever the package is installed, so it imports nothing until
a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from localcloud.cloud import LocalCloud


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        "local_cloud(**options): the arguments of LocalCloud for the fixture "
        "local_cloud of the test, such as logins=True",
    )


@pytest.fixture
def local_cloud(request: pytest.FixtureRequest) -> Iterator[LocalCloud]:
    """STS, OSS and a token server on this machine, empty at the start of each test."""
    from localcloud import LocalCloud

    marker = request.node.get_closest_marker("local_cloud")
    with LocalCloud(**(marker.kwargs if marker else {})) as cloud:
        yield cloud
