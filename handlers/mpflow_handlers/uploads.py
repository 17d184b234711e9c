"""One object on its way to a store: sent where nobody sees it, then completed, or gone.

Knows: obstore, and threads.
Must not know: parts, event loops. All of it blocks, and runs in worker threads.

`obstore.put` completes a multipart upload when its iterator ends and aborts it when that raises;
what obstore calls a writer leaves an upload that is dropped on the server. So an object of more
than one part is sent by a `put` in a thread of its own, whose iterator is held until the commit.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

import attrs

from mpflow import RouteError, ServiceFailed
from mpflow.errors import excerpt
from mpflow_handlers.digest import Hash, update
from mpflow_handlers.tails import Tail

if TYPE_CHECKING:
    from obstore import Attributes, PutResult
    from obstore.store import ObjectStore as Store

__all__ = ["Upload", "open_store"]

_IN_FLIGHT: Final = 1
"""Parts of one object that are sent at once. With more of them `put` would not look at the outcome
of each before it takes the next piece, and a part that failed would show at the commit only."""


def open_store(store: Store | str) -> Store:
    """The store that a URL names, or the one that is given. `RouteError` where obstore has none."""
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise RouteError(
            "expected obstore for an ObjectStore: install multipart-flow[objectstore]"
        ) from error
    if not isinstance(store, str):
        if not hasattr(store, "put"):
            raise RouteError(f"expected a store of obstore or its URL, got {store!r:.60}")
        return store
    try:
        return from_url(store)
    except Exception as error:
        raise RouteError(
            f"expected the URL of a store, got {excerpt(store)}: {_said(error)}"
        ) from error


_THREAD: Final = "mpflow-upload"
"""What the threads are called that uploads have beside the caller's."""


class _Aborted(Exception):
    """Ends a `put` that must not complete."""


