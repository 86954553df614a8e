"""Measures this server and others side by side: ``make bench``."""
