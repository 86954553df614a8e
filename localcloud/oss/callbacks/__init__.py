"""The upload callback: OSS tells an app server of an upload, and hands on its answer.

    callback = read_callback(request.headers, request.query)
    answer = CallbackSender(5.0, CallbackKey()).send(callback, values)

A request for PutObject, PostObject or CompleteMultipartUpload says whom to call and
with which body.  That is checked before anything is stored; when the object is stored,
its variables are filled in and the body is signed and posted.  An app server that
answers with HTTP 200 and JSON has its answer handed on to the client.  Else the client
gets 203 CallbackFailed, and the object stays.

What differs from OSS: only addresses of this machine are called, and not over TLS; the
key is one of the stand-in's own, which the name in x-oss-pub-key-url does not lead to.

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
