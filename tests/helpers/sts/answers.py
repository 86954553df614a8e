"""Fixed answers of STS."""

from __future__ import annotations

import json

from localcloud.sts import Fail, Reply

TOKEN = {
    "AccessKeyId": "STS.exampleAccessKeyId",
    "AccessKeySecret": "exampleAccessKeySecret",
    "SecurityToken": "CAISexample+token/with=signs==",
    "Expiration": "2099-12-12T07:49:09Z",
}
STS_ANSWER = Reply(
    status=200,
    body=json.dumps({"RequestId": "6894B13B", "Credentials": TOKEN}).encode(),
    content_type="application/json",
)
NOT_FOUND = Fail(
    "InvalidAccessKeyId.NotFound", "Specified access key is not found.", 404
)
