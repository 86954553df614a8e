"""Uploads that OSS reports: which reports count, and what becomes of them.

    receive.py   POST of OSS -> Upload, or why it does not count
    seen.py      which reports have counted already
    records.py   a line of JSON for each upload, in UploadsFile
    retries.py   what waits to be forwarded, and when it is tried again
    post.py      one POST to the operator's backend
    forward.py   ForwardUrl: each upload to the backend, in the background
    uploads.py   all of it together, and the counts

Whatever the disk and the backend do, OSS has its answer within a second: it waits for
5 s, and a client that uploads waits with it.
"""
