"""Where the files of an upload go: a folder, or a bucket of an object store.

Knows: which handler stores a file there, and what its result says. Must not know: HTTP.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

from mpflow import Part, PartInfo, load_handler
from mpflow.errors import excerpt

__all__ = ["Bucket", "Folder", "Sink", "Store", "is_url", "open_sink", "tell_file"]

Store = Callable[[Part], AbstractAsyncContextManager[Any]]
"""A handler that stores a part."""

# RFC 3986, 3.1. A drive of Windows has one letter, and no slashes behind its colon.
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class _Kept(Protocol):
    """What the handlers give, as far as both do."""

    @property
    def size(self) -> int: ...

    @property
    def digests(self) -> Mapping[str, str]: ...


class Sink(Protocol):
    """Where files go."""

    @property
    def store(self) -> Store:
        """The handler that stores a file."""
        ...

    def name_of(self, kept: Any) -> str:
        """What the file is called there, by the handler's result."""
        ...


class Folder:
    """A folder, which must exist. A name that is taken becomes `name-1.ext`."""

    def __init__(self, path: Path) -> None:
        # The digest is taken by the thread that writes, while the bytes are in its cache.
        self.store: Final[Store] = load_handler("save")(
            path, name=_safe_name, exists="suffix", digests=("sha256",)
        )

    def name_of(self, kept: Any) -> str:
        return str(kept.name)


class Bucket:
    """A store of obstore. Each file gets a random folder, so that no name is ever taken.

    No store looks whether a name is free and completes a large object in one step, and of several
    processes none knows of the others.
    """

    def __init__(self, store: Any) -> None:
        # "overwrite": nobody else can have the key, and to put it once more after an answer that
        # was lost is no error then.
        self.store: Final[Store] = load_handler("objectstore")(
            store, key=_new_key, exists="overwrite", digests=("sha256",)
        )

    def name_of(self, kept: Any) -> str:
        return str(kept.key)


def tell_file(sink: Sink, kept: _Kept) -> dict[str, Any]:
    """What is told of a stored file, for JSON."""
    return {
        "saved_as": sink.name_of(kept),
        "size": kept.size,
        "sha256": kept.digests["sha256"],
    }


def is_url(where: str) -> bool:
    """Whether it names a store rather than a folder."""
    return _URL.match(where) is not None


def open_sink(where: str, endpoint: str | None = None) -> Sink:
    """The store of a URL, or the folder at a path, made if it is missing.

    Raises `OSError` for a folder that cannot be written into, and what `_open_bucket` does.
    """
    if is_url(where):
        return _open_bucket(where, endpoint)
    path = Path(where)
    path.mkdir(parents=True, exist_ok=True)
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(13, os.strerror(13), str(path))
    return Folder(path)


def _open_bucket(url: str, endpoint: str | None) -> Bucket:
    """The store, its credentials from the environment, as obstore reads them.

    Raises `ImportError` without obstore, `ValueError` where it knows no such store. Whether the
    store can be reached shows with the first upload.
    """
    from_url = import_module("obstore.store").from_url
    options: dict[str, Any] = {}
    if endpoint is not None:
        options["endpoint"] = endpoint
        if endpoint.lower().startswith("http://"):
            options["client_options"] = {"allow_http": True}
    try:
        return Bucket(from_url(url, **options))
    except Exception as error:  # obstore's own, one class a reason
        said = excerpt(str(error).partition("\n")[0], limit=200)
        raise ValueError(f"expected the URL of a store, got {excerpt(url)}: {said}") from error


def _safe_name(info: PartInfo) -> str:
    return info.safe_filename


def _new_key(info: PartInfo) -> str:
    return f"{secrets.token_hex(16)}/{info.safe_filename}"
