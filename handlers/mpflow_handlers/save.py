"""`Save`: a part as a file in a directory, all of it or nothing.

Knows: what a file may be called, and when it is staged, published and discarded.
Must not know: how a file system does that (`staging.py`).
"""

from __future__ import annotations

import os
import secrets
import unicodedata
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from inspect import Signature
from pathlib import Path
from typing import Any, Concatenate, Literal, TypeAlias, get_args

import attrs
from anyio import to_thread
from anyio.abc import ByteReceiveStream

from mpflow import Part, PartInfo, RouteError, accepted_needs, signature_over
from mpflow_handlers.batches import gather
from mpflow_handlers.claims import claimed
from mpflow_handlers.cleanup import clean_up
from mpflow_handlers.digest import algorithm_names, hexdigests, new_hashes
from mpflow_handlers.staging import NAME_BYTES, TEMPORARY_PREFIX, Staged

__all__ = ["Exists", "Save", "Saved"]

_Namer: TypeAlias = Callable[[PartInfo], str] | Callable[Concatenate[PartInfo, ...], str]
"""Two of them: of the second alone type checkers can infer no lambda."""

Exists: TypeAlias = Literal["error", "suffix"]
"""What a name does that is taken: raise `FileExistsError`, or become `name-1.ext`."""


@attrs.define(repr=False)
class Saved:
    """A file that was saved: its `path`, its `size` in bytes, and the `digests` asked for.

    `digests` maps each algorithm to lower-case hexadecimal.
    """

    _path: Path | None = attrs.field(alias="path")
    size: int = attrs.field(on_setattr=attrs.setters.frozen)
    digests: Mapping[str, str] = attrs.field(
        factory=dict[str, str], on_setattr=attrs.setters.frozen
    )
    _is_committed: bool = attrs.field(default=True, alias="is_committed", kw_only=True)

    @property
    def path(self) -> Path:
        """Where the file is. Raises `RouteError` before the commit: nothing is there yet."""
        if self._path is None or not self._is_committed:
            raise RouteError("expected a committed file: its path is known after the commit")
        return self._path

    @property
    def name(self) -> str:
        """The file's name in its directory.

        It can be written down before the commit, unless `exists="suffix"` finds it only then:
        that raises `RouteError`.
        """
        if self._path is None:
            raise RouteError("expected a committed file: exists='suffix' finds its name then")
        return self._path.name

    def __repr__(self) -> str:
        where = "no name yet" if self._path is None else ascii(str(self._path))
        state = "" if self._is_committed else ", not committed"
        return f"<Saved {where}, {self.size} bytes{state}>"

    def _commit(self, path: Path) -> None:
        self._path = path
        self._is_committed = True


def check_name(name: object) -> str:
    """The name if it can be a file's in one directory; else `RouteError`."""
    if not isinstance(name, str):
        raise RouteError(f"expected a file's name as a str, got {name!r:.60}")
    try:
        size = len(os.fsencode(name))
    except UnicodeError:
        raise RouteError(f"expected a file's name that can be encoded, got {name[:40]!a}") from None
    if name in ("", ".", "..") or any(char in name for char in "/\\\0"):
        raise RouteError(f"expected a file's name without a directory, got {name[:40]!a}")
    if any(unicodedata.category(char) == "Cc" for char in name):
        raise RouteError(f"expected a file's name without control characters, got {name[:40]!a}")
    if size > NAME_BYTES:
        raise RouteError(
            f"expected a file's name of at most {NAME_BYTES} bytes, got {size}: {name[:40]!a}..."
        )
    if name.startswith(TEMPORARY_PREFIX):
        raise RouteError(f"expected no name of a temporary file, got {name[:40]!a}")
    return name


def _name_or_maker(save: Any, field: Any, name: object) -> None:
    if name is not None and not callable(name):
        check_name(name)


def _exists(save: Any, field: Any, exists: object) -> None:
    if exists not in get_args(Exists):
        raise RouteError(f"expected exists='error' or 'suffix', got {exists!r:.60}")


def _directory(path: str | os.PathLike[str]) -> Path:
    return Path(path)


