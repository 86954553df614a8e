"""What is wrong when AssumeRole gives no token, in words that say what to change.

hints.py     what to change for each Cause and Code; in the log once a minute
probe.py     one request to something: does it answer, and is our clock right
report.py    the report of --check: settings, policies, probes, what to do
bucket.py    whether the bucket is there, and whether web pages may upload to it
callback.py  whether the URL that OSS calls leads to this server
"""
