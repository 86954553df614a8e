"""Helpers that tests share."""

MEGABYTE = 1024 * 1024
