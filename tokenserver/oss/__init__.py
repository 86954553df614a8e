"""OSS as clients call it: where a bucket is, and what they may send there.

    bucket.py    the region, endpoint and host of a bucket
    names.py     names of objects
    terms.py     what a grant signs, and its limits
    signing.py   signatures of forms and URLs
    orders.py    what a client asks to have signed
    callback.py  how OSS reports an upload, and what proves that it may

Nothing here calls OSS.

Sources: "Regions and endpoints", "Use custom domain names", "Signature version 4
(recommended)", "Callback" (OSS documentation).
"""