@attrs.define(eq=False)
class Upload:
    """An object that is being sent to `store`, to be called `key` there.

    Call `open`, `write` as often as needed, `finish`, `complete`, each once the one before has
    returned or was given up; and after any failure, at any time, `abandon`, which does not block,
    and then `abort`. With `create` a key that is taken raises `FileExistsError`; `own` says that
    nobody else can have the key. What the store says otherwise is `ServiceFailed`.
    """

    store: Store
    key: str
    part_size: int
    attributes: Mapping[str, str] | None
    create: bool
    own: bool
    hashes: Mapping[str, Hash]
    promised: bool = attrs.field(default=False, init=False)
    """Whether another part of this process is to have the key."""
    size: int = attrs.field(default=0, init=False)
    result: PutResult | None = attrs.field(default=None, init=False)
    """What the store said of the object, once it is complete."""
    _at_work: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _moved: threading.Condition = attrs.field(factory=threading.Condition, init=False)
    _gathered: list[bytes] = attrs.field(factory=list[bytes], init=False)
    _gathered_size: int = attrs.field(default=0, init=False)
    _tail: Tail | None = attrs.field(default=None, init=False)
    _reserved: bool = attrs.field(default=False, init=False)
    _completing: bool = attrs.field(default=False, init=False)
    # What follows is guarded by `_moved`.
    _thread: threading.Thread | None = attrs.field(default=None, init=False)
    _handed: list[bytes] | None = attrs.field(default=None, init=False)
    _whole: bool = attrs.field(default=False, init=False)
    _aborted: bool = attrs.field(default=False, init=False)
    _over: bool = attrs.field(default=False, init=False)
    _had_failed: bool = attrs.field(default=False, init=False)
    _error: BaseException | None = attrs.field(default=None, init=False)

    # -- the way to a complete object ---------------------------------------------------------

    def open(self) -> None:
        """Refuse a key that is taken, or that another part of this process is on its way to."""
        with self._at_work:
            self._check_not_aborted()
            if self.create and not self.own:
                with _reserving:
                    if self.promised or (id(self.store), self.key) in _reservations:
                        raise self._taken()
                    _reservations.add((id(self.store), self.key))
                    self._reserved = True
                self._check_free()

    def write(self, pieces: Sequence[bytes]) -> None:
        """Hash the pieces and send them; at most a part of them is kept until more come."""
        with self._at_work:
            self._write(pieces)

    def finish(self, pieces: Sequence[bytes], hold: bool) -> None:
        """Write the last pieces. All but the end of the object is at the store then.

        Without `hold` no descriptor stays open.
        """
        with self._at_work:
            self._write(pieces)
            if self._thread is not None:
                self._hand([b""])  # it is taken once the part before it has been sent
                with self._moved:
                    self._wait_until_taken()
            self._tail = Tail.of(self._gathered, hold)
            self._gathered, self._gathered_size = [], 0

    def complete(self) -> None:
        """Send the end, and have the store show the object."""
        with self._at_work:
            self._check_not_aborted()
            tail = self._tail
            assert tail is not None
            self._completing = True
            if self._thread is None:
                self._put_whole(tail.read())
            else:
                if self.create and not self.own:
                    self._check_free()  # no store compares and completes in one step
                with self._moved:
                    self._whole = True
                    self._moved.notify_all()
                    self._moved.wait_for(lambda: self._over)
                if self._error is not None:
                    raise self._failed(self._error) from self._error
            self._release()

    def abandon(self) -> None:
        """Have it end without an object. It returns at once; `abort` waits for the end."""
        with self._moved:
            if not self._aborted:
                self._aborted = True
                self._had_failed = self._over
                self._moved.notify_all()

    def abort(self) -> None:
        """Leave nothing of an object that is not complete; `ServiceFailed` where that fails."""
        self.abandon()
        with self._moved:
            if self._thread is not None:
                self._moved.wait_for(lambda: self._over)
        with self._at_work:
            if self.own and self._completing and self.result is None:
                # A store may have completed it and failed to say so. Nobody else has this key.
                self._delete()
            self._release()
            error = self._error
            if error is not None and not self._had_failed and not isinstance(error, _Aborted):
                raise self._failed(error) from error

    def abort_later(self) -> None:
        """`abort` for who cannot wait, in a thread that nobody waits for."""

        def abort() -> None:
            with suppress(Exception):  # there is nobody left to tell
                self.abort()

        threading.Thread(target=abort, daemon=True, name=_THREAD).start()

    # -- steps --------------------------------------------------------------------------------

    def _write(self, pieces: Sequence[bytes]) -> None:
        self._check_not_aborted()
        update(self.hashes, pieces)
        for piece in pieces:
            self.size += len(piece)
            while len(piece) + self._gathered_size >= self.part_size:
                room = self.part_size - self._gathered_size
                self._gathered.append(piece[:room])
                self._hand(self._gathered)
                self._gathered, self._gathered_size = [], 0
                piece = piece[room:]
            if piece:
                self._gathered.append(piece)
                self._gathered_size += len(piece)

    def _hand(self, pieces: list[bytes]) -> None:
        """Give the thread a part, once it has taken the one before."""
        with self._moved:
            self._check_not_aborted()
            if self._thread is None:
                # A daemon: an interpreter that ends does not wait for a commit that never comes.
                self._thread = threading.Thread(target=self._run, daemon=True, name=_THREAD)
                self._thread.start()
            self._wait_until_taken()
            self._handed = pieces
            self._moved.notify_all()

    def _wait_until_taken(self) -> None:
        self._moved.wait_for(lambda: self._handed is None or self._aborted or self._over)
        if self._error is not None:
            raise self._failed(self._error) from self._error
        if self._aborted:
            raise _Aborted

    def _run(self) -> None:
        try:
            self.result = self._put(self._pieces(), multipart=True)
        except BaseException as error:  # told by `complete`, or by the next `write`
            self._error = error
        with self._moved:
            self._over = True
            self._moved.notify_all()

    def _pieces(self) -> Iterator[bytes]:
        while (part := self._next_part()) is not None:
            part.reverse()
            while part:
                yield part.pop()  # what was taken is not kept
            with self._moved:
                self._handed = None
                self._moved.notify_all()
        assert self._tail is not None
        if tail := self._tail.read():
            yield tail

    def _next_part(self) -> list[bytes] | None:
        with self._moved:
            self._moved.wait_for(lambda: self._handed is not None or self._whole or self._aborted)
            if self._aborted:
                raise _Aborted
            return self._handed

    def _put_whole(self, data: bytes) -> None:
        try:
            self.result = self._put(data, multipart=False)
        except BaseException as error:  # obstore's panics are no Exceptions
            raise self._failed(error) from error

    def _put(self, data: bytes | Iterator[bytes], *, multipart: bool) -> PutResult:
        import obstore

        return obstore.put(
            self.store,
            self.key,
            data,
            attributes=cast("Attributes | None", self.attributes and dict(self.attributes)),
            mode="create" if self.create and not multipart else None,
            use_multipart=multipart,
            chunk_size=self.part_size,
            max_concurrency=_IN_FLIGHT,
        )

    def _check_free(self) -> None:
        import obstore

        try:
            obstore.head(self.store, self.key)
        except FileNotFoundError:
            return
        except BaseException as error:
            raise self._failed(error) from error
        raise self._taken()

    def _delete(self) -> None:
        import obstore

        # It was never there, or the failure told of the store already; also where obstore panics.
        with suppress(BaseException):
            obstore.delete(self.store, self.key)

    def _check_not_aborted(self) -> None:
        if self._aborted:
            raise _Aborted

    def _taken(self) -> FileExistsError:
        return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.key)

    def _failed(self, error: BaseException) -> BaseException:
        from obstore.exceptions import AlreadyExistsError

        if isinstance(error, AlreadyExistsError):
            return self._taken()
        if isinstance(error, KeyboardInterrupt | SystemExit):
            return error
        # A panic of obstore's, of pyo3's PanicException, is neither those nor an Exception. It must
        # not end an event loop: it is a failure of this part like others.
        return ServiceFailed(
            f"expected the store to take {excerpt(self.key)}, got {type(error).__name__}: "
            f"{_said(error)}"
        )

    def _release(self) -> None:
        self._gathered, self._gathered_size = [], 0
        if self._tail is not None:
            self._tail.close()
        if self._reserved:
            self._reserved = False
            with _reserving:
                _reservations.discard((id(self.store), self.key))


_reserving: Final = threading.Lock()
_reservations: Final[set[tuple[int, str]]] = set()
"""Keys that parts of this process are on their way to, each with the identity of its store."""


def _said(error: BaseException) -> str:
    """What a store says, without the pages of debugging that obstore adds."""
    return excerpt(str(error).partition("\n")[0], limit=300)
