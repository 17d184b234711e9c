"""`ObjectStore`: a part as an object in S3, GCS, Azure, a folder or memory; all or nothing.

Knows: what an object may be called, and when it is sent, completed and aborted.
Must not know: how a store does that (`uploads.py`).
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from inspect import Signature
from typing import TYPE_CHECKING, Any, Concatenate, Final, Literal, TypeAlias, cast, get_args

import anyio
import attrs
from anyio import to_thread
from anyio.abc import ByteReceiveStream

from mpflow import Limits, Part, PartInfo, RouteError, accepted_needs, signature_over
from mpflow.errors import excerpt
from mpflow_handlers.batches import gather
from mpflow_handlers.claims import claimed
from mpflow_handlers.digest import algorithm_names, hexdigests, new_hashes
from mpflow_handlers.uploads import Upload, open_store

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Store

__all__ = ["ObjectStore", "Stored"]

_Exists: TypeAlias = Literal["error", "overwrite"]
_Attributes: TypeAlias = Mapping[str, str]

KEY_BYTES: Final = 1024
"""Bytes of a key at most, as S3 has it."""

# RFC 9110, 5.6.2: what attributes other than obstore's own become a part of.
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_MIN_PART: Final = 5 * 1024 * 1024  # S3: each part of an upload but the last
_CLEANUP: Final = 10.0
"""Seconds that a failing handler waits for its upload to be aborted; it may end later."""


@attrs.define(repr=False)
class Stored:
    """An object that was stored: its `key`, its `size` in bytes, and the `digests` asked for.

    The key is known before the commit. `digests` maps each algorithm to lower-case hexadecimal.
    """

    key: str = attrs.field(on_setattr=attrs.setters.frozen)
    size: int = attrs.field(on_setattr=attrs.setters.frozen)
    digests: Mapping[str, str] = attrs.field(
        factory=dict[str, str], on_setattr=attrs.setters.frozen
    )
    _etag: str | None = attrs.field(default=None, alias="etag", kw_only=True)
    _version: str | None = attrs.field(default=None, alias="version", kw_only=True)
    _is_committed: bool = attrs.field(default=True, alias="is_committed", kw_only=True)

    @property
    def etag(self) -> str | None:
        """The store's entity tag, None where it has none. Before the commit `RouteError`."""
        self._check_committed()
        return self._etag

    @property
    def version(self) -> str | None:
        """The store's version of the object, None where it has none. Before it `RouteError`."""
        self._check_committed()
        return self._version

    def __repr__(self) -> str:
        state = "" if self._is_committed else ", not committed"
        return f"<Stored {self.key!a:.60}, {self.size} bytes{state}>"

    def _check_committed(self) -> None:
        if not self._is_committed:
            raise RouteError("expected a committed object: the store names it at the commit")

    def _commit(self, etag: str | None, version: str | None) -> None:
        self._etag, self._version = etag, version
        self._is_committed = True


def check_key(key: object) -> str:
    """The key if each store can have an object under it; else `RouteError`."""
    if not isinstance(key, str):
        raise RouteError(f"expected an object's key as a str, got {key!r:.60}")
    try:
        size = len(key.encode())
    except UnicodeError:
        raise RouteError(f"expected a key that UTF-8 can hold, got {key[:40]!a}") from None
    if any(segment in ("", ".", "..") for segment in key.split("/")) or "\\" in key:
        raise RouteError(
            f"expected a key of segments with a slash between two, none of them empty, '.' or "
            f"'..', got {key[:40]!a}"
        )
    if any(unicodedata.category(char) == "Cc" for char in key):
        raise RouteError(f"expected a key without control characters, got {key[:40]!a}")
    if size > KEY_BYTES:
        raise RouteError(
            f"expected a key of at most {KEY_BYTES} bytes, got {size}: {key[:40]!a}..."
        )
    return key


def check_attributes(attributes: object) -> _Attributes:
    """The attributes if an HTTP header can hold each of them; else `RouteError`."""
    if not isinstance(attributes, Mapping):
        raise RouteError(f"expected attributes as a mapping, got {attributes!r:.60}")
    found = cast("Mapping[object, object]", attributes)
    for name, value in found.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise RouteError(f"expected an attribute's name as a token, got {name!a:.60}")
        if not isinstance(value, str):
            raise RouteError(f"expected the attribute {name[:40]} as a str, got {value!r:.60}")
        # RFC 9110, 5.5: a field value has no control characters but tabs, and encodes.
        if any(unicodedata.category(char) in ("Cc", "Cs") and char != "\t" for char in value):
            raise RouteError(
                f"expected the attribute {name[:40]} without control characters, got "
                f"{excerpt(value)}"
            )
    return cast("_Attributes", attributes)


def _attributes_or_maker(store: Any, field: Any, attributes: object) -> None:
    if attributes is not None and not callable(attributes):
        check_attributes(attributes)


def _key_or_maker(store: Any, field: Any, key: object) -> None:
    if key is not None and not callable(key):
        check_key(key)


def _exists(store: Any, field: Any, exists: object) -> None:
    if exists not in get_args(_Exists):
        raise RouteError(f"expected exists='error' or 'overwrite', got {exists!r:.60}")


def _part_size(size: int | str) -> int:
    try:
        found = Limits(max_part_bytes=size).max_part_bytes
    except (TypeError, ValueError) as error:
        raise RouteError(f"part_size of ObjectStore: {error}") from None
    if found is None or found < _MIN_PART:
        raise RouteError(f"expected a part_size of at least 5 MiB, as S3 has it, got {size!r:.60}")
    return found


