"""Tokens: AssumeRole within the quota of STS, and each token for all who may share it.

    causes.py  why a connection failed, by the type of the exception
    gate.py    CallGate: so many calls at once, and so many a second
    client.py  StsClient: AssumeRole through the STS SDK, within a deadline
    tokens.py  TokenCache: a token for all who ask for the same, through an outage too

client.py imports the SDK, which takes most of the time that the server needs to start.

Sources: "AssumeRole" and "GetCallerIdentity" (STS API reference), the STS FAQ, the
source of alibabacloud_sts20150401 and of the mobile SDKs' OSSAuthCredentialsProvider.
"""