@attrs.frozen
class Save:
    """Saves the part as a file in `directory`, which must exist; gives `Saved`.

    `name` is the file's name, or a callable that makes one of the `PartInfo` and, by the names of
    its other parameters, of what the route `needs`; by default it is random. A client's filename
    is never taken by itself: `name=lambda info: info.safe_filename`
    takes it, made harmless. A name with a separator, a control character, `..` and the like raise
    `RouteError` before anything is created. With `exists="error"` (the default) a name that is
    taken, or that another part of this process is being saved under, raises `FileExistsError`
    before the body is read (of parts that come at once the first in the message gets it); one that
    another process took since then, at commit. With `"suffix"` the file becomes `name-1.ext`,
    `name-2.ext`, ..., up to 9999: the first that is free, or where there are gaps any of them.
    Nothing is ever overwritten.
    `digests` are names of `hashlib` algorithms, taken of the bytes while they are written.

    The bytes are stored without their transfer encoding and with their content coding, unless the
    route's `decode` says otherwise (`UnsupportedCoding` where that cannot be done), mode 0600, in
    batches of 0.5 MiB, in worker threads. Until the commit the file has no name, or a random one
    that begins with `.mpflow-`; it is synced, then linked into place, then the directory is
    synced. A failure, a cancellation or a rollback before that leaves nothing; a commit that has
    begun is finished. What the system refuses (a full disk, a missing directory) is its `OSError`.

    It needs POSIX, and a file system with hard links.
    """

    directory: Path = attrs.field(converter=_directory)
    name: str | _Namer | None = attrs.field(default=None, validator=_name_or_maker)
    exists: Exists = attrs.field(default="error", validator=_exists)
    digests: tuple[str, ...] = attrs.field(default=(), converter=algorithm_names, kw_only=True)

    @property
    def call_signature(self) -> Signature:
        """What it is called with, for the check when it is registered."""
        return signature_over(self.name) if callable(self.name) else signature_over()

    @asynccontextmanager
    async def __call__(self, part: Part, /, **needs: Any) -> AsyncGenerator[Saved, None]:
        stream = part.stored()
        staged = Staged(
            self.directory,
            self._name_of(part.info, needs),
            suffix=self.exists == "suffix",
            hashes=new_hashes(self.digests),
        )
        async with claimed(self._claim(staged), part.place) as owns:
            staged.promised = not owns
            async with _saved(staged, stream, part) as saved:
                yield saved

    def _claim(self, staged: Staged) -> tuple[str, str] | None:
        """What parts that are to be saved under this name have in common; None if there is none."""
        if self.name is None or staged.suffix:
            return None
        return os.path.abspath(staged.directory), staged.name

    def _name_of(self, info: PartInfo, needs: Mapping[str, Any]) -> str:
        if self.name is None:
            return secrets.token_hex(16)
        if not callable(self.name):
            return check_name(self.name)
        return check_name(self.name(info, **accepted_needs(self.name, needs)))


@asynccontextmanager
async def _saved(
    staged: Staged, stream: ByteReceiveStream, part: Part
) -> AsyncGenerator[Saved, None]:
    """Receive the part into the file, and publish it or discard it."""
    saved: Saved | None = None
    try:
        await to_thread.run_sync(staged.open)
        pieces, ended = await gather(stream)
        while not ended:
            await to_thread.run_sync(staged.write, pieces)
            pieces, ended = await gather(stream)
        await to_thread.run_sync(staged.finish, pieces, part.hold_descriptor())
        path = None if staged.suffix else staged.directory / staged.name
        saved = Saved(path, staged.size, hexdigests(staged.hashes), is_committed=False)
        yield saved
        await to_thread.run_sync(staged.publish)
    except BaseException as error:
        await _discard(staged, error)
        raise
    finally:
        # Also where a cancellation came while the commit was under way.
        if saved is not None and staged.published is not None:
            path = staged.directory / staged.published
            saved._commit(path)  # pyright: ignore[reportPrivateUsage] # ours alone


async def _discard(staged: Staged, reason: BaseException) -> None:
    """Remove the file. What fails here is a note on the reason, which it must not hide."""

    def discard() -> None:
        try:
            staged.discard()
        except OSError as error:
            reason.add_note(f"a temporary file may be left in {staged.directory}: {error}")

    await clean_up(discard)
