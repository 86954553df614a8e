"""What is wrong when AssumeRole gives no token, in words that say what to change.

hints.py   what to change for each Cause and Code; in the log once a minute
probe.py   one GET of the endpoint: does it answer, and is our clock right
report.py  the report of --check: settings, policies, probes, what to do
"""
