"""The files of the page at ``/``, held in memory: a fixed set, so no request reaches the file system."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

FOLDER = Path(__file__).parent
PREFIX = "/page/"
"""Where the files other than the page itself are served."""

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, ready to be sent."""

    content: bytes
    media_type: str
    etag: str


@cache
def assets() -> Mapping[str, Asset]:
    """Return the files by URL path; the page itself is ``/``. Read once."""
    found = {}
    for file in sorted(FOLDER.iterdir()):
        media_type = MEDIA_TYPES.get(file.suffix)
        if media_type is not None:
            content = file.read_bytes()
            path = "/" if file.name == "index.html" else PREFIX + file.name
            found[path] = Asset(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:20]}"')
    return MappingProxyType(found)
