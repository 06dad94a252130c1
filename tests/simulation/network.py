"""The network of a simulated world: machines with addresses, links between them, and what can go wrong on a link.

Links have a direction. As TCP does, a link that is cut holds back what is under way, and loses a connection at last;
what gets through comes in order, and never twice. A whole request may come twice: on a connection of its own, later.
Machines are named; the world itself (who is no machine) reaches everybody, and nothing happens to its links.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from collections.abc import Callable, Iterable
from contextvars import Context, copy_context
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final, Protocol

from tests.simulation.again import Recorder
from tests.simulation.incarnation import INCARNATION
from tests.simulation.transport import Item, Pipe, SimServer, SimTransport

if TYPE_CHECKING:
    import asyncio

    from tests.simulation.loop import SimLoop

Address = tuple[str, int] | str
"""An IP and a port; the path of a Unix socket."""

WORLD: Final = "world"
WORLD_IP: Final = "127.0.0.1"
DELAY_S: Final = 0.0005
JITTER_S: Final = 0.0005
_HERE_S: Final = 0.00002
_RESENT_S_MAX: Final = 1.0
_GIVE_UP_S: Final = 120.0
# when a connection is asked for again, while nobody answers
_KNOCKS_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_EPHEMERAL_FIRST: Final = 32_768


class Named(Protocol):
    """A machine, or whoever stands for one."""

    @property
    def name(self) -> str: ...


Who = str | Named


@dataclass(slots=True)
class Host:
    """A machine as the network sees it. One that is not `up` answers nothing, not even that nobody listens."""

    name: str
    ip: str
    up: bool = True


@dataclass(slots=True)
class Link:
    """From one machine to another. `loss`, `resets` and `again` are shares: of pieces, of the lost, of requests."""

    source: str
    target: str
    delay_s: float = DELAY_S
    jitter_s: float = JITTER_S
    is_cut: bool = False
    loss: float = 0.0
    resets: float = 0.5
    again: float = 0.0


class Network:
    """What the loop's connections go through."""

    def __init__(self, loop: SimLoop, random: Random) -> None:
        self.loop = loop
        self.random = random
        self.note: Callable[[str, str], None] = lambda _name, _what: None
        self.give_up_s = _GIVE_UP_S
        self.listeners: dict[Address, SimServer] = {}
        self.quiet_fd, self._writing_fd = os.pipe()
        self.readable_fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self.context = copy_context()
        self._hosts: dict[str, Host] = {}
        self._names: dict[str, str] = {}
        self._links: dict[tuple[str, str], Link] = {}
        self._ends: dict[SimTransport, tuple[str, str]] = {}
        self._recorders: dict[SimTransport, Recorder] = {}
        self._ports = _EPHEMERAL_FIRST
        self._passed = hashlib.sha256()

    # --------------------------------------------------------------------------------------------- machines

    def add(self, name: str, ip: str) -> None:
        if ip in self._hosts or name in self._names:
            raise ValueError(f"{name} or {ip} is there already")
        self._hosts[ip] = Host(name, ip)
        self._names[name] = ip

    def down(self, name: str, *, silent: bool) -> None:
        """Its machine has crashed. `silent`: without power; else its kernel lives, and tells everybody at once."""
        ip = self._names[name]
        self._hosts[ip].up = not silent
        for address in [address for address in self.listeners if self._is_of(address, ip, name)]:
            del self.listeners[address]
        for end in [end for end, (owner, _) in self._ends.items() if owner == name]:
            end.die(silent=silent)
            del self._ends[end]
        self.note(name, "silent" if silent else "gone")

    def up(self, name: str) -> None:
        self._hosts[self._names[name]].up = True
        self._wake()

    # ----------------------------------------------------------------------------------------------- faults

    def link(self, source: str, target: str) -> Link:
        found = self._links.get((source, target))
        if found is None:
            found = self._links[source, target] = Link(source, target)
            if source == target or WORLD in {source, target}:
                found.delay_s, found.jitter_s = _HERE_S, 0.0
        return found

    def cut(self, a: Who, b: Who, *, one_way: bool = False) -> None:
        """Nothing gets from a to b (and back); what is under way waits."""
        a, b = _names(a, b)
        self.link(a, b).is_cut = True
        if not one_way:
            self.link(b, a).is_cut = True
        self.note(a, f"cut {'to' if one_way else 'from'} {b}")

    def heal(self, a: Who | None = None, b: Who | None = None) -> None:
        """Between these two; of this one; or everywhere. All that was wrong with those links is over."""
        told = [_name(who) for who in (a, b) if who is not None]
        for link in self._links.values():
            ends = {link.source, link.target}
            if ends.issuperset(told) and WORLD not in ends and link.source != link.target:
                link.delay_s, link.jitter_s = DELAY_S, JITTER_S
                link.is_cut, link.loss, link.again = False, 0.0, 0.0
        self.note(told[0] if told else "all", "healed" + "".join(f" to {name}" for name in told[1:]))
        self._wake()

    def partition(self, groups: Iterable[Iterable[Who]]) -> None:
        """Who is in another group, or in none, is out of reach."""
        of = {_name(who): number for number, group in enumerate(groups) for who in group}
        for a in self._names:
            for b in self._names:
                if a != b and (a not in of or b not in of or of[a] != of[b]):
                    self.link(a, b).is_cut = True
        self.note("all", "partition " + " | ".join(f"{name}:{number}" for name, number in of.items()))

    def slow(self, a: Who, b: Who, delay_s: float, jitter_s: float = 0.0) -> None:
        """With jitter, what is sent first on one connection comes after what is sent later on another."""
        a, b = _names(a, b)
        for link in (self.link(a, b), self.link(b, a)):
            link.delay_s, link.jitter_s = delay_s, jitter_s
        self.note(a, f"slow to {b} {delay_s:.3f}+{jitter_s:.3f}")

    def lossy(self, a: Who, b: Who, share: float, *, resets: float = 0.5) -> None:
        """Such a share of pieces is lost: sent again after a while, or the connection is reset at any byte of them."""
        a, b = _names(a, b)
        for link in (self.link(a, b), self.link(b, a)):
            link.loss, link.resets = share, resets
        self.note(a, f"lossy to {b} {share:.3f}")

    def duplicate(self, a: Who, b: Who, share: float) -> None:
        """Such a share of a's requests to b comes again later."""
        a, b = _names(a, b)
        self.link(a, b).again = share
        self.note(a, f"again to {b} {share:.3f}")

    def tear(self, a: Who, b: Who) -> int:
        """Reset every connection between them; how many ends there were."""
        torn = self._between(a, b)
        for end in torn:
            end.lost(_error(errno.ECONNRESET))
        self.note(_name(a), f"torn to {_name(b)}")
        return len(torn)

    def silence(self, a: Who, b: Who) -> int:
        """Every connection between them goes silent, as when a router forgot it; new ones are fine. How many ends."""
        silenced = self._between(a, b)
        for end in silenced:
            end.silence()
        self.note(_name(a), f"silence to {_name(b)}")
        return len(silenced)

    # ------------------------------------------------------------------------------------------ connections

    async def lookup(self, host: str) -> str:
        """The address of a host, by its name or its own."""
        name = "127.0.0.1" if host == "localhost" else host
        if name in self._names:
            return self._names[name]
        if not name.replace(".", "").isdigit():
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return name

    def own_address(self, host: str | None, port: int) -> Address:
        _, ip = _here()
        return (ip if host in {None, "", "0.0.0.0", "::"} else str(host), port or self._port())

    def listen(self, factory: Callable[[], Any], address: Address, sock: Any) -> SimServer:
        if address in self.listeners:
            raise _error(errno.EADDRINUSE)
        server = self.listeners[address] = SimServer(self, factory, address, copy_context(), sock)
        return server

    async def connect(
        self, factory: Callable[[], Any], address: Address, *, plain: bool = False
    ) -> tuple[SimTransport, Any]:
        """`plain`: nothing of what goes over it comes again."""
        name, ip = _here()
        there, back = self._way(name, address)
        await self._knocked(there, back, address)
        await self._sleep(self._transit(there) + self._transit(back))
        server = self.listeners.get(address)
        if server is None:
            self.note(name, f"refused by {there.target}")
            raise _error(errno.ECONNREFUSED)
        own = address if isinstance(address, str) else (ip, self._port())
        accepted_at = self.now + self._transit(there)
        out, into = Pipe(self, there, accepted_at), Pipe(self, back, accepted_at)
        ours = SimTransport(self, out, into, copy_context(), (own, address))
        theirs = SimTransport(self, into, out, server.context.copy(), (address, own))
        self._ends[ours], self._ends[theirs] = (name, there.target), (there.target, name)
        self.at(accepted_at, self._accept, server, theirs)
        if not plain and not isinstance(address, str) and there.source != WORLD:
            self._recorders[ours] = Recorder(self, there, address)
        protocol = factory()
        ours.made(protocol)
        return ours, protocol

    def sent(self, pipe: Pipe, data: bytes) -> bool:
        """A piece goes out. False: the connection broke over it."""
        link = pipe.link
        if link.loss and self.random.random() < link.loss:
            if self.random.random() >= link.resets:
                pipe.delay(0.2 + self.random.random() * _RESENT_S_MAX * 3)
            else:
                self.note(link.source, f"torn to {link.target}")
                pipe.put(data[: 1 + int(self.random.random() * len(data))])
                pipe.put(_error(errno.ECONNRESET))
                pipe.writer.lost(_error(errno.ECONNRESET))
                return False
        pipe.put(data)
        return True

    def wrote(self, end: SimTransport, data: bytes) -> None:
        recorder = self._recorders.get(end)
        if recorder is not None:
            recorder.heard(data)

    def ended(self, end: SimTransport) -> None:
        self._ends.pop(end, None)
        self._recorders.pop(end, None)

    # ------------------------------------------------------------------------------------- what pipes ask

    @property
    def now(self) -> float:
        return self.loop.time()

    def at(self, at_s: float, act: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        return self.loop.call_at(at_s, act, *args, context=self.context)

    def soon(self, act: Callable[..., object], context: Context, *args: Any) -> None:
        self.loop.call_soon(act, *args, context=context)

    def arrival(self, link: Link, last_at: float) -> float:
        """When what is sent now arrives: not before what was sent earlier."""
        return max(last_at, self.now + self._transit(link))

    def resent_at(self) -> float:
        return self.now + self.random.random() * _RESENT_S_MAX

    def passes(self, link: Link) -> bool:
        if link.is_cut:
            return False
        ip = self._names.get(link.target)
        return ip is None or self._hosts[ip].up

    def counted(self, link: Link, at_s: float, item: Item) -> None:
        size = len(item) if isinstance(item, bytes) else item
        self._passed.update(f"{at_s:.6f} {link.source}>{link.target} {size}\n".encode())

    def fingerprint(self) -> str:
        """Of every piece that passed: when, from whom to whom, and how long it was."""
        return self._passed.hexdigest()

    def dispose(self) -> None:
        """Nothing goes over it any more."""
        for held in (self.listeners, self._ends, self._recorders):
            held.clear()
        for fd in (self.quiet_fd, self._writing_fd, self.readable_fd):
            os.close(fd)

    # -------------------------------------------------------------------------------------------------- how

    def _way(self, name: str, address: Address) -> tuple[Link, Link]:
        if isinstance(address, str):
            return self.link(name, name), self.link(name, name)
        host = self._hosts.get(address[0])
        target = host.name if host is not None else WORLD if address[0] == WORLD_IP else address[0]
        return self.link(name, target), self.link(target, name)

    async def _knocked(self, there: Link, back: Link, address: Address) -> None:
        """Until somebody is reached, or the kernel gives up."""
        is_known = isinstance(address, str) or address[0] in self._hosts or address[0] == WORLD_IP
        for wait_s in _KNOCKS_S:
            if is_known and self.passes(there) and self.passes(back):
                return
            await self._sleep(wait_s)
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    async def _sleep(self, seconds: float) -> None:
        woken = self.loop.create_future()
        timer = self.at(self.now + seconds, _wake, woken)
        try:
            await woken
        finally:
            timer.cancel()

    def _accept(self, server: SimServer, end: SimTransport) -> None:
        if end.is_closing():
            return  # its machine has crashed meanwhile
        if not server.is_serving():
            end.die(silent=False)
            self.ended(end)
            return
        end.context.run(lambda: end.made(server.factory()))

    def _between(self, a: Who, b: Who) -> list[SimTransport]:
        names = _names(a, b)
        return [end for end, ends in self._ends.items() if ends in {names, names[::-1]}]

    def _transit(self, link: Link) -> float:
        return link.delay_s + (link.jitter_s and self.random.random() * link.jitter_s)

    def _wake(self) -> None:
        for end in list(self._ends):
            end.wake()

    def _port(self) -> int:
        self._ports += 1
        return self._ports

    def _is_of(self, address: Address, ip: str, name: str) -> bool:
        if isinstance(address, str):
            incarnation = self.listeners[address].context[INCARNATION]
            return incarnation is not None and incarnation.name == name
        return address[0] == ip


def _name(who: Who) -> str:
    return who if isinstance(who, str) else who.name


def _names(a: Who, b: Who) -> tuple[str, str]:
    return _name(a), _name(b)


def _here() -> tuple[str, str]:
    """Who asks."""
    incarnation = INCARNATION.get()
    return (WORLD, WORLD_IP) if incarnation is None else (incarnation.name, incarnation.ip)


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
