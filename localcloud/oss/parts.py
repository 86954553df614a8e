"""The parts of a multipart upload that become its object.

Source: "CompleteMultipartUpload" in the OSS documentation.
"""

from __future__ import annotations

from collections.abc import Mapping

from localcloud.oss.errors import OssError
from localcloud.oss.records import Part

MIN_PART_BYTES = 100 * 1024  # for every part except the last


def wanted_parts(
    parts: Mapping[int, Part], wanted: list[tuple[int, str]]
) -> list[Part]:
    """Return the parts that a client lists for its object.  Raises OssError.

    *wanted* has the number and the ETag of each.
    """
    numbers = [number for number, _ in wanted]
    if not wanted:
        raise OssError("MalformedXML")
    if numbers != sorted(set(numbers)):
        raise OssError("InvalidPartOrder")
    found = []
    for number, etag in wanted:
        part = parts.get(number)
        if part is None or part.content.md5 != etag.strip('"').upper():
            raise OssError("InvalidPart", details={"PartNumber": str(number)})
        found.append(part)
    for part in found[:-1]:
        if part.content.size < MIN_PART_BYTES:
            details = {
                "PartNumber": str(part.number),
                "ProposedSize": str(part.content.size),
                "MinSizeAllowed": str(MIN_PART_BYTES),
            }
            raise OssError("EntityTooSmall", details=details)
    return found
