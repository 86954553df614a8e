"""An HTTP/1.1 front for a hostile network, which knows nothing of STS.

http.server calls itself unfit for production.  What it leaves open stands here: a limit
on connections, a backlog that survives a burst, TLS, request heads that are read
strictly and within limits of size and time, JSON for every error, CORS, one send for
each reply, one log line for each request, and an end that finishes the requests in
flight.  Of http.server the skeleton of a server is used; the rest of HTTPServer and
BaseHTTPRequestHandler waits, reads and writes in its own way and would fail here.

    request.py     bytes -> Request, pure
    body.py        bodies, dropped as they come unless the application wants one
    reply.py       Reply -> bytes
    origins.py     which web pages may read replies, and whose address a request has
    streams.py     the bytes of a connection, plain or in TLS
    connection.py  one connection: one request after the other, within limits of time
    workers.py     threads that are kept for the next connection
    server.py      all connections: accepted, bounded, drained

Sources: RFC 9110 and RFC 9112 (HTTP), RFC 8446 (TLS), "CORS protocol" (Fetch standard).
"""
