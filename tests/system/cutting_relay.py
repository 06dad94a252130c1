"""A relay between a client and a server that loses answers when a test says so: the server has done what it was asked."""

from __future__ import annotations

import socket
from threading import Thread
from types import TracebackType
from typing import Self


class CuttingRelay:
    """Stands at `url`. While `cut` is above zero, a connection's answer is waited for and thrown away."""

    def __init__(self, port: int) -> None:
        self._there = ("127.0.0.1", port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.cut = 0
        self.lost = 0

    def __enter__(self) -> Self:
        Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                here, _ = self._listening.accept()
            except OSError:
                return
            Thread(target=self._relay, args=(here,), daemon=True).start()

    def _relay(self, here: socket.socket) -> None:
        is_cut, self.cut = self.cut > 0, max(0, self.cut - 1)
        with here, socket.create_connection(self._there) as there:
            up = Thread(target=_carry, args=(here, there), daemon=True)
            up.start()
            if is_cut:
                there.recv(1)  # it has answered: whatever it was asked is done
                self.lost += 1
                here.shutdown(socket.SHUT_RDWR)
            else:
                _carry(there, here)
            up.join()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # one end has gone
