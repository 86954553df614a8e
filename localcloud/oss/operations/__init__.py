"""The imitated operations, for requests that the policies allow.

Source: the page of each operation in the OSS documentation.
"""

from __future__ import annotations

from collections.abc import Callable

from localcloud.oss.operations.buckets import get_bucket_info, get_bucket_location
from localcloud.oss.operations.call import MAX_KEYS, Authorize, Call, Notify
from localcloud.oss.operations.copies import copy_object, upload_part_copy
from localcloud.oss.operations.lists import (
    list_multipart_uploads,
    list_objects,
    list_objects_v2,
)
from localcloud.oss.operations.multipart import (
    abort_multipart_upload,
    complete_multipart_upload,
    initiate_multipart_upload,
    list_parts,
    upload_part,
)
from localcloud.oss.operations.objects import (
    append_object,
    delete_multiple_objects,
    delete_object,
    get_object,
    get_object_meta,
    head_object,
    put_object,
)
from localcloud.oss.replies import Reply

__all__ = ["MAX_KEYS", "OPERATIONS", "Authorize", "Call", "Notify"]

OPERATIONS: dict[str, Callable[[Call], Reply]] = {
    "AbortMultipartUpload": abort_multipart_upload,
    "AppendObject": append_object,
    "CompleteMultipartUpload": complete_multipart_upload,
    "CopyObject": copy_object,
    "DeleteMultipleObjects": delete_multiple_objects,
    "DeleteObject": delete_object,
    "GetBucketInfo": get_bucket_info,
    "GetBucketLocation": get_bucket_location,
    "GetObject": get_object,
    "GetObjectMeta": get_object_meta,
    "HeadObject": head_object,
    "InitiateMultipartUpload": initiate_multipart_upload,
    "ListMultipartUploads": list_multipart_uploads,
    "ListObjects": list_objects,
    "ListObjectsV2": list_objects_v2,
    "ListParts": list_parts,
    "PutObject": put_object,
    "UploadPart": upload_part,
    "UploadPartCopy": upload_part_copy,
}
