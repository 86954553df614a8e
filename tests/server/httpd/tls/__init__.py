"""Tests of HTTPS, which share a server."""
