"""The upload page: joined from its parts, and served on loopback."""

from localcloud.page.build import build_page, read_settings
from localcloud.page.page import UploadPage

__all__ = ["UploadPage", "build_page", "read_settings"]
