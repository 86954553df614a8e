"""An HTTP/1.1 front for a hostile network, which knows nothing of STS.

http.server calls itself unfit for production.  This package adds what it lacks: a limit
on connections, a backlog that survives a burst, TLS, request heads that are read
strictly and within limits of size and time, JSON for every error, CORS, one send for
each reply, one log line for each request, and a shutdown that finishes the requests in
flight.  Only the class skeleton of http.server is used; the other methods of HTTPServer
and BaseHTTPRequestHandler do their own input and output and would fail here.

    request.py     bytes -> Request, pure
    body.py        request bodies, dropped unless the application wants one
    reply.py       Reply -> bytes
    origins.py     CORS, and the client's address behind proxies
    streams.py     the bytes of a connection, plain or in TLS
    connection.py  one connection: one request after the other, within time limits
    workers.py     threads that are kept for the next piece of work
    lead.py        one thread waits for all connections, and serves those that are ready
    server.py      all connections: accept, limit, drain

Sources: RFC 9110 and RFC 9112 (HTTP), RFC 8446 (TLS), "CORS protocol" (Fetch standard).
"""
