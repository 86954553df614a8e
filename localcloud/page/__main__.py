"""Print the upload page as one file: ``python -m localcloud.page > upload.html``."""

from __future__ import annotations

import argparse
import sys

from localcloud.page.build import build_page


def main(argv: list[str] | None = None) -> int:
    """Print the page; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m localcloud.page",
        description="Print the upload page as one file, for any web server or to open "
        "it as it is. Its settings are entered in the page.",
    )
    parser.add_argument(
        "app_server",
        nargs="?",
        default="",
        metavar="URL",
        help="of the app server, for the page to begin with",
    )
    options = parser.parse_args(argv)
    page = build_page({"appServer": options.app_server})
    sys.stdout.buffer.write(page.encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
