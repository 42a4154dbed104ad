"""A tracking database in trouble: what was acknowledged waits, and is there once, whole, when the trouble is over."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sqlite3
import subprocess
import time
from contextlib import asynccontextmanager

import psycopg2
import pytest
from sqlalchemy import Engine, Pool, event

from spanbridge.collector.exporters.mlflow.exporter import MlflowSpanExporter
from tests.faults.support.flow import flowing
from tests.polling import until, until_sync
from tests.samples.reading import span_ids
from tests.samples.spans import trace_batch
from tests.servers.mlflow_servers import postgres_bin

pytestmark = [pytest.mark.slow]

_numbers = itertools.count(1)


@asynccontextmanager
async def writing(uri, folder):
    """A flow into the database that has written something already; at its end all that was put has to be there."""
    experiment = f"database faults {next(_numbers)}"
    exporter = MlflowSpanExporter(uri, experiment=experiment, environ={})
    async with flowing(folder, exporter) as ground:
        await ground.put(trace_batch())
        await until(ground.settled, seconds=60, what="the first delivery")
        yield ground
        await until(ground.settled, seconds=60, what="settlement of everything")
    assert not ground.journal.aside
    found = span_ids(uri, experiment)
    assert len(found) == len(set(found))
    assert set(found) == {(trace_id.hex(), span_id.hex()) for trace_id, span_id in ground.acknowledged}


async def nothing():
    """Happens meanwhile."""


async def retried(ground, times, meanwhile=nothing):
    """Traces come in until so many sends have failed."""
    failed = ground.metric("spanbridge_delivery_retries_total")
    deadline = asyncio.get_running_loop().time() + 60
    while ground.metric("spanbridge_delivery_retries_total") < failed + times:
        assert asyncio.get_running_loop().time() < deadline, "the fault was never felt"
        if ground.journal.state().rows < 100:
            await ground.put(trace_batch())
        await meanwhile()
        await asyncio.sleep(0.01)


@pytest.fixture
def database(postgresql):
    """A statement run by an administrator of PostgreSQL, outside transactions; all settings are reset at the end."""
    connection = psycopg2.connect(postgresql)
    connection.autocommit = True

    def run(statement):
        with connection.cursor() as cursor:
            cursor.execute(statement)

    yield run
    run("ALTER DATABASE postgres RESET ALL")
    connection.close()


DISCONNECT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
)


async def test_connections_that_break_all_the_time(postgresql, database, tmp_path):
    async with writing(postgresql, tmp_path) as ground:
        await retried(ground, 5, meanwhile=lambda: asyncio.to_thread(database, DISCONNECT))  # some in a send


@asynccontextmanager
async def read_only(database):
    """What a failover looks like to who is still connected to the old primary."""
    database("ALTER DATABASE postgres SET default_transaction_read_only = on")
    yield


SLOW_WRITES = """
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END';
CREATE TRIGGER dawdle AFTER INSERT ON spans FOR EACH STATEMENT EXECUTE FUNCTION dawdle();
"""


@asynccontextmanager
async def slower_than_it_allows(database):
    """Every statement that writes spans takes longer than a statement may."""
    database(SLOW_WRITES)
    database("ALTER DATABASE postgres SET statement_timeout = '50ms'")
    try:
        yield
    finally:
        database("DROP FUNCTION dawdle CASCADE")


@asynccontextmanager
async def client_that_dawdles(database):
    """The database gives the client less time between two statements than it takes before each commit."""

    def dawdle(_connection) -> None:
        time.sleep(0.05)

    database("ALTER DATABASE postgres SET idle_in_transaction_session_timeout = '5ms'")
    event.listen(Engine, "commit", dawdle)
    try:
        yield
    finally:
        event.remove(Engine, "commit", dawdle)


@pytest.mark.parametrize("fault", [read_only, slower_than_it_allows, client_that_dawdles])
async def test_a_database_that_does_not_write_for_now(fault, postgresql, database, tmp_path):
    async with writing(postgresql, tmp_path) as ground:
        async with fault(database):
            database(DISCONNECT)
            await retried(ground, 10)
        database("ALTER DATABASE postgres RESET ALL")
        database(DISCONNECT)


async def test_tables_that_somebody_else_has_locked(postgresql, database, tmp_path):
    async with writing(postgresql, tmp_path) as ground:
        database("ALTER DATABASE postgres SET lock_timeout = '50ms'")
        database(DISCONNECT)
        with contextlib.closing(psycopg2.connect(postgresql)) as other:
            other.cursor().execute("LOCK TABLE spans, trace_info IN ACCESS EXCLUSIVE MODE")
            await retried(ground, 5)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_database_that_is_restarted(mode, postgresql, tmp_path):
    """`immediate` is a crash: PostgreSQL recovers before it lets anybody in."""
    async with writing(postgresql, tmp_path) as ground:
        with contextlib.closing(psycopg2.connect(postgresql)) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW data_directory")
            data = cursor.fetchone()[0]
        for _ in range(3):
            restarting = asyncio.create_task(asyncio.to_thread(pg_ctl, "restart", "-D", data, "-m", mode, "-w"))
            while not restarting.done():
                if ground.journal.state().rows < 100:
                    await ground.put(trace_batch())
                await asyncio.sleep(0.01)
            restarting.result()
        assert ground.metric("spanbridge_delivery_retries_total") > 0, "the fault was never felt"


def pg_ctl(*arguments):
    """As the user that may run it."""
    who = {"user": "postgres"} if os.geteuid() == 0 else {}
    command = [postgres_bin() / "pg_ctl", *arguments, "-l", "/dev/null"]
    subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, env={"LC_ALL": "C.UTF-8"}, **who)


async def test_deadlocks(postgresql, database, tmp_path):
    """Somebody takes the tables in the other order, and PostgreSQL makes an end of it at our expense."""
    async with writing(postgresql, tmp_path) as ground:
        database("ALTER DATABASE postgres SET deadlock_timeout = '100ms'")
        database(DISCONNECT)
        for _ in range(5):
            rival = asyncio.create_task(asyncio.to_thread(deadlock, postgresql))
            while not rival.done():
                if ground.journal.state().rows < 100:
                    await ground.put(trace_batch())
                await asyncio.sleep(0.01)
            rival.result()


def deadlock(uri):
    """Returns when the bridge has had to give way."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'spans'::regclass"
    with contextlib.closing(psycopg2.connect(uri)) as other, other.cursor() as cursor:
        cursor.execute("SET deadlock_timeout = '1h'")  # the other side notices
        cursor.execute("LOCK TABLE spans IN SHARE MODE")
        until_sync(lambda: cursor.execute(waiting) or cursor.fetchone()[0], what="a send that waits for the table")
        cursor.execute("LOCK TABLE trace_info IN SHARE MODE")  # which that send has written to


