"""What there is to run: the releases of a cloud, as a ring or a rollout asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medxz.versions import Version

if TYPE_CHECKING:
    from cloud.fleet.rollout import Wish
    from cloud.releases import Release


@dataclass(frozen=True, slots=True)
class Offers:
    """`named`: the versions that rollouts were about, which come to nobody for being the newest."""

    releases: Sequence[Release]
    named: frozenset[str]

    def kinds_of(self, version: str) -> frozenset[str]:
        """The kinds of machine that there is a bundle of this version for."""
        return frozenset(release.compatible for release in self.releases if release.version == version)

    def of(self, wish: Wish, kind: str) -> Release | None:
        """The bundle that a machine of that kind is to run; None where there is none for it."""
        fitting = [release for release in self.releases if release.compatible == kind]
        if wish.version is not None:
            return next((release for release in fitting if release.version == wish.version), None)
        free = [release for release in fitting if not release.held and release.version not in self.named]
        return max(free, key=lambda release: Version.read(release.version), default=None)

    def version_of(self, wish: Wish, kind: str | None) -> str | None:
        """What such a machine is told to run; of a wish for the newest, nothing where its kind is not known."""
        if wish.version is not None or kind is None:
            return wish.version
        release = self.of(wish, kind)
        return None if release is None else release.version
