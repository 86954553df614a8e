"""The kind of a grant, and the limits of the forms or URLs that it signs."""

from __future__ import annotations

from dataclasses import dataclass

TOKEN, POST_FORM, PRESIGNED_URL = "Token", "PostForm", "PresignedUrl"
TYPES = (TOKEN, POST_FORM, PRESIGNED_URL)
MAX_OBJECT_BYTES = 5 * 2**30  # of PutObject and PostObject


@dataclass(frozen=True)
class Terms:
    """The limits of the forms or URLs of a grant."""

    type: str  # POST_FORM or PRESIGNED_URL
    method: str  # of HTTP: POST, PUT or GET
    seconds: int  # for which each is valid
    min_size: int = 0  # bytes
    max_size: int = MAX_OBJECT_BYTES
    content_types: tuple[str, ...] = ()  # such as image/png or image/*; () allows any
    forbid_overwrite: bool = False
    object_name: str = ""  # the template of names that the server chooses
    processes: tuple[str, ...] = ()  # values of x-oss-process
    url_only: bool = False  # unless a client asks for JSON

    @property
    def action(self) -> str:
        """The action that the signing token must be allowed."""
        return "oss:GetObject" if self.method == "GET" else "oss:PutObject"

    @property
    def limits_size(self) -> bool:
        """Whether the grant refuses a size that OSS would take."""
        return (self.min_size, self.max_size) != (0, MAX_OBJECT_BYTES)

    @property
    def has_limits(self) -> bool:
        """Whether the grant limits what may be uploaded into its folders."""
        return bool(self.limits_size or self.content_types or self.forbid_overwrite)

    def allows_type(self, content_type: str) -> bool:
        """Return whether an object of *content_type*, in lower case, may be uploaded.

        Parameters, such as "; charset=utf-8", do not matter to a wildcard.
        """
        return not self.content_types or any(
            content_type.startswith(allowed[:-1])
            if allowed.endswith("/*")
            else content_type == allowed
            for allowed in self.content_types
        )

    def shown(self) -> dict[str, object]:
        """Return the terms as /upload-config shows them to a client."""
        found: dict[str, object] = {
            "type": self.type,
            "method": self.method,
            "valid_seconds": self.seconds,
        }
        if self.method == "GET":
            return found | {"processes": list(self.processes)}
        if self.type == POST_FORM:
            found |= {"min_size": self.min_size, "max_size": self.max_size}
        return found | {
            "content_types": list(self.content_types),
            "forbid_overwrite": self.forbid_overwrite,
            "object_name": self.object_name,
        }
