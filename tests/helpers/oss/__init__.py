"""Clients of OSS, and clouds for them."""
