"""x-oss-process, parsed: the actions and their parameters.

    steps = read_steps("image/resize,m_fill,w_200/format,png")
    steps[0].name, steps[0].number("w", 1, 16384)  # ("resize", 200)

Sources: "Image processing" and the page of each action in the OSS documentation, and
the pages of EC 0040-00000212 to 322.  An empty EC is one that no page gives.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from localcloud.oss.errors import OssError, not_imitated

MAX_STEPS = 20  # our own; the documentation gives no limit

# The parameters of each action that is imitated; an empty name is the bare value of
# rotate,90.
PARAMETERS: Mapping[str, Collection[str]] = {
    "auto-orient": ("",),
    "crop": ("w", "h", "x", "y", "g"),
    "format": ("",),
    "info": (),
    "quality": ("q", "Q"),
    "resize": ("m", "w", "h", "l", "s", "p", "P", "limit", "color"),
    "rotate": ("",),
    "watermark": (
        *("t", "g", "x", "y", "voffset", "fill", "padx", "pady"),
        *("image", "text", "type", "color", "size", "shadow", "rotate"),
    ),
}
# Other actions of OSS, which are not imitated.
OTHER_ACTIONS = (
    *("average-hue", "blindwatermark", "blur", "bright", "circle", "contrast"),
    *("deblindwatermark", "indexcrop", "interlace", "rounded-corners", "sharpen"),
)

EC_OF_PARAMETER = {
    ("auto-orient", ""): "0040-00000215",
    ("crop", "w"): "0040-00000225",
    ("resize", "m"): "0040-00000311",
    ("resize", "w"): "0040-00000312",
    ("resize", "l"): "0040-00000314",
    ("resize", "s"): "0040-00000315",
    ("resize", "p"): "0040-00000317",
    ("resize", "limit"): "0040-00000319",
    ("rotate", ""): "0040-00000217",
    ("watermark", "image"): "0040-00000265",
    ("watermark", "text"): "0040-00000257",
    ("watermark", "type"): "0040-00000250",
}


@dataclass(frozen=True)
class Step:
    """One action with its parameters by name.  Its methods raise OssError."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def invalid(self, parameter: str, wanted: str, ec: str = "") -> OssError:
        """Return the error for the value of a parameter, which must be *wanted*."""
        what = f"{parameter} of {self.name}" if parameter else f"The value of {self}"
        return OssError(
            "InvalidArgument",
            f"{what} must be {wanted}.",
            ec=ec or EC_OF_PARAMETER.get((self.name, parameter), ""),
            details={
                "ArgumentName": parameter or self.name,
                "ArgumentValue": self.parameters.get(parameter, ""),
            },
        )

    def __str__(self) -> str:
        return self.name

    def number(self, name: str, low: int, high: int) -> int | None:
        """Return a whole number from *low* to *high*, None if it is not given."""
        text = self.parameters.get(name)
        if text is None:
            return None
        if not re.fullmatch(r"-?[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise self.invalid(name, f"a number from {low} to {high}")
        return int(text)

    def choice(self, name: str, choices: Collection[str]) -> str | None:
        """Return one of *choices*, None if it is not given."""
        text = self.parameters.get(name)
        if text is not None and text not in choices:
            raise self.invalid(name, f"one of {', '.join(choices)}")
        return text

    def color(self, name: str, default: str) -> str:
        """Return a color such as #FFFFFF, which is given as FFFFFF."""
        text = self.parameters.get(name, default)
        if not re.fullmatch(r"[0-9A-Fa-f]{6}", text):
            raise self.invalid(name, "six hexadecimal digits")
        return f"#{text}"

    def decoded(self, name: str) -> str:
        """Return a text that is given in URL-safe Base64, with or without padding."""
        text = self.parameters[name].rstrip("=")
        wanted = "text in UTF-8 and URL-safe Base64"
        if not re.fullmatch(r"[A-Za-z0-9_-]+", text):
            raise self.invalid(name, wanted)
        try:
            padded = text + "=" * (-len(text) % 4)
            return base64.urlsafe_b64decode(padded).decode()
        except ValueError:
            raise self.invalid(name, wanted) from None


def read_steps(process: str) -> list[Step]:
    """Return the actions of *process*, the value of x-oss-process.  Raises OssError."""
    kind, _, rest = process.partition("/")
    if kind != "image" or "|" in process:
        raise not_imitated(f"GetObject with x-oss-process={process[:40]}")
    texts = [text for text in rest.split("/") if text]
    if not texts:
        message = "x-oss-process=image names no action."
        raise OssError("InvalidArgument", message, ec="0040-00000212")
    if len(texts) > MAX_STEPS:
        raise not_imitated(f"more than {MAX_STEPS} actions on one image")
    steps = [read_step(text) for text in texts]
    if len(steps) > 1 and any(step.name == "info" for step in steps):
        message = "info must be the only action on an image."
        raise OssError("InvalidArgument", message)
    return steps


def step_twice(name: str, key: str) -> OssError:
    """Return the error for a parameter *key* of the action *name* that is repeated."""
    return OssError("InvalidArgument", f"{name} has {key or 'its value'} twice.")


def read_step(text: str) -> Step:
    """Return one action, such as "resize,w_200".  Raises OssError."""
    name, *values = text.split(",")
    if name in OTHER_ACTIONS:
        raise not_imitated(f"image/{name}")
    if name not in PARAMETERS:
        message = f"There is no action {name[:40]} on images."
        raise OssError("InvalidArgument", message, ec="0040-00000213")
    known = PARAMETERS[name]
    parameters: dict[str, str] = {}
    for value in values:
        key, mark, rest = value.partition("_")
        if "" in known:  # rotate,90
            key, rest = "", value
        elif not mark:
            raise OssError("InvalidArgument", f"{value[:40]} of {name} has no value.")
        if key not in known:
            raise not_imitated(f"{key[:40]} of image/{name}")
        if key in parameters:
            raise OssError(
                "InvalidArgument", f"{name} has {key or 'two values'} twice."
            )
        parameters[key] = rest
    return Step(name, parameters)
