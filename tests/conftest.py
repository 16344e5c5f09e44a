"""What all tests share: a real PostgreSQL, fresh databases on it, and the profiles of Hypothesis."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import sqlalchemy as sa

from schemas import logs
from tests import postgres as postgres_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.postgres import Postgres

# `ci` runs the same examples every time, so that a change is blamed for what it did; `dev` keeps looking for new ones.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.register_profile("dev", deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "dev"))

SOURCES = pytest.StashKey[set[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SOURCES] = set()


def pytest_runtest_setup() -> None:
    """Whatever a test logs, an identifier in it fails the test; a command under test may have set up logs otherwise."""
    logs.configure(json=True, strict=True)


def pytest_report_header() -> str:
    return f"postgres: {postgres_module.choice()} ({postgres_module.VARIABLE} chooses another)"


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    sources: set[str] = config.stash[SOURCES]
    for source in sorted(sources):
        terminalreporter.write_line(f"postgres used: {source}")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear from a worker of pytest-xdist which server it used."""
    node.config.stash[SOURCES] |= set(getattr(node, "workeroutput", {}).get("postgres", ()))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    sources: set[str] = session.config.stash[SOURCES]
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["postgres"] = sorted(sources)


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """The session's server: `create_database()`, `drop_database()`, `template()`; one each for workers of xdist."""
    with postgres_module.server() as server:
        request.config.stash[SOURCES].add(server.source)
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The address of a fresh, empty database, dropped after the test."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture
def engine_for() -> Iterator[Callable[..., sa.Engine]]:
    """Make an engine for an address, with `create_engine`'s options; all are disposed of after the test."""
    engines: list[sa.Engine] = []

    def make(url: str, **options: Any) -> sa.Engine:
        engines.append(sa.create_engine(url, **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()
