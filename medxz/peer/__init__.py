"""A server as its client sees it: one `Peer` is one base URL, spoken to over HTTP/1.1 with JSON.

A problem document becomes `PeerRefused`. No answer, an answer cut short, one beyond its bounds or one that is not
in this protocol becomes `PeerUnreachable`: nothing is known of what that server did, and asking again is safe,
because every request is idempotent. Time limits are on standing still, never on the whole: a slow link is fine.
"""

from __future__ import annotations

from medxz.peer.ear import Ear
from medxz.peer.fetching import FetchCalls
from medxz.peer.identity import HubCalls, SessionCalls
from medxz.peer.sync import SyncCalls
from medxz.peer.transport import CLIENT_ADDRESS, Credentials, TokenSource

__all__ = ["CLIENT_ADDRESS", "Credentials", "Ear", "Peer", "TokenSource"]


class Peer(SyncCalls, SessionCalls, HubCalls, FetchCalls):
    """The requests of the protocol that clients make. `token` is asked anew for each of them."""
