"""Tokens: AssumeRole calls within the quota of STS, and tokens that are reused.

    causes.py  why a connection failed, by the type of the exception
    gate.py    CallGate: limits on calls at once and on calls per second
    client.py  StsClient: AssumeRole through the STS SDK, within a deadline
    tokens.py  TokenCache: one token for equal requests, also through an outage

client.py imports the SDK, which takes most of the time that the server needs to start.

Sources: "AssumeRole" and "GetCallerIdentity" (STS API reference), the STS FAQ, the
source of alibabacloud_sts20150401 and of the mobile SDKs' OSSAuthCredentialsProvider.
"""
