"""Real TLS on loopback: a server that shakes hands, and a client that does."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def serving(context: ssl.SSLContext) -> Iterator[int]:
    """A server that answers every connection that shakes hands with one line of HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stopping = threading.Event()

        def serve() -> None:
            while not stopping.is_set():
                plain, _ = listener.accept()
                with plain:
                    plain.settimeout(10)
                    try:
                        with context.wrap_socket(plain, server_side=True) as secured:
                            secured.recv(4096)
                            secured.sendall(
                                b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
                            )
                    except OSError:
                        continue  # a client that went away is what most of these tests are about

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        try:
            yield port
        finally:
            stopping.set()
            socket.create_connection(("127.0.0.1", port)).close()
            thread.join()


def shake_hands(port: int, context: ssl.SSLContext, name: str | None = None) -> str:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name) as secured,
    ):
        secured.sendall(b"hello")
        secured.recv(16)
        return secured.version() or ""
