"""The upload page on loopback."""

from localcloud.page.page import PAGE_FILE, UploadPage, read_settings

__all__ = ["PAGE_FILE", "UploadPage", "read_settings"]
