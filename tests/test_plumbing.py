"""The habits of the house hold: who may import whom, a lock in step, targets with help, databases for tests."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import sqlalchemy as sa
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("orchestrator", "consumers", "schemas")

# The composition roots: the only places that may know both sides.
ROOTS = ("orchestrator/cli/", "orchestrator/embedded.py")

# The core decides from what it is told. It does not look at a clock, a die, a file or a wire.
IMPURE = {
    "alembic", "asyncio", "boto3", "concurrent", "consumers", "faust", "fsspec", "glob", "http", "importlib", "io",
    "kafka", "logging", "multiprocessing", "os", "pathlib", "psycopg2", "queue", "random", "requests", "secrets",
    "select", "shutil", "signal", "socket", "sqlalchemy", "sqlite3", "structlog", "subprocess", "sys", "tempfile",
    "threading", "time", "urllib", "yaml",
}  # fmt: skip
IMPURE_CALLS = {"now", "utcnow", "today", "uuid1", "uuid4", "uuid7", "open", "print", "input", "exec", "eval"}


def modules(folder):
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def imports(path):
    """Every module that a file imports, late and for types alone included, as (absolute name, line)."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            start = [*base, *filter(None, [node.module])]
            yield from ((".".join([*start, alias.name]), node.lineno) for alias in node.names)


def breaches(folder, forbidden, *, but=()):
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(folder)
        if not str(path.relative_to(ROOT)).startswith(but or ("\0",))
        for name, line in imports(path)
        if name.split(".")[0] in forbidden
    ]


def test_the_two_sides_meet_in_schemas_alone():
    assert breaches("consumers", {"orchestrator"}) == []
    assert breaches("orchestrator", {"consumers"}, but=ROOTS) == []
    assert breaches("schemas", {"orchestrator", "consumers"}) == []


def test_nothing_imports_tests_or_bench():
    assert [breach for folder in PACKAGES for breach in breaches(folder, {"tests", "bench", "pytest"})] == []


def test_the_domain_is_pure():
    assert breaches("orchestrator/domain", IMPURE) == []
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno} calls {name}"
        for path in modules("orchestrator/domain")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        for name in [getattr(node.func, "attr", getattr(node.func, "id", ""))]
        if name in IMPURE_CALLS
    ]
    assert calls == []


def test_the_domain_knows_no_other_part_of_the_orchestrator():
    outside = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules("orchestrator/domain")
        for name, line in imports(path)
        if name.startswith("orchestrator.") and not name.startswith("orchestrator.domain")
    ]
    assert outside == []


def test_the_check_of_imports_sees_every_form(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.test_plumbing.ROOT", tmp_path)
    folder = tmp_path / "orchestrator" / "domain"
    folder.mkdir(parents=True)
    (folder / "late.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import os.path\ndef f():\n    from time import sleep\n"
        "from ..store import tables\nfrom . import state\n"
    )
    assert [name for name, _ in imports(folder / "late.py")] == [
        "typing.TYPE_CHECKING",
        "orchestrator.store.tables",
        "orchestrator.domain.state",
        "os.path",
        "time.sleep",
    ]


# -- the lock ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def locked():
    """Name to (version, number of hashes) of what requirements.lock pins."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    pins = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)(.*)$", text, re.MULTILINE)
    return {canonicalize_name(name): (version, rest.count("--hash=sha256:")) for name, version, rest in pins}


def test_the_lock_holds_what_the_project_asks_for(project, locked):
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    for requirement in map(Requirement, wanted):
        version, _ = locked[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, requirement


def test_the_lock_pins_everything_by_hash(locked):
    assert [name for name, (_, hashes) in locked.items() if hashes == 0] == []
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and line[0] not in " #" and "==" not in line] == []


def test_the_lock_names_no_address():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert re.findall(r"://|--(?:extra-)?index-url|--find-links|--trusted-host|^-[if] ", text, re.MULTILINE) == []


def test_the_kafka_libraries_load_without_a_warning_we_do_not_know():
    import faust
    import kafka

    assert {kafka.__name__, faust.__name__} == {"kafka", "faust"}


# -- make and CI ------------------------------------------------------------------------------------------------------

WANTED = {"help", "env", "demo", "dev", "test", "lint", "format", "schemas", "simulate", "bench-w1", "lock", "clean"}


def make(*arguments, **environment):
    return subprocess.run(
        [shutil.which("make") or "make", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_every_target_has_help_and_help_is_the_default():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.findall(r"^\.PHONY: (.+)$", text, re.MULTILINE))
    shown = make()
    helped = dict(re.findall(r"^  make (\S+) +(\S.*)$", shown.stdout, re.MULTILINE))
    assert shown.returncode == 0
    assert set(helped) == phony == WANTED
    assert make("help").stdout == shown.stdout


def test_no_fitting_python_is_an_error_that_says_so(tmp_path):
    (tmp_path / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python3").chmod(0o755)
    shown = make("env", f"VENV={tmp_path}/venv", PATH=str(tmp_path))
    assert shown.returncode != 0
    assert "needs Python 3.11 or newer" in shown.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("failing", ["env", "lint", "test", None])
def test_ci_fails_with_any_of_its_steps(tmp_path, failing):
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    tools = tmp_path / "tools"
    tools.mkdir()
    fake = f"""#!/bin/sh
[ "$1" != "{failing}" ] || exit 2
[ "$1" != env ] || {{ mkdir -p "$VENV/bin" && printf '#!/bin/sh\\n' >"$VENV/bin/python" && chmod +x "$VENV/bin/python"; }}
"""
    (tools / "make").write_text(fake)
    (tools / "make").chmod(0o755)
    shown = subprocess.run(
        [tmp_path / ".ci" / "run"],
        cwd="/",
        env={"PATH": f"{tools}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (shown.returncode == 0) == (failing is None)
    assert ("all is well" in shown.stdout) == (failing is None)


# -- databases for tests ----------------------------------------------------------------------------------------------


def test_a_database_is_fresh_and_real(database, engine_for):
    with engine_for(database).connect() as connection:
        tables = connection.scalar(sa.text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"))
        version = connection.scalar(sa.text("SHOW server_version_num"))
    assert tables == 0
    assert int(version) >= 160000


def test_a_template_is_built_once_and_copied(postgres, engine_for):
    built = []

    def build(url):
        built.append(url)
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE mark AS SELECT 7 AS n"))
        engine.dispose()

    urls = [postgres.create_database(template=postgres.template("plumbing", build)) for _ in range(2)]
    assert len(built) == 1
    for url in urls:
        with engine_for(url).begin() as connection:
            assert connection.scalar(sa.text("DELETE FROM mark RETURNING n")) == 7


def test_a_dropped_database_is_gone_though_somebody_is_connected(postgres, engine_for):
    url = postgres.create_database()
    with engine_for(url).connect() as connection:
        connection.execute(sa.text("SELECT 1"))
        postgres.drop_database(url)
        connection.invalidate()
    with pytest.raises(sa.exc.OperationalError), engine_for(url).connect():
        pass
