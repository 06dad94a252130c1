"""In which order a role tries its servers."""

from __future__ import annotations

import pytest

from medxz.device.targets.routing import route


@pytest.mark.parametrize(
    ("routing", "roles", "kinds"),
    [
        ({}, ["clinician"], ("hub", "cloud")),
        ({"front_desk": ["cloud"]}, None, ("hub", "cloud")),
        ({"front_desk": ["cloud"]}, ["front_desk"], ("cloud",)),
        ({"front_desk": ["cloud", "hub"], "admin": ["hub"]}, ["front_desk", "admin"], ("hub",)),
        ({"clinician": ["cloud", "cloud", "hub"]}, ["clinician"], ("cloud", "hub")),
        ({"clinician": []}, ["clinician"], ("hub", "cloud")),
        ({"somebody": ["cloud"]}, ["somebody"], ("hub", "cloud")),
    ],
)
def test_the_clinic_decides(routing: dict, roles: list[str] | None, kinds: tuple[str, ...]) -> None:
    """Each role goes where the clinic says, by the strongest that somebody has; else to the hub, then the cloud."""
    assert route(routing, roles) == kinds
