"""Uploads reported by OSS: checked, counted once, recorded and forwarded.

    receive.py   a POST from OSS -> Upload, or the reason why it does not count
    seen.py      the reports that have counted already
    records.py   a line of JSON for each upload, in UploadsFile
    retries.py   the queue of uploads to forward, and the times of the next attempts
    post.py      one POST to the operator's backend
    forward.py   ForwardUrl: sends each upload to the backend, in the background
    uploads.py   puts these together, and counts

However slow the disk or the backend is, OSS gets its reply within a second.  OSS waits
up to 5 s for it, and the uploading client waits too.
"""
