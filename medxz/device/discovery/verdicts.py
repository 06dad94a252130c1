"""What came of asking: taken, or why not, as a code for programs and in words for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from medxz.device.discovery.candidates import Candidate

Code = Literal[
    "taken",
    "no_answer",  # nobody there, too slow, or too busy
    "untrusted",  # a certificate of another CA, or one out of its time
    "wrong_id",  # of our CA, and another server than the one that was expected
    "not_a_hub",  # it answers, and is something else
    "not_a_cloud",
    "other_protocol",  # of versions that are not spoken here
    "other_clinic",  # it announces another CA: it was not even connected to
    "plain_http",  # without TLS, where TLS must be: not connected to
    "no_ca",  # this device has no CA to hold a hub against
    "refused_before",  # it was refused a short while ago, and nothing has changed: not asked again yet
]
TELLING: Final[tuple[Code, ...]] = (
    "taken", "wrong_id", "untrusted", "other_protocol", "not_a_hub", "not_a_cloud", "no_answer",
)  # fmt: skip
"""Of several answers for one hub, the first of these says most."""
LASTING: Final = frozenset({"untrusted", "wrong_id", "not_a_hub", "other_protocol"})
"""What asking again at once would not change."""


@dataclass(frozen=True, slots=True)
class Probed:
    """A candidate and its verdict. `candidate.url` is the address that answered, where one did.

    `server_id` is who was met there, proven where `taken`; `rtt_s` about one round trip to it.
    """

    candidate: Candidate
    taken: bool
    code: Code
    why: str
    rtt_s: float | None = None
    server_id: str | None = None


def refusal(candidate: Candidate, code: Code, why: str) -> Probed:
    return Probed(candidate, False, code, why)
