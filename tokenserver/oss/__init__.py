"""OSS for clients: the address of a bucket, signed forms and URLs, and callbacks.

    bucket.py    the region, endpoint and host of a bucket
    names.py     names of objects
    terms.py     the limits of the forms or URLs of a grant
    signing.py   signatures of forms and URLs
    orders.py    requests of clients for a signature
    callback.py  reports of OSS about uploads, and the proof that they count

Nothing here calls OSS.

Sources: "Regions and endpoints", "Use custom domain names", "Signature version 4
(recommended)", "Callback" (OSS documentation).
"""
