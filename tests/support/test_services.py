"""The test services do what other tests rely on, where no other test would notice."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from support.services.fault_proxy import FaultProxy, fault_proxy
from support.services.needs import needed, needed_program
from support.services.process import ServerProcess, ServiceError, free_port, is_free, wait_until


@pytest.mark.parametrize(
    ("need", "hint"),
    [
        pytest.param(lambda: needed("no_such_module", "test-it"), r"pip install '\.\[test-it\]'", id="module"),
        pytest.param(lambda: needed_program("no-such-program", "chromium"), "apt-get install chromium", id="program"),
    ],
)
def test_something_that_is_missing_is_an_error_that_names_what_to_install(need: object, hint: str) -> None:
    with pytest.raises(ServiceError, match=f"hint: {hint}"):
        need()  # type: ignore[operator]


def test_a_service_that_does_not_start_says_what_its_log_says(tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", "echo the port is taken; exit 1"]
    service = ServerProcess(command, port=free_port(), log=tmp_path / "log", is_ready=lambda: False, env={})
    with pytest.raises(ServiceError, match=r"(?s)ended with 1.*the port is taken"):
        service.start()


def test_a_service_does_not_outlive_a_killed_test_run(tmp_path: Path) -> None:
    port = free_port()
    script = f"""
        import sys, time
        from pathlib import Path
        from support.services.process import ServerProcess, is_free
        command = [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1"]
        log = Path({str(tmp_path / "log")!r})
        ServerProcess(command, port={port}, log=log, is_ready=lambda: not is_free({port}), env={{}}).start()
        print("up", flush=True)
        time.sleep(60)
    """
    words = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(words, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE) as tests:
        assert tests.stdout is not None and tests.stdout.readline() == b"up\n"
        assert not is_free(port)
        tests.send_signal(signal.SIGKILL)
    wait_until(lambda: is_free(port), "the service is gone", seconds=5)


class Echo(BaseHTTPRequestHandler):
    """A server that knows what has reached it, and answers with it: in chunks where the path says so."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    seen: list[bytes]

    def do_POST(self) -> None:
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline() or b"0", 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append(body)
        self.send_response(200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        else:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""


@contextmanager
def echo() -> Iterator[tuple[str, list[bytes]]]:
    """The URL of an Echo, and the bodies that have reached it whole or in part."""
    seen: list[bytes] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Echo", (Echo,), {"seen": seen}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()


BODY = b"0123456789" * 100_000


def test_the_proxy_without_faults_changes_nothing_and_counts() -> None:
    with echo() as (url, seen), fault_proxy(url) as proxy, requests.Session() as session:
        assert session.post(f"{proxy.url}/plain?x=1", data=BODY, timeout=5).content == BODY
        assert session.post(f"{proxy.url}/plain", data=b"", timeout=5).content == b""
        assert session.post(f"{proxy.url}/chunked", data=iter([BODY, b"end"]), timeout=5).content == BODY + b"end"
    assert seen == [BODY, b"", BODY + b"end"]
    assert proxy.counts == {("POST", "/plain"): 2, ("POST", "/chunked"): 1}


@pytest.mark.parametrize("path", ["/plain", "/chunked"])
@pytest.mark.parametrize(
    ("fault", "status", "received", "reached"),
    [
        pytest.param("drop", None, 0, [], id="drop: not forwarded, not answered"),
        pytest.param("503", 503, 67, [], id="503: not forwarded"),
        pytest.param("delay", 200, len(BODY), [BODY], id="delay: forwarded and answered"),
        pytest.param("lose_answer", None, 0, [BODY], id="lose_answer: forwarded, not answered"),
        pytest.param("twice", 200, len(BODY), [BODY, BODY], id="twice: forwarded twice, answered once"),
        pytest.param("cut_answer", 200, None, [BODY], id="cut_answer: forwarded, answered in part"),
        pytest.param("cut_request", None, 0, [BODY[: len(BODY) // 2]], id="cut_request: forwarded in part"),
    ],
)
def test_a_fault_does_what_its_name_says(
    fault: str, status: int | None, received: int | None, reached: list[bytes], path: str
) -> None:
    with echo() as (url, seen), fault_proxy(url, delay_seconds=0.05) as proxy:
        proxy.script = [fault]
        assert post(proxy, path) == (status, received)
        wait_until(lambda: len(seen) >= len(reached), "what is forwarded has arrived", seconds=5)
        assert seen == reached and proxy.faulted == {fault: 1}
        assert post(proxy, path) == (200, len(BODY))  # the script has ended


def post(proxy: FaultProxy, path: str) -> tuple[int | None, int | None]:
    """The status and the number of bytes that came back: None for no status, and for a body cut short."""
    with closing(http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=5)) as connection:
        try:
            connection.request("POST", path, body=BODY)
            answer = connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):
            return None, 0
        try:
            return answer.status, len(answer.read())
        except (http.client.IncompleteRead, ConnectionError):
            return answer.status, None


def test_faults_by_chance_are_the_same_for_the_same_seed() -> None:
    drawn = []
    for seed in (1, 1, 2):
        proxy = FaultProxy({"drop": 0.05, "503": 0.05}, seed)
        drawn.append([proxy.fault_of("POST", "/") for _ in range(1000)])
    assert drawn[0] == drawn[1] != drawn[2]
    assert 30 < drawn[0].count("drop") < 70 and 30 < drawn[0].count("503") < 70


def test_a_word_that_is_no_fault_is_refused() -> None:
    with pytest.raises(ValueError, match="'explode' is no fault"), fault_proxy("http://127.0.0.1:1", {"explode": 1.0}):
        pass
