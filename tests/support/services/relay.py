"""How one request gets through the fault proxy, or does not: HTTP/1.1 between two neighbours."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import cast
from urllib.parse import urlsplit

PIECE = 64 * 1024
# RFC 9110, 7.6.1: between two neighbours only. Expect: the handler has answered it. Transfer-Encoding: we frame anew.
HOP_BY_HOP = {"connection", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}

FaultOf = Callable[[str, str, "str | None"], "str | None"]  # of method, path and the Authorization header


class HangUp(Exception):  # noqa: N818 - what to do, not what went wrong
    """Both connections are to be closed now."""


class RelayServer(ThreadingTCPServer):
    """Listens on a loopback port; a thread for each client's connection."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False  # a client that keeps its connection would keep us
    request_queue_size = 128

    def __init__(self, upstream: tuple[str, int], fault_of: FaultOf, delay_seconds: float):
        self.upstream = upstream
        self.fault_of = fault_of
        self.delay_seconds = delay_seconds
        self.answered_bytes = 0  # of bodies, to all clients together
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), Relay)

    def close_connections(self) -> None:
        """No client is connected any more."""
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Relay(BaseHTTPRequestHandler):
    """One client's connection, with at most one connection to the server behind it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    relay_server: RelayServer

    def setup(self) -> None:
        super().setup()
        self.relay_server = cast(RelayServer, self.server)
        self.relay_server.connections.add(self.connection)
        self.upstream = http.client.HTTPConnection(*self.relay_server.upstream)

    def finish(self) -> None:
        self.upstream.close()
        self.relay_server.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def handle(self) -> None:
        # Either side may go at any time: that is no news here, and no traceback.
        with contextlib.suppress(HangUp, OSError, http.client.HTTPException):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""

    def relay(self) -> None:
        """The request is forwarded and answered, or comes to harm."""
        fault = self.relay_server.fault_of(self.command, urlsplit(self.path).path, self.headers.get("Authorization"))
        if fault == "drop":
            raise HangUp
        if fault == "delay":
            time.sleep(self.relay_server.delay_seconds)
        elif fault is not None and fault.isdecimal():
            for _ in self.request_body():
                pass
            self.answer_status(int(fault))
            return
        pieces = self.request_body()
        if fault == "twice":
            body = list(pieces)
            self.send_request(iter(body), cut=False)
            self.upstream.getresponse().read()
            pieces = iter(body)
        self.send_request(pieces, cut=fault == "cut_request")
        answer = self.upstream.getresponse()
        if fault == "lose_answer":
            answer.read()
            raise HangUp
        self.send_answer(answer, cut=fault == "cut_answer")

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = relay  # noqa: N815

    def answer_status(self, status: int) -> None:
        kind, body = "application/json", b'{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "fault_proxy"}'
        if status in (401, 403):  # which come from something before MLflow, that knows nothing of its JSON
            kind, body = "text/plain", HTTPStatus(status).phrase.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def is_chunked(self) -> bool:
        return "chunked" in self.headers.get("Transfer-Encoding", "").lower()

    def request_length(self) -> int:
        return int(self.headers.get("Content-Length", 0))

    def request_body(self) -> Iterator[bytes]:
        """The pieces of the body, without their framing."""
        if not self.is_chunked():
            yield from self.read_exactly(self.request_length())
            return
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield from self.read_exactly(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers

    def read_exactly(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self.rfile.read1(min(size, PIECE))
            if not piece:
                raise HangUp  # the client left in mid-body, so the server must not take it for whole
            size -= len(piece)
            yield piece

    def send_request(self, pieces: Iterator[bytes], *, cut: bool) -> None:
        chunked = self.is_chunked()
        if cut and not chunked and not self.request_length():
            raise HangUp  # no body to halve, and without one the server would take it for whole
        if self.upstream.sock and has_something_to_say(self.upstream.sock):
            self.upstream.close()  # unasked, that is a goodbye to an idle connection; the next line connects anew
        self.upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in HOP_BY_HOP:
                self.upstream.putheader(name, value)
        if chunked:
            self.upstream.putheader("Transfer-Encoding", "chunked")
        self.upstream.endheaders()
        for piece in halved(pieces, None if chunked else self.request_length()) if cut else pieces:
            try:
                self.upstream.send(framed(piece) if chunked else piece)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the server has answered early, and the rest of the body will not be read
                return
        if cut:
            raise HangUp
        if chunked:
            self.upstream.send(b"0\r\n\r\n")

    def send_answer(self, answer: http.client.HTTPResponse, *, cut: bool) -> None:
        length = answer.length  # 0 where the answer to such a request, or such a status, has no body; None for unknown
        if cut and length == 0:
            raise HangUp  # no body to halve
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.headers.items():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        if length is None:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        # read1() passes chunks on as they come, but does not notice the end of a body of known length; read() does.
        read = answer.read1 if length is None else answer.read
        pieces = iter(lambda: read(PIECE), b"")
        for piece in halved(pieces, length) if cut else pieces:
            self.relay_server.answered_bytes += len(piece)
            self.wfile.write(framed(piece) if length is None else piece)
        if cut:
            raise HangUp
        if length is None:
            self.wfile.write(b"0\r\n\r\n")


def halved(pieces: Iterator[bytes], length: int | None) -> Iterator[bytes]:
    """The first half of a body of that length; where the length is not known, half of the first piece."""
    for piece in pieces:
        left = len(piece) // 2 if length is None else length // 2
        yield piece[:left]
        if length is None or len(piece) >= left:
            return
        length -= 2 * len(piece)


def has_something_to_say(connection: socket.socket) -> bool:
    """Whether bytes, or the end, have come from the other side."""
    poll = select.poll()  # select() cannot take a file descriptor over 1024
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def framed(piece: bytes) -> bytes:
    """One chunk of a chunked body; none for no bytes, which would end the body."""
    return b"%x\r\n%s\r\n" % (len(piece), piece) if piece else b""
