"""`ProgressObserver`: a bar for each part under way.

Knows: rich, if it is installed. Must not know: what the parts are for.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import attrs

from mpflow.errors import excerpt
from mpflow.info import PartInfo
from mpflow.reports import (
    FlowFinished,
    FlowStarted,
    PartCancelled,
    PartFailed,
    PartFinished,
    PartProgress,
    PartReport,
    PartStarted,
    Report,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = ["ProgressObserver", "new_progress"]


def new_progress(console: Console | None = None, *, redirect_stdout: bool = True) -> Progress:
    """Bars that tell sizes, rates and times, and go when they are done. `ImportError` without rich.

    What is printed meanwhile goes above them. Where `console` is no terminal, nothing is drawn.
    """
    try:
        from rich import get_console, progress
    except ImportError as error:
        raise ImportError("expected rich for bars: install multipart-flow[cli]") from error
    console = console or get_console()
    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.DownloadColumn(binary_units=True),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=redirect_stdout,
        redirect_stderr=True,
        disable=not console.is_terminal,
    )


@attrs.define(eq=False)
class ProgressObserver:
    """Draws a bar for each part whose handler is at work, as long as any flow runs.

    The bar knows its end where the part has a Content-Length. `console` is where rich draws
    (default: stdout); nothing is drawn where that is no terminal. One observer may serve several
    routers; a console has room for one that draws at a time. Raises `ImportError` without rich
    (extra `cli`).
    """

    console: Console | None = None
    _bars: Progress = attrs.field(init=False)
    _tasks: dict[tuple[int, int], TaskID] = attrs.field(
        factory=dict[tuple[int, int], "TaskID"], init=False
    )
    # Parts whose handlers have answered: the rest of such a part is drained without a bar.
    _ended: set[tuple[int, int]] = attrs.field(factory=set[tuple[int, int]], init=False)
    _flows: set[int] = attrs.field(factory=set[int], init=False)

    def __attrs_post_init__(self) -> None:
        self._bars = new_progress(self.console)

    def __call__(self, report: Report) -> None:
        """Take a report."""
        match report:
            case FlowStarted():
                if not self._flows:
                    self._bars.start()
                self._flows.add(report.flow.number)
            case FlowFinished():
                self._end_flow(report.flow.number)
            case PartStarted():
                self._task(report)
            case PartProgress():
                if (report.flow.number, report.part.index) not in self._ended:
                    self._bars.update(self._task(report), completed=report.size)
            case PartFinished() | PartFailed() | PartCancelled():
                key = report.flow.number, report.part.index
                self._ended.add(key)
                self._end_part(key)
            case _:
                pass

    def _task(self, report: PartReport) -> TaskID:
        key = report.flow.number, report.part.index
        if key not in self._tasks:
            label = f"{'  ' * report.part.depth}{_label(report.part)}"
            self._tasks[key] = self._bars.add_task(label, total=_length(report.part))
        return self._tasks[key]

    def _end_part(self, key: tuple[int, int]) -> None:
        task = self._tasks.pop(key, None)
        if task is not None:
            self._bars.remove_task(task)

    def _end_flow(self, number: int) -> None:
        for key in [key for key in self._tasks if key[0] == number]:
            self._end_part(key)
        self._ended = {key for key in self._ended if key[0] != number}
        self._flows.discard(number)
        if not self._flows:
            self._bars.stop()


def _label(info: PartInfo) -> str:
    """The part in few words. A client's name may hold what moves a terminal's cursor."""
    said = info.filename or info.name
    return f"part {info.index}" if said is None else excerpt(said, limit=30)


def _length(info: PartInfo) -> int | None:
    said = info.headers.get("Content-Length", "")
    with contextlib.suppress(ValueError):
        return int(said) if said.isascii() and said.isdigit() and len(said) < 19 else None
    return None
