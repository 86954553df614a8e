"""OSS as clients call it: where a bucket is.

    bucket.py   the region, endpoint and host of a bucket

Nothing here calls OSS.

Sources: "Regions and endpoints", "Use custom domain names" (OSS documentation).
"""
