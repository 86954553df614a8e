"""What an operator configures: config.json, the files it names, and TLS certificates.

    settings.py    the settings: names, readers, bounds, defaults
    files.py       reading files, and taking up edits
    patterns.py    patterns of RAM
    statements.py  the grammar of a session policy
    resources.py   which buckets and objects a resource stands for
    policy.py      session policy templates
    isolation.py   whether a user can reach the objects of another
    denied.py      the list of users who are shut out
    grants.py      what a path hands out, and the AssumeRole call for it
    callback.py    how OSS reports uploads
    load_*.py      the parts of config.json: logins, grants, what these sign, buckets,
                    callback
    load.py        config.json -> Config, with all problems at once; Config in force
    tls.py         the certificate in force

Sources: "AssumeRole" (STS API reference), "Policy elements" (RAM), "Bucket naming" and
"Object naming" (OSS documentation).
"""
