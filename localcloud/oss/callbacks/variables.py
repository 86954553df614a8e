"""The body of a callback, and the variables in it.

    template = Template.of("bucket=${bucket}&my=${x:my}", FORM_TYPE)
    template.filled(values, {"x:my": "a b"})  # b"bucket=my-bucket&my=a%20b"

In a form the values are percent-encoded.  In JSON they are strings in quotes, and sizes
are numbers: {"bucket": ${bucket}, "size": ${size}}.  An unknown variable is empty.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from localcloud.oss.errors import OssError
from localcloud.oss.images import ImageInfo

FORM_TYPE = "application/x-www-form-urlencoded"
JSON_TYPE = "application/json"
NUMBERS = ("size", "imageInfo.height", "imageInfo.width")


@dataclass(frozen=True)
class Values:
    """The facts about an upload."""

    bucket: str
    object: str
    etag: str
    size: int
    media_type: str
    crc64: int
    content_md5: str
    client: str  # its address
    request_id: str
    operation: str
    image: ImageInfo | None

    def by_name(self) -> dict[str, str]:
        """Return the values by their names in a callbackBody."""
        image = self.image
        return {
            "bucket": self.bucket,
            "object": self.object,
            "etag": self.etag,
            "size": str(self.size),
            "mimeType": self.media_type,
            "imageInfo.height": str(image.height) if image else "",
            "imageInfo.width": str(image.width) if image else "",
            "imageInfo.format": image.format if image else "",
            "crc64": str(self.crc64),
            "contentMd5": self.content_md5,
            "vpcId": "",
            "clientIp": self.client,
            "reqId": self.request_id,
            "operation": self.operation,
        }


@dataclass(frozen=True)
class Template:
    """A callbackBody.  Every second one of *parts* is the name of a variable."""

    parts: tuple[str, ...]
    content_type: str

    @classmethod
    def of(cls, body: str, content_type: str) -> Template:
        """Return *body* as a template.

        Raises OssError if a $ does not begin a variable, or if a JSON body would not be
        JSON with any values.
        """
        pieces = re.split(r"\$\{([^{}$]*)\}", body)
        if any("$" in text for text in pieces[::2]):
            raise OssError(
                "InvalidArgument",
                "Left brace must be adjacent to dollar sign.",
                ec="0007-00000105",
                details={"ArgumentName": "callbackBody", "ArgumentValue": body},
            )
        template = cls(tuple(pieces), content_type)
        if content_type == JSON_TYPE:
            template.check_json()
        return template

    @property
    def wants_image(self) -> bool:
        """Whether it has a variable of an image."""
        return any(name.startswith("imageInfo.") for name in self.parts[1::2])

    def check_json(self) -> None:
        """Raise OssError if it is not JSON once its variables have values."""
        try:
            json.loads("".join(self._texts({})))
        except (ValueError, RecursionError):
            message = "The callback configuration is not json format."
            details = {"ArgumentName": "callbackBody"}
            raise OssError("InvalidArgument", message, details=details) from None

    def filled(self, values: Mapping[str, str]) -> bytes:
        """Return the body with *values* in place of the variables."""
        return "".join(self._texts(values)).encode()

    def _texts(self, values: Mapping[str, str]) -> Iterator[str]:
        for index, part in enumerate(self.parts):
            if index % 2 == 0:
                yield part
            elif self.content_type == FORM_TYPE:
                yield quote(values.get(part, ""), safe="")
            elif part in NUMBERS and values.get(part):
                yield values[part]
            else:
                yield json.dumps(values.get(part, ""), ensure_ascii=False)