async def test_a_login_that_is_no_longer_allowed(postgresql, database, tmp_path):
    async with writing(postgresql, tmp_path) as ground:
        database("ALTER ROLE mlflow NOLOGIN")
        try:
            database(DISCONNECT)
            await retried(ground, 5)
            await until(lambda: ground.metric("spanbridge_delivery_held") == 1)
        finally:
            database("ALTER ROLE mlflow LOGIN")


async def test_sqlite_with_another_writer_that_takes_its_time(tmp_path):
    async with writing(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path) as ground:
        with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for _ in range(20):
                await ground.put(trace_batch())
            await asyncio.sleep(0.5)  # a time in which nothing may get through
            assert ground.journal.state().rows == 20
            other.execute("COMMIT")


async def test_sqlite_on_a_full_disk(tmp_path):
    """SQLite's own bound on pages answers as a full disk does."""
    pages, file = 1 << 30, tmp_path / "mlflow.db"

    def bound(connection, _record, _proxy) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(Pool, "checkout", bound)
    try:
        async with writing(f"sqlite:///{file}", tmp_path) as ground:
            with contextlib.closing(sqlite3.connect(file)) as other:
                pages = other.execute("PRAGMA page_count").fetchone()[0]
            await retried(ground, 10)
            pages = 1 << 30
    finally:
        event.remove(Pool, "checkout", bound)


async def test_sqlite_in_the_midst_of_a_migration(tmp_path):
    async with writing(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path) as ground:
        with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
            other.execute("ALTER TABLE spans RENAME TO spans_away")
            await retried(ground, 5)
            other.execute("ALTER TABLE spans_away RENAME TO spans")
