"""Makes the callback that an upload asked for, once its object is stored."""

from __future__ import annotations

from typing import NamedTuple

from localcloud.oss.callbacks.parameters import Callback
from localcloud.oss.callbacks.sender import CallbackSender
from localcloud.oss.callbacks.variables import Values
from localcloud.oss.errors import OssError
from localcloud.oss.headers import content_headers, object_headers
from localcloud.oss.images import MAX_BYTES, SLOTS, ImageInfo, image_info
from localcloud.oss.operations import Notify
from localcloud.oss.records import StoredObject
from localcloud.oss.replies import Reply
from localcloud.oss.storage import Bucket


class Asked(NamedTuple):
    """The facts in a callback about the request: operation, request ID and client."""

    operation: str
    request_id: str
    client: str  # address


def notifier(
    sender: CallbackSender, callback: Callback | None, bucket: Bucket, asked: Asked
) -> Notify:
    """Return a function that makes *callback*, or does nothing if that is None.

    Its reply has the answer of the app server instead of the document of OSS.
    """

    def notify(stored: StoredObject, reply: Reply) -> Reply:
        if callback is None:
            return reply
        headers = content_headers(stored.etag, stored.content)
        image = image_of(bucket, stored) if callback.template.wants_image else None
        values = values_of(bucket, stored, asked, image)
        try:
            answer = sender.send(callback, values)
        except OssError as failure:  # the object stays
            raise failure.with_headers(headers) from None
        return Reply(
            headers={**headers, "Content-Type": "application/json"}, body=answer
        )

    return notify


def values_of(
    bucket: Bucket, stored: StoredObject, asked: Asked, image: ImageInfo | None
) -> Values:
    """Return the values of the variables for the upload."""
    return Values(
        bucket=bucket.name,
        object=stored.key,
        etag=stored.etag,
        size=stored.content.size,
        media_type=object_headers(stored)["Content-Type"],
        crc64=stored.content.crc64,
        content_md5=stored.content.content_md5,
        client=asked.client,
        request_id=asked.request_id,
        operation=asked.operation,
        image=image,
    )


def image_of(bucket: Bucket, stored: StoredObject) -> ImageInfo | None:
    """Return the facts about the image *stored*, None if it is not one or too large."""
    if stored.content.size > MAX_BYTES:
        return None
    try:
        with SLOTS, bucket.reopen(stored) as file:
            return image_info(file.read(stored.content.size))
    except FileNotFoundError:  # another upload has replaced it
        return None
