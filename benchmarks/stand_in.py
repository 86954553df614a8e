"""The STS stand-in as a process.

It prints its URL, then for each input line the number of calls since the line before.

python -m benchmarks.stand_in CALLS_PER_SECOND   (0 for no quota)
"""

import sys

from benchmarks.servers import KEY_ID, KEY_SECRET, LATENCY_SECONDS, ROLE_ARN
from localcloud.sts import StsStandIn

with StsStandIn(
    calls_per_second=int(sys.argv[1]) or None, latency_seconds=LATENCY_SECONDS
) as sts:
    sts.add_user(KEY_ID, KEY_SECRET)
    sts.add_role(ROLE_ARN)
    print(sts.url, flush=True)
    for _ in sys.stdin:
        print(sts.received, flush=True)
        sts.clear()
