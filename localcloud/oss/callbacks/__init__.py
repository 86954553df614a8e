"""The upload callback: OSS reports an upload to an app server and returns its answer.

    callback = read_callback(request.headers, request.query)
    answer = CallbackSender(5.0, CallbackKey()).send(callback, values)

A request for PutObject, PostObject or CompleteMultipartUpload says which URL to call
and with which body.  That is checked before anything is stored.  Once the object is
stored, the variables in the body are filled in, and the body is signed and posted.  If
the app server answers with HTTP 200 and JSON, the client gets this answer.  Otherwise
it gets 203 CallbackFailed, and the object stays.

Differences from OSS: only addresses of this machine are called, and not over TLS; the
key is the stand-in's own, and the URL in x-oss-pub-key-url does not lead to it.

Sources: "Callback" and "Upload callbacks" in the OSS documentation, "Errors returned
with HTTP status code 203", and the pages of EC 0007-00000002 to 205.
"""

from localcloud.oss.callbacks.key import CallbackKey
from localcloud.oss.callbacks.notify import Asked, notifier
from localcloud.oss.callbacks.parameters import (
    Callback,
    read_callback,
    read_form_callback,
)
from localcloud.oss.callbacks.sender import CallbackSender

__all__ = [
    "Asked",
    "Callback",
    "CallbackKey",
    "CallbackSender",
    "notifier",
    "read_callback",
    "read_form_callback",
]
