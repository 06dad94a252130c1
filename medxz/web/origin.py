"""Where a request comes from: the address at the other end of its connection, or the one that a hub reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from medxz.service.accounts import Origin

if TYPE_CHECKING:
    from medxz.web.call import Call

CLIENT_ADDRESS: Final = "Medxz-Client-Address"


def origin_of(call: Call) -> Origin:
    """Anyone may write the header; it counts with the token of a hub alone."""
    own = call.request.remote or ""
    if call.caller is None or call.caller.hub_id is None:
        return Origin.of(own)
    reported = call.request.headers.get(CLIENT_ADDRESS, own)
    return Origin.of(reported, call.caller.hub_id, call.caller.clinic_id)
