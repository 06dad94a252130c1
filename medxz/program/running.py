"""The run of a server's program around what it serves: loop, bind, TLS of an operator, signals, the ready line.

Refused: an address that can't be had, TLS files that don't fit each other.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvloop
from structlog.typing import FilteringBoundLogger

from medxz import limits
from medxz.program.errors import CommandFailed
from medxz.program.notify import Notifier
from medxz.program.settings import EVERY_INTERFACE, EVERY_IPV4, ServerSettings
from medxz.trust.certificates import Credential
from medxz.web.log import told

# a stop that hangs is cut off a little before its seconds are over
STOP_S_MAX: Final = limits.SHUTDOWN_S_MAX * 0.95
# what is left of them closes the store
SERVING_STOP_S: Final = limits.SHUTDOWN_S_MAX * 0.6
# The writer wants the interpreter lock for moments between long waits without it: with the usual 5 ms it would wait
# for the event loop ten times in each transaction.
_SWITCH_INTERVAL_S: Final = 0.0003


def run_loop(program: Coroutine[Any, Any, None]) -> None:
    """Run it to its end, on the loop and with the switches that a server wants."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(program)


def tell_of_broken_tasks(log: FilteringBoundLogger) -> None:
    """Say what broke in a task that nobody awaits, as every line of the log is said: without its text."""

    def tell(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, asyncio.CancelledError):
            return  # Python 3.11 takes a stream's task that the stop has ended for one that broke
        log.error("task broke", **(told(error) if isinstance(error, BaseException) else {}))

    asyncio.get_running_loop().set_exception_handler(tell)


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextmanager
def bound_socket(settings: ServerSettings) -> Iterator[socket.socket]:
    """The socket on which it will serve: one for IPv6 and IPv4 where it serves every interface."""
    host, port = settings.bind_host, settings.port
    if host == EVERY_INTERFACE and settings.host is None and not _has_ipv6():
        host = EVERY_IPV4
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:  # whatever net.ipv6.bindv6only says
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise CommandFailed(
            f"{host} port {port} can't be served: {error.strerror}",
            "give another --host or --port, or --port 0",
        ) from None
    with bound:
        yield bound


def _has_ipv6() -> bool:
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_CLOEXEC).close()
    except OSError:
        return False
    return True


def local_url(settings: ServerSettings, bound: socket.socket) -> str:
    """Where a client on this machine finds it."""
    host, port = bound.getsockname()[:2]
    host = "127.0.0.1" if host in {EVERY_INTERFACE, EVERY_IPV4} else host
    shown = f"[{host}]" if ":" in host else host
    return f"{'http' if settings.plain_http else 'https'}://{shown}:{port}"


def operators_context(settings: ServerSettings) -> ssl.SSLContext:
    """TLS by the operator's own files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    assert settings.tls_cert is not None
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise CommandFailed(
            f"{settings.tls_cert} and {settings.tls_key} can't be served: {error.strerror or error}",
            "give a PEM chain and the PEM key that belongs to it",
        ) from None
    return context


def operators_credential(settings: ServerSettings) -> Credential:
    """The operator's own files as they are now, once it is sure that they can be served."""
    operators_context(settings)
    assert settings.tls_cert is not None
    assert settings.tls_key is not None
    return Credential(settings.tls_cert.read_bytes(), settings.tls_key.read_bytes())


def announce(noun: str, url: str, notifier: Notifier, *, as_json: bool) -> None:
    """Say that it serves: one line on stdout, and systemd's. Whoever reads a service's journal has it from the log."""
    if as_json:
        sys.stdout.write(json.dumps({"event": "ready", "url": url}, separators=(",", ":")) + "\n")
    elif not notifier.is_heard:
        sys.stdout.write(f"The {noun} serves at {url}; Ctrl-C stops it.\n")
    sys.stdout.flush()
    notifier.ready(f"serves at {url}")


def raise_open_files() -> None:
    """Take as many open files as this process may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def open_files_max() -> int:
    """How many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft


def end_in_time(after_s: float, log: FilteringBoundLogger) -> None:
    """From now on the process has so long to end by itself. A database that hangs does not keep it any longer."""

    def end() -> None:
        log.error("not stopped in time: ended as it is", detail="what was answered is durable")
        os._exit(1)

    timer = threading.Timer(after_s, end)
    timer.daemon = True
    timer.start()
