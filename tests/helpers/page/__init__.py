"""Visits to the upload page."""
