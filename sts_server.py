"""A token server for apps that upload to Alibaba Cloud OSS: python sts_server.py 7080

An app must not hold an AccessKey pair.  It asks this server for a temporary
token, talks to OSS directly with it, and asks again before it expires.  The
server holds the pair, or runs under a RAM role, and calls STS for the app:
AssumeRole(RoleArn, RoleSessionName, DurationSeconds, Policy) returns an
AccessKeyId that starts with "STS.", an AccessKeySecret, a SecurityToken and their
Expiration.  Such a token may do what both the role and the session policy of the
call allow; a session policy never adds anything to a role.

This file is only the command; the server is the package tokenserver beside it.  One
request passes through it like this:

  1. tokenserver/httpd accepts the connection and reads the request strictly.
  2. tokenserver/app.py looks up the grant of its path in the configuration that
     tokenserver/config has read, with its session policy rendered from a template.
  3. tokenserver/login says whose login token it has, if users have to log in.
  4. tokenserver/sts has a token for this user already, or shares one call among all who
     ask, or calls AssumeRole within the quota of STS.
  5. A document of tokenserver/documents.py goes back in one send: the token, or a form
     or URL that tokenserver/oss has signed with a token of the server's own.

What is wrong with a call, tokenserver/check says in words; tokenserver/metrics.py shows
what was counted; tokenserver/cli.py is the command line.

Sources: "Set up direct data transfer for mobile apps" (OSS documentation),
"AssumeRole" (STS API reference, version 2015-04-01), RFC 9110 and RFC 9112 (HTTP).
"""

from tokenserver.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
