"""Every check of the project, one session each; `nox -l` lists them.

Knows: how each check is set up and run. Must not know: any tool's settings, which stand in
pyproject.toml.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
# Whose messages `MultipartReader.from_message` takes, beside those in the group `test`.
MESSAGES = ["httpx2>=2", "niquests>=3.15"]
# A file of tests to a process: the whole suite in half the time on two processors.
PARALLEL = ["-n", "auto", "--dist", "loadfile"]
DEFAULT = ["tests", "lint", "types", "layers", "docs", "package", "guard"]
# Whose bodies we read, and who reads ours: tests/peers.
PEERS = [
    "django>=5.2,<6",
    "multipart>=2.0",
    "python-multipart>=0.0.30",
    "requests-toolbelt>=1.0",
    "starlette>=1.0",
    "urllib3>=2.5",
    "werkzeug>=3.1",
]
# Beside them the driver of Chromium, and what looks at pages for those who cannot see them.
NODE_PEERS = ["busboy@1.6", "playwright-core@1.65", "axe-core@4.14"]
# Whom `bench` measures beside mpflow, each in its newest version; the likely ones are skipped where
# they do not install, and the newer ones need a newer Python.
RIVALS = [
    *("aiohttp", "django", "httpx", "multipart", "python-multipart", "rust-multipart"),
    *("starlette", "uvicorn[standard]", "uvloop", "werkzeug"),
]
LIKELY_RIVALS = ["falcon", "fast-multipart", "streaming-form-data"]
NEWER_RIVALS = ["kirimi-multipart"]
# What `package` runs from the wheel: what its users touch. The rest sees the same files.
SURFACE = sorted(f"../{path.relative_to(ROOT)}" for path in (ROOT / "tests").glob("test_*.py"))
PUBLIC = ["../tests/cli", "../tests/handlers", *SURFACE]
# What `full` adds.
SLOW = ["clients", "conformance", "fuzz", "bench"]
# What `conformance` runs: the source distributions that hold the suites. Another version may have
# other cases, and each needs its review.
SUITES = ["multipart-form-data-conformance==0.1a0", "python-multipart==0.0.34", "Werkzeug==3.1.9"]
# The collections of real mails that `mpflow inspect` is run on, in the same way.
MAILS = [
    *("django-mailbox==4.10.1", "lamson==1.3.4", "mail-parser==4.8.0", "mailman==3.3.10"),
    *("salmon-mail==3.3.0", "talon==1.4.4"),
]

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"
nox.options.sessions = DEFAULT


def group(name: str) -> list[str]:
    """The requirements of a dependency group."""
    return list(nox.project.dependency_groups(PROJECT, name))


def find_pyenv() -> None:
    """Lets nox see each Python that pyenv has installed, whatever .python-version selects."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [path for v in PYTHONS for path in sorted(versions.glob(f"{v}.*"))[-1:]]
    if found:
        os.environ["PYENV_VERSION"] = ":".join(path.name for path in found)
        os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *(f"{p}/bin" for p in found)])


find_pyenv()


def install_for_tests(session: nox.Session) -> None:
    session.install("-e", ".[trio,serve]", *group("test"))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The suite; on the oldest Python measured: 95 % of all branches, every branch of the wire."""
    install_for_tests(session)
    if session.python != PYTHONS[0]:
        session.run("pytest", *PARALLEL, *session.posargs)
        return
    data = Path(session.create_tmp()).resolve() / "coverage"
    env = {"COVERAGE_FILE": str(data)}
    session.run("coverage", "erase", env=env)
    session.run("coverage", "run", "-m", "pytest", *PARALLEL, *session.posargs, env=env)
    session.run("coverage", "combine", "-q", env=env)
    if session.posargs:
        return  # a part of the suite covers a part of the code
    session.run("coverage", "report", env=env)
    session.run(
        "coverage",
        "report",
        "--include=mpflow/wire/*",
        "--fail-under=100",
        "--precision=2",
        env=env,
    )


@nox.session
def lint(session: nox.Session) -> None:
    """ruff: its rules, and its format."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy and pyright, both strict; the public types complete; the typing cases."""
    session.install("-e", ".[trio,serve]", *group("types"), *group("test"))
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "mpflow", "--ignoreexternal")
    session.run("pytest", "-m", "typing", "tests/typing", *session.posargs)


