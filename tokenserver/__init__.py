"""A token server for apps that upload to Alibaba Cloud OSS.

The folders are the path of a request, and each uses only those before it:

    errors logs counts background hosts   what everything stands on
    oss/      where a bucket is; orders of clients -> signed forms and URLs
    documents   what goes over the wire
    httpd/    bytes -> Request, Reply -> bytes; sockets, limits, TLS
    login/    login token -> user
    config/   config.json -> grants, session policies
    sts/      call -> token: reuse, quota, AssumeRole
    uploads/  which reports of OSS count, and what becomes of them
    check/    what to change when STS gives no token
    metrics signed app cli   counts for Prometheus, what is signed, what each path
              answers, the command line
"""

__version__ = "0.1.0"
