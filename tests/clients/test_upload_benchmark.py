"""E of the benchmarks, made small: curl to each service, which stores all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import upload
from tests.benchmarks.scenario import MIB

pytestmark = pytest.mark.clients


@pytest.mark.parametrize("peer", [peer.name for peer in upload.UPLOAD.peers])
def test_an_upload(peer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPFLOW_BENCHMARKS", str(tmp_path))
    monkeypatch.setitem(upload.SIZES, True, 8 * MIB)
    told = upload.UPLOAD.run(peer, True)
    assert told["bytes"] == 8 * MIB
    assert 0 < told["seconds"] < upload.PATIENCE
    assert told["cpu"] > 0
    assert told["peak"] < 64 * MIB
    assert ("sync" in told) == peer.startswith("save")
    if not peer.startswith("save"):  # its bytes are seen by nobody but itself
        assert 0 < told["first"] < told["seconds"]
    assert told["stored_on"] != "unknown"
    # Nothing of it is left but the two files that are sent.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["upload-4.bin", "upload-8.bin"]