@nox.session
def layers(session: nox.Session) -> None:
    """Who may import whom."""
    session.install("-e", ".[trio,serve]", *group("layers"))
    session.run("lint-imports")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, warnings as errors, and its examples."""
    session.install("-e", ".[trio,serve]", *group("docs"), *group("test"))
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")
    session.run("pytest", "docs", "tests/test_readme.py", *session.posargs)


@nox.session
def package(session: nox.Session) -> None:
    """The wheel, built from the sdist, passes the tests of its surface where the source is not."""
    session.install("build[uv]")
    work = Path(session.create_tmp()).resolve()
    shutil.rmtree(work, ignore_errors=True)
    session.run("python", "-m", "build", "--installer=uv", "--outdir", str(work / "dist"), ".")
    (wheel,) = (work / "dist").glob("*.whl")
    session.install(f"{wheel}[trio,serve]", *group("test"))

    # The tests alone, and an empty folder to stand in: `mpflow` can only come from the wheel.
    for name in ("tests", "docs"):
        shutil.copytree(ROOT / name, work / name, ignore=shutil.ignore_patterns("_build", "__py*"))
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy2(ROOT / name, work / name)
    empty = work / "empty"
    empty.mkdir()
    session.chdir(empty)
    session.run(
        *("python", "-P", "-m", "pytest", "-c", "../pyproject.toml"),
        *(session.posargs or PUBLIC),
        *PARALLEL,
        env={"MPFLOW_WHEEL": str(wheel), "PYTHONSAFEPATH": "1"},
    )


@nox.session
def guard(session: nox.Session) -> None:
    """What a few small jobs cost, counted and not timed, against stored budgets (`-- --store`).

    The system has to have valgrind (Debian: valgrind); without it instructions are not counted.
    """
    # Counted with the versions of the budgets: what others do differently is not our work.
    budgets = json.loads((ROOT / "tests/benchmarks/guard/budgets.json").read_text("utf-8"))
    session.install("-e", ".[trio]", *(f"{name}=={v}" for name, v in budgets["with"].items()))
    session.run("python", "-m", "tests.benchmarks.guard", *session.posargs)


@nox.session
def clients(session: nox.Session) -> None:
    """Real clients against the real service, and peers; one that is missing is a failure.

    The system has to have curl, Node with npm, Go, Java, Chromium, clamd and nginx (Debian: curl,
    npm, golang-go, default-jdk-headless, chromium, clamav-daemon, nginx-light).
    """
    install_for_tests(session)
    session.install("distributed>=2025.7", "pyarrow>=21", "requests>=2.32", *PEERS, *MESSAGES)
    node = Path(session.create_tmp()).resolve()
    session.run("npm", "install", "--silent", f"--prefix={node}", *NODE_PEERS, external=True)
    env = {"NODE_PATH": str(node / "node_modules")}
    session.run(
        *("pytest", "-m", "clients", "tests/clients", "tests/peers"), *session.posargs, env=env
    )


@nox.session
def conformance(session: nox.Session) -> None:
    """The suites of others, downloaded now and kept by nobody: each case, however it is cut."""
    install_for_tests(session)
    session.install(*group("conformance"))
    suites = Path(session.create_tmp()).resolve() / "suites"
    shutil.rmtree(suites, ignore_errors=True)
    download = ("python", "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:")
    session.run(*download, f"--dest={suites}", *SUITES, *MAILS)
    for path in suites.glob("*.tar.gz"):
        with tarfile.open(path) as archive:
            archive.extractall(suites, filter="data")
    env = {"MPFLOW_SUITES": str(suites)}
    session.run("pytest", "-m", "conformance", "tests/conformance", *session.posargs, env=env)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Hypothesis for longer: every property with thousands of examples."""
    install_for_tests(session)
    env = {"HYPOTHESIS_PROFILE": "long"}
    # Those of clients need what only their own session installs, and have no properties.
    left_out = [f"--ignore=tests/{name}" for name in ("clients", "conformance", "peers")]
    run = ("pytest", "-m", "hypothesis", "tests", *left_out, *PARALLEL)
    session.run(*run, *session.posargs, env=env)


@nox.session(python=PYTHONS[0])
def bench(session: nox.Session) -> None:
    """The benchmarks, against peers in an environment of their own: `-- --quick`, `-- --only S3`.

    The result is `.benchmarks/result.json`; `bench_report` makes docs/performance.md of it.
    """
    session.install("-e", ".[trio]", *group("bench"), *RIVALS)
    for name in LIKELY_RIVALS:
        # The benchmarks name what is left out.
        session.install(name, success_codes=[0, 1, 2])
    new = newer_environment(session)
    options = [*(("--new", new) if new else ()), *["--profile"] * (not session.posargs)]
    session.run("python", "-m", "tests.benchmarks", *options, *session.posargs)
    if not session.posargs:
        install_for_tests(session)
        session.run("pytest", "-s", "-m", "benchmark", "tests/benchmarks")


def newer_environment(session: nox.Session) -> str | None:
    """The Python of an environment for those who need a newer one; None where there is none."""
    for version in PYTHONS[2:0:-1]:
        found = shutil.which(f"python{version}")
        if found is None or subprocess.run([found, "-c", ""], capture_output=True).returncode:
            continue
        home = Path(session.create_tmp()).resolve() / f"peers-{version}"
        session.run("virtualenv", "--quiet", "--python", found, str(home))
        python = str(home / "bin" / "python")
        install = (python, "-m", "pip", "install", "--quiet", "--upgrade")
        session.run(*install, "-e", ".[trio]", *NEWER_RIVALS, external=True)
        return python
    return None


@nox.session(python=PYTHONS[0])
def bench_report(session: nox.Session) -> None:
    """docs/performance.md and its plots, from results: `-- RESULT.json`, or the last of `bench`."""
    session.install("-e", ".[trio]", *group("bench"))
    results = session.posargs or [".benchmarks/result.json"]
    session.run("python", "-m", "tests.benchmarks.report", *results)


@nox.session
def full(session: nox.Session) -> None:
    """Everything above."""
    for version in PYTHONS:
        session.notify(f"tests-{version}")
    for name in [*DEFAULT[1:], *SLOW]:
        session.notify(name)
