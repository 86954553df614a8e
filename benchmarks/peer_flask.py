"""Flask, calling the STS SDK for each request, as the documentation of both shows.

CONFIG=config.json gunicorn peer_flask:app
"""

import json
import os
from pathlib import Path

from alibabacloud_sts20150401.client import Client
from alibabacloud_sts20150401.models import AssumeRoleRequest
from alibabacloud_tea_openapi.models import Config
from flask import Flask, jsonify
from flask.typing import ResponseReturnValue

config = json.loads(Path(os.environ["CONFIG"]).read_text("utf-8"))
policy = Path(config["PolicyFile"]).read_text("utf-8")
policy = policy.replace("$BUCKET_NAME", config["BucketName"])
policy = policy.replace("$OBJECT_PREFIX", config["ObjectPrefix"])
client = Client(
    Config(
        access_key_id=config["AccessKeyID"],
        access_key_secret=config["AccessKeySecret"],
        protocol="http",
        endpoint=config["StsEndpoint"].removeprefix("http://"),
    )
)
app = Flask(__name__)


@app.get("/")
def token() -> ResponseReturnValue:
    request = AssumeRoleRequest(
        role_arn=config["RoleArn"],
        role_session_name="client_name",
        duration_seconds=int(config["TokenExpireTime"]),
        policy=policy,
    )
    try:
        credentials = client.assume_role(request).body.credentials
    except Exception as error:
        code = str(getattr(error, "code", None))
        return jsonify(StatusCode=500, ErrorCode=code, ErrorMessage="")
    return jsonify(
        StatusCode=200,
        AccessKeyId=credentials.access_key_id,
        AccessKeySecret=credentials.access_key_secret,
        SecurityToken=credentials.security_token,
        Expiration=credentials.expiration,
    )
