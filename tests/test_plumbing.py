"""The database fixtures do what they say."""

from __future__ import annotations

import sqlalchemy as sa


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
