"""Dispatch thousands of stored messages with Dask: a task a file, restartable, failures collected.

    python batch_mails.py STORE [--prefix mails/] [--results results/] [--workers 4]
                          [--scheduler tcp://host:8786]

STORE is a folder (`file:///var/mails`) or a bucket (`s3://archive`). It holds mails (`.eml`), saved
pages (`.mhtml`), and archived bodies: with a header block, or as objects with the attribute
`Content-Type`. Each is dispatched in a task of its own, on whichever machine has a worker: its
attachments are stored as objects, under `<results>/<key>/`, and what was found becomes
`<results>/<key>.json`, which is written last. That file says that the message is done: who runs the
program again does only what has none. Failures are told at the end, each with its key; the other
messages are done all the same. `--retry-failed` does the failed ones again.

mpflow has no engine: which task runs where, retries and lost workers are Dask's.

Knows: what is made of one message, and when that is done. Must not know: how tasks are run, how a
mail is read.

It needs multipart-flow[objectstore] and `distributed`, on the workers, too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import anyio
import attrs
import obstore
from anyio import to_thread
from obstore.store import from_url

from mpflow import Limits, MultipartReader, NotMultipart, Part, PartInfo, Router
from mpflow_handlers import Digest, Nested, ObjectStore, Tee

LIMITS = Limits(max_parts=10_000, max_depth=16, max_part_bytes="2 GiB", max_total_bytes="8 GiB")


@attrs.frozen
class Outcome:
    """What became of one message: its parts, or why there are none."""

    key: str
    parts: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    error: str | None = None


def result_key(results: str, key: str) -> str:
    """Where the outcome of a message stands."""
    return f"{results}{key}.json"


# -- one message: runs in a task --------------------------------------------------------------


def router_for(store: Any, place: str) -> Router:
    """Attachments are stored and hashed; of texts the first line is kept."""
    router = Router(limits=LIMITS)

    def attachment(info: PartInfo) -> str:
        return f"{place}{'.'.join(map(str, info.path))}-{info.safe_filename}"

    async def first_line(part: Part) -> str:
        return (await part.readline()).decode("utf-8", "replace").strip()

    objects = ObjectStore(store, key=attachment, exists="overwrite")  # of a try that was killed
    router.add(Nested(router), content_type="multipart/*")
    router.add(Tee(objects, Digest("sha256")), filename="?*", key="attachments")
    router.add(first_line, content_type="text/*")
    router.add(Digest("sha256"))
    return router


def told(handled: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Each leaf as JSON."""
    for one in handled:
        if one.part.is_multipart:
            yield from told(one.value)
            continue
        what = {"path": list(one.part.path), "type": one.part.content_type, "size": one.part.size}
        if one.part.filename is None:
            yield what | {"text": str(one.value)}
        else:
            stored, digests = one.value
            yield what | {"stored": stored.key, **digests}


async def open_message(found: Any) -> MultipartReader:
    """A reader of what is stored: a body by its attribute, or a message with its headers."""
    chunks = (bytes(chunk) async for chunk in found.stream())
    kind = found.attributes.get("Content-Type", "")
    if kind.startswith("multipart/"):
        return MultipartReader(chunks, kind, limits=LIMITS)
    return await MultipartReader.from_mail(chunks, limits=LIMITS, tolerate={"bare-lf"})


async def dispatch_one(store: Any, key: str, results: str) -> Outcome:
    """Read one message and keep what is in it; all of it, or nothing."""
    try:
        found = await obstore.get_async(store, key)
        reader = await open_message(found)
        handled = await router_for(store, f"{results}{key}/").dispatch(reader)
        return Outcome(key, list(told(handled)))
    except NotMultipart:
        return Outcome(key)  # a mail of one text, say: nothing is attached to it
    except Exception as error:  # of this message alone: the next one is not concerned
        return Outcome(key, error=f"{type(error).__name__}: {error}")


async def _task(url: str, key: str, results: str) -> Outcome:
    store = from_url(url)
    outcome = await dispatch_one(store, key, results)
    data = json.dumps(attrs.asdict(outcome), indent=2).encode()
    await to_thread.run_sync(obstore.put, store, result_key(results, key), data)
    return outcome


def task(url: str, key: str, results: str) -> Outcome:
    """One task. Whoever is killed before its end has left no outcome, and it is done again."""
    return anyio.run(_task, url, key, results)


# -- all of them ------------------------------------------------------------------------------


def open_keys(store: Any, prefix: str, results: str, *, retry_failed: bool = False) -> list[str]:
    """The messages that have no outcome yet; with `retry_failed` those that failed, too."""
    done: set[str] = set()
    for page in obstore.list(store, prefix=results):
        done.update(found["path"] for found in page if found["path"].endswith(".json"))
    keys: list[str] = []
    for page in obstore.list(store, prefix=prefix):
        for found in page:
            key: str = found["path"]
            outcome = result_key(results, key)
            if key.startswith(results):
                continue
            if outcome not in done or (retry_failed and _failed(store, outcome)):
                keys.append(key)
    return sorted(keys)


def _failed(store: Any, outcome: str) -> bool:
    return json.loads(bytes(obstore.get(store, outcome).bytes()))["error"] is not None


def run(
    client: Any,
    url: str,
    keys: Iterable[str],
    results: str,
    *,
    at_once: int = 1000,
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Have a Dask client do all of them, at most `at_once` in its queue; the failures."""
    from distributed import as_completed

    waiting = iter(keys)
    names: dict[str, str] = {}

    def submit(count: int) -> list[Any]:
        futures: list[Any] = []
        for _, key in zip(range(count), waiting, strict=False):
            # Not pure: what a message becomes is in the store, not in what the task gives back.
            futures.append(client.submit(task, url, key, results, pure=False, retries=2))
            names[futures[-1].key] = key
        return futures

    failures: list[Outcome] = []
    running = as_completed(submit(at_once))
    for future in running:
        key = names.pop(future.key)
        error = future.exception()  # the store failed, or workers died of it again and again
        if error is None:
            outcome: Outcome = future.result()
        else:
            outcome = Outcome(key, error=f"{type(error).__name__}: {error}")
        tell(outcome)
        if outcome.error is not None:
            failures.append(outcome)
        for more in submit(1):
            running.add(more)
    return sorted(failures, key=lambda outcome: outcome.key)


def show(outcome: Outcome) -> None:
    """A line for each message as it is done."""
    print(outcome.key, "failed" if outcome.error else f"{len(outcome.parts)} parts", flush=True)


def main() -> int:
    """Do what is left to do; the exit code is 1 where messages failed."""
    from distributed import Client, LocalCluster

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("store", help="file:///folder, s3://bucket")
    parser.add_argument("--prefix", default="", help="with what the keys of messages begin")
    parser.add_argument("--results", default="results/")
    parser.add_argument("--workers", type=int, help="processes on this machine")
    parser.add_argument("--scheduler", help="a cluster that runs already, in place of them")
    parser.add_argument("--retry-failed", action="store_true")
    options = parser.parse_args()
    store = from_url(options.store)
    keys = open_keys(store, options.prefix, options.results, retry_failed=options.retry_failed)
    failures: list[Outcome] = []
    if keys:
        where = options.scheduler or LocalCluster(
            n_workers=options.workers, threads_per_worker=1, dashboard_address=None
        )
        with Client(where) as client:
            failures = run(client, options.store, keys, options.results, tell=show)
    print(f"{len(keys)} messages, {len(failures)} failed")
    for outcome in failures:
        print(f"{outcome.key}: {outcome.error}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
