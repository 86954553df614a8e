"""Turn a form of the token server into options for curl.

    curl "http://127.0.0.1:7080/form?filename=photo.jpg&content_type=image/jpeg" |
        python localcloud/clients/curl_form.py photo.jpg | curl -K -

curl reads options from a file as it reads those of a command (man curl, --config).
"""

from __future__ import annotations

import json
import sys


def main() -> int:
    """Print the options; return the exit status."""
    if len(sys.argv) != 2:
        print("usage: curl_form.py FILE < FORM", file=sys.stderr)
        return 2
    form = json.load(sys.stdin)
    if "fields" not in form:
        print(f"{form['ErrorCode']}: {form['ErrorMessage']}", file=sys.stderr)
        return 1
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    print("url =", quoted(form["url"]))
    for name, value in form["fields"].items():
        print("form-string =", quoted(f"{name}={value}"))
    # The file comes last: OSS ignores what comes after it.
    print("form =", quoted(f"file=@{quoted(sys.argv[1])}"))
    return 0


def quoted(text: str) -> str:
    """Return *text* in quotes as curl reads them."""
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


if __name__ == "__main__":
    raise SystemExit(main())
