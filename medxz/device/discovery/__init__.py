"""How a device finds its hub: where it looks, whom it asks, and why each was taken or refused.

    async for probed in looking(known, browser=browser):      # verdicts as they come; stop when one is good enough
        ...
    everything = await look(known, browser=browser)            # all of them

What is announced on a LAN, typed by hand, resolved from a name or remembered says where to ask, and nothing else. A
server is taken when its certificate is of this clinic's CAs and names the id that was expected, and it then says
that id itself, that it is a hub, and a protocol that is spoken here. Whoever shows another certificate gets no byte.
"""

from medxz.device.discovery.candidates import Candidate, Kind, Known, Source
from medxz.device.discovery.looking import DEADLINE_S, Hear, Heard, look, looking
from medxz.device.discovery.verdicts import Code, Probed

__all__ = [
    "DEADLINE_S",
    "Candidate",
    "Code",
    "Hear",
    "Heard",
    "Kind",
    "Known",
    "Probed",
    "Source",
    "look",
    "looking",
]