@attrs.frozen
class ObjectStore:
    """Stores the part as an object in `store`; gives `Stored`. The extra `objectstore`.

    `store` is a store of obstore (S3, GCS, Azure, a folder, memory), or its URL: `s3://bucket`.
    `key` is the object's name there, or a callable that makes one of the `PartInfo` and, by the
    names of its other parameters, of what the route `needs`; by default it is random. A client's
    filename is never taken by itself. A key with an empty segment, `..`, a control character and
    the like raise `RouteError` before anything is sent. With `exists="error"` (the default) a key
    that is taken, or that another part of this process is being stored under by the same handler,
    raises `FileExistsError` before the body is read (of parts that come at once the first in the
    message gets it), and again at commit; for an object of more than one part somebody else may
    take it between that look and the completion. `"overwrite"` replaces what is there.
    `attributes` are obstore's, such as `{"Content-Type": "image/png"}`,
    or a callable that makes them as `key` does; by default there are none, not even the client's
    content type; a control character in one, as a client's filename may have, raises `RouteError`
    before anything is sent. `digests` are names of `hashlib` algorithms, taken while the bytes are
    sent.

    The bytes are stored without their transfer encoding and with their content coding, unless the
    route's `decode` says otherwise (`UnsupportedCoding` where that cannot be done). They are sent
    as they come, in worker threads, by a multipart upload in parts of `part_size` (at least
    5 MiB), one after the other; at most three parts are in memory. The end, less than a part, waits
    for the commit in a temporary file. An object of more than one part has a thread of its own
    until then. The upload is completed at commit, and aborted after a failure, a cancellation or a
    rollback; a commit that has begun is finished, or fails. What the store refuses is
    `ServiceFailed`, status 502. What cannot be aborted within 10 s is told in a note.
    """

    store: Store = attrs.field(converter=open_store, hash=False)
    key: str | Callable[Concatenate[PartInfo, ...], str] | None = attrs.field(
        default=None, validator=_key_or_maker
    )
    exists: _Exists = attrs.field(default="error", validator=_exists)
    attributes: _Attributes | Callable[Concatenate[PartInfo, ...], _Attributes] | None = (
        attrs.field(default=None, kw_only=True, hash=False, validator=_attributes_or_maker)
    )
    digests: tuple[str, ...] = attrs.field(default=(), converter=algorithm_names, kw_only=True)
    part_size: int = attrs.field(default=8 * 1024 * 1024, converter=_part_size, kw_only=True)

    @property
    def call_signature(self) -> Signature:
        """What it is called with, for the check when it is registered."""
        return signature_over(*(made for made in (self.key, self.attributes) if callable(made)))

    @asynccontextmanager
    async def __call__(self, part: Part, **needs: Any) -> AsyncGenerator[Stored, None]:
        stream = part.stored()
        upload = self._upload(part.info, needs)
        async with claimed(self._claim(upload), part.place) as owns:
            upload.promised = not owns
            async with _stored(upload, stream, part) as stored:
                yield stored

    def _claim(self, upload: Upload) -> tuple[int, str] | None:
        """What parts that are to be stored under this key have in common; None if there is none."""
        return (id(self.store), upload.key) if upload.create and not upload.own else None

    def _upload(self, info: PartInfo, needs: Mapping[str, Any]) -> Upload:
        key, attributes = self.key, self.attributes
        if callable(key):
            key = check_key(key(info, **accepted_needs(key, needs)))
        if callable(attributes):
            attributes = check_attributes(attributes(info, **accepted_needs(attributes, needs)))
        return Upload(
            self.store,
            key or secrets.token_hex(16),
            part_size=self.part_size,
            attributes=attributes,
            create=self.exists == "error",
            own=key is None,
            hashes=new_hashes(self.digests),
        )


@asynccontextmanager
async def _stored(
    upload: Upload, stream: ByteReceiveStream, part: Part
) -> AsyncGenerator[Stored, None]:
    """Send the part to the store, and complete it or abort it."""
    # A limiter of its own: one store that is slow takes no thread from anybody else.
    limiter = anyio.CapacityLimiter(1)
    run = partial(to_thread.run_sync, abandon_on_cancel=True, limiter=limiter)
    stored: Stored | None = None
    try:
        await run(upload.open)
        pieces, ended = await gather(stream)
        while not ended:
            await run(upload.write, pieces)
            pieces, ended = await gather(stream)
        await run(upload.finish, pieces, part.hold_descriptor())
        digests = hexdigests(upload.hashes)
        stored = Stored(upload.key, upload.size, digests, is_committed=False)
        yield stored
        # Not to be abandoned: its outcome is the commit's.
        await to_thread.run_sync(upload.complete, limiter=limiter)
    except BaseException as error:
        await _discard(upload, error)
        raise
    finally:
        # Also where a cancellation came while the commit was under way.
        if stored is not None and upload.result is not None:
            result = upload.result
            stored._commit(  # pyright: ignore[reportPrivateUsage] # ours alone
                result["e_tag"], result["version"]
            )


async def _discard(upload: Upload, reason: BaseException) -> None:
    """Abort the upload. What fails here is a note on the reason, which it must not hide."""
    if upload.result is not None:
        return
    upload.abandon()  # at once: also where there is no time, or no thread, to wait for its end
    begun = False

    def abort() -> None:
        nonlocal begun
        begun = True
        upload.abort()

    told = f"an unfinished upload of {upload.key!a:.60} may be left in its store"
    try:
        with anyio.move_on_after(_CLEANUP, shield=True) as scope:
            # A limiter of its own: a call that was abandoned may still have the other one.
            limiter = anyio.CapacityLimiter(1)
            await to_thread.run_sync(abort, abandon_on_cancel=True, limiter=limiter)
        if scope.cancelled_caught:
            reason.add_note(told)
    except Exception as error:
        reason.add_note(f"{told}: {error}")
    finally:
        if not begun:  # cancelled outside of anyio, or no thread to be had in time
            upload.abort_later()
