"""Tests of the STS stand-in, which share one whose clock stands still."""
