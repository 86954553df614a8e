"""A small Alibaba Cloud on loopback: STS, RAM policies and OSS, and a token server.

    from localcloud import LocalCloud

    with LocalCloud() as cloud:
        ...  # an app with cloud.token_url, cloud.endpoint, cloud.region, cloud.bucket

It is for tests of apps that upload to OSS, for the demo (python -m localcloud), and for
the tests and benchmarks of the token server.  sts and oss are the stand-ins, ram
decides what policies allow, cloud puts them together with a token server; page is the
upload page of the demo, and clients has programs that upload.

The names below are imported when they are first used, so that the pytest plugin costs
nothing where it is not used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localcloud.clock import Clock
    from localcloud.cloud import LocalCloud, TokenRefused
    from localcloud.oss import CUT_OFF, CorsRule, OssStandIn
    from localcloud.sts import StsStandIn

__all__ = [
    "CUT_OFF",
    "Clock",
    "CorsRule",
    "LocalCloud",
    "OssStandIn",
    "StsStandIn",
    "TokenRefused",
]

MODULE_OF = {
    "CUT_OFF": "localcloud.oss",
    "Clock": "localcloud.clock",
    "CorsRule": "localcloud.oss",
    "LocalCloud": "localcloud.cloud",
    "OssStandIn": "localcloud.oss",
    "StsStandIn": "localcloud.sts",
    "TokenRefused": "localcloud.cloud",
}
# What OSS cannot do without: modules, and their packages in the extra.
PACKAGES = {
    "PIL": "pillow",
    "cryptography": "cryptography",
    "fastcrc": "fastcrc",
    "multipart": "multipart",
    "segno": "segno",
}


def __getattr__(name: str) -> Any:
    """Import a public name.  Raises AttributeError for any other."""
    if name not in MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(MODULE_OF[name])
    except ModuleNotFoundError as error:
        package = PACKAGES.get((error.name or "").partition(".")[0])
        if package is None:
            raise
        message = f"{package} is missing; run: pip install 'sts-server[testing]'"
        raise ImportError(message, name=error.name) from None
    return getattr(module, name)
