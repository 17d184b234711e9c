"""What is installed: the names, the metadata, the entry points, and what the wheel holds.

Knows: the distribution. Must not know: what the code does.

`MPFLOW_WHEEL` names a wheel that is already built; without it one is built from the source.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib.metadata import distribution, entry_points, packages_distributions, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DISTRIBUTION = "multipart-flow"
HANDLERS = {
    "json": "Json",
    "text": "Text",
    "form": "Form",
    "collect": "Collect",
    "digest": "Digest",
    "save": "Save",
    "spool": "Spool",
    "sync": "SyncHandler",
    "nested": "Nested",
    "objectstore": "ObjectStore",
    "forward": "Forward",
    "tee": "Tee",
    "discard": "Discard",
}


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("COVERAGE_", "PYTHONPATH"))}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if built := os.environ.get("MPFLOW_WHEEL"):
        return Path(built)
    out = tmp_path_factory.mktemp("wheel")
    done = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return path


def test_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", version(DISTRIBUTION))


def test_the_distribution_and_the_import_name_differ() -> None:
    metadata = distribution(DISTRIBUTION).metadata
    assert metadata["Name"] == DISTRIBUTION
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"


@pytest.mark.parametrize("name", HANDLERS)
def test_entry_point(name: str) -> None:
    (found,) = entry_points(group="mpflow.handlers", name=name)
    assert found.dist is not None
    assert found.dist.name == DISTRIBUTION
    assert found.load().__name__ == HANDLERS[name]


def test_no_entry_point_is_unknown_here() -> None:
    ours = distribution(DISTRIBUTION).entry_points.select(group="mpflow.handlers")
    assert {point.name for point in ours} == HANDLERS.keys()


def test_the_packages_import_from_an_empty_folder(tmp_path: Path) -> None:
    code = "import mpflow, mpflow_handlers, mpflow.wire, mpflow.testing"
    done = run(sys.executable, "-W", "error", "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_handlers_is_no_package(wheel: Path, tmp_path: Path) -> None:
    """In a checkout `handlers` can be imported, being a folder there; from the wheel it cannot."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import sys, importlib.util as util\n"
        f"sys.path.append({str(tmp_path / 'site')!r})\n"
        "print(util.find_spec('mpflow_handlers') is None, util.find_spec('handlers') is None)"
    )
    # Isolated and without site-packages: an editable installation has the checkout on its path.
    found = run(sys.executable, "-I", "-S", "-c", code, cwd=tmp_path)
    assert found.stdout.split() == ["False", "True"], found.stderr


def test_every_public_name_is_there() -> None:
    import mpflow

    assert sorted(set(mpflow.__all__)) == sorted(mpflow.__all__)
    assert [name for name in mpflow.__all__ if not hasattr(mpflow, name)] == []


def test_importing_starts_no_event_loop_library(tmp_path: Path) -> None:
    """trio is an extra: `import mpflow` may neither need it nor pay for it."""
    code = "import sys, mpflow, mpflow_handlers; sys.exit('trio' in sys.modules)"
    done = run(sys.executable, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_command_version(tmp_path: Path) -> None:
    scripts = Path(sysconfig.get_path("scripts"))
    done = run(scripts / "mpflow", "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"mpflow {version(DISTRIBUTION)}\n"), done.stderr


def test_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {
        "mpflow",
        "mpflow_handlers",
        f"multipart_flow-{version(DISTRIBUTION)}.dist-info",
    }
    assert {"mpflow/py.typed", "mpflow_handlers/py.typed"} <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert [name for name in names if name.endswith((".pyc", ".so"))] == []


def test_the_test_extra_equals_the_test_group() -> None:
    """The pip of Debian 12 knows no groups, nox knows no reason to use the extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extra = project["project"]["optional-dependencies"]["test"]
    assert extra == project["dependency-groups"]["test"]


def test_both_packages_belong_to_one_distribution() -> None:
    owners = packages_distributions()
    for name in ("mpflow", "mpflow_handlers"):
        # An editable installation lists no files, so it owns no package by name.
        assert set(owners.get(name, [DISTRIBUTION])) == {DISTRIBUTION}
