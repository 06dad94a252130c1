"""The inventory of a fleet, as its cloud knows it: GET /v1/fleet/hubs, page by page, by an operator's token.

It reads the fleet across clinics and nothing of any patient. Refused: a cloud whose certificate is not trusted, and plain
HTTP to anything but this machine, since the token would be read on the way.
"""

from __future__ import annotations

DOCUMENTATION = r"""
name: medxz_hubs
short_description: The hubs that a medxz cloud knows
version_added: "0.1.0"
author: medxz hub
description:
  - Reads every hub of every clinic of a cloud, with an operator's token.
  - Groups them by clinic (C(clinic_riverside)), site (C(site_riverside_north)), ring (C(ring_canary)), version
    (C(version_0_2_0)) and health (C(health_ok)); all of them are in C(medxz_hubs).
  - The source has to be called C(*.medxz_hubs.yml) or C(*.medxz_hubs.yaml).
extends_documentation_fragment:
  - constructed
  - inventory_cache
options:
  plugin:
    description: This plugin.
    required: true
    choices: [medxz.hub.medxz_hubs]
  url:
    description: The cloud, as C(https://cloud.example).
    required: true
    type: str
    env:
      - name: MEDXZ_CLOUD_URL
  token_file:
    description: A file with the operator's token, which C(medxz-cloud operator token) has printed.
    type: path
    env:
      - name: MEDXZ_OPERATOR_TOKEN_FILE
  token:
    description: The token itself, where there is no file. It does not belong into an inventory that others read.
    type: str
    env:
      - name: MEDXZ_OPERATOR_TOKEN
  ca_file:
    description: What the cloud's certificate chains to, where that is none of the system's CAs.
    type: path
    env:
      - name: MEDXZ_CLOUD_CA
  filters:
    description: Only the hubs of a clinic, a site (its id), a ring, a version, a health.
    type: dict
    default: {}
  page:
    description: How many hubs are asked for at a time.
    type: int
    default: 500
  timeout_s:
    description: How long one answer may take.
    type: int
    default: 30
"""

EXAMPLES = r"""
# fleet.medxz_hubs.yml: the cloud's address, and the token from $MEDXZ_OPERATOR_TOKEN_FILE
plugin: medxz.hub.medxz_hubs
url: https://cloud.example

# hubs that are not well, with what else they should be grouped by, remembered for five minutes
# plugin: medxz.hub.medxz_hubs
# url: https://cloud.example
# ca_file: cloud-ca.pem
# filters:
#   health: unwell
# keyed_groups:
#   - key: medxz_compatible
#     prefix: kind
# cache: true
# cache_plugin: ansible.builtin.jsonfile
# cache_timeout: 300
# cache_connection: .cache
"""

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit

from ansible.errors import AnsibleParserError
from ansible.module_utils.urls import open_url

from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

FILTERS = ("clinic", "site", "ring", "version", "health")
PAGES_MAX = 10_000
ANSWER_BYTES_MAX = 32 << 20
LOOPBACK = ("127.0.0.1", "::1", "localhost")

Json = dict[str, Any]


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """The hubs of one cloud."""

    NAME = "medxz.hub.medxz_hubs"

    def verify_file(self, path: str) -> bool:
        return super().verify_file(path) and path.endswith((".medxz_hubs.yml", ".medxz_hubs.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        key = self.get_cache_key(path)
        may_read = cache and self.get_option("cache")
        hubs: list[Json] | None = None
        if may_read:
            try:
                hubs = self._cache[key]
            except KeyError:
                hubs = None
        if hubs is None:
            hubs = self._asked()
            if self.get_option("cache"):
                self._cache[key] = hubs
        for hub in hubs:
            self._add(hub)

    def _add(self, hub: Json) -> None:
        name = f"{slug(hub['name'])}-{hub['hub_id'][-8:]}"
        self.inventory.add_host(name)
        for group in ("medxz_hubs", *groups_of(hub)):
            self.inventory.add_group(self._safe(group))
            self.inventory.add_host(name, group=self._safe(group))
        for key, value in hub.items():
            self.inventory.set_variable(name, f"medxz_{key}", value)
        if hub.get("url"):
            self.inventory.set_variable(name, "ansible_host", urlsplit(hub["url"]).hostname)
        values = self.inventory.get_host(name).get_vars()
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), values, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), values, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), values, name, strict=strict)

    def _safe(self, group: str) -> str:
        return re.sub(r"[^A-Za-z0-9_]", "_", group)

    def _asked(self) -> list[Json]:
        """Every page; AnsibleParserError says what to do."""
        filters = self.get_option("filters")
        if unknown := set(filters) - set(FILTERS):
            raise AnsibleParserError(f"filters: {', '.join(sorted(unknown))}: there are {', '.join(FILTERS)}")
        hubs: list[Json] = []
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            asked = {**filters, "limit": self.get_option("page")} | ({"cursor": cursor} if cursor else {})
            answer = self._page(asked)
            hubs += answer["hubs"]
            cursor = answer["next_cursor"]
            if cursor is None:
                return hubs
        raise AnsibleParserError("the cloud's list of hubs has no end")

    def _page(self, asked: Json) -> Json:
        url = str(self.get_option("url")).rstrip("/")
        place = urlsplit(url)
        if place.scheme != "https" and not (place.scheme == "http" and place.hostname in LOOPBACK):
            raise AnsibleParserError(f"{url}: the token would be read on the way; use https://")
        ca_file = self.get_option("ca_file")
        try:
            with open_url(
                f"{url}/v1/fleet/hubs?{urlencode(asked)}",
                headers={"Authorization": f"Bearer {self._token()}", "Accept": "application/json"},
                timeout=self.get_option("timeout_s"),
                ca_path=os.fspath(ca_file) if ca_file else None,
                follow_redirects="none",
                use_netrc=False,
            ) as answer:
                told = json.loads(answer.read(ANSWER_BYTES_MAX))
        except HTTPError as error:
            raise AnsibleParserError(f"{url} {in_words(error)}") from error
        except (URLError, OSError) as error:
            why = getattr(error, "reason", error)
            hint = " (ca_file says what it chains to)" if "CERTIFICATE_VERIFY_FAILED" in str(why) else ""
            raise AnsibleParserError(f"{url} can't be asked for its hubs: {why}{hint}") from error
        except ValueError as error:
            raise AnsibleParserError(f"{url} answers what is no JSON: is it a medxz cloud?") from error
        if not isinstance(told, dict) or not isinstance(told.get("hubs"), list) or "next_cursor" not in told:
            raise AnsibleParserError(f"{url} answers no list of hubs: is it a medxz cloud?")
        return told

    def _token(self) -> str:
        file = self.get_option("token_file")
        if file:
            try:
                token = Path(file).read_text("utf-8").strip()
            except OSError as error:
                raise AnsibleParserError(f"{file}: {error.strerror}") from error
        else:
            token = (self.get_option("token") or "").strip()
        if not token:
            raise AnsibleParserError(
                "an operator's token is needed: token_file, or MEDXZ_OPERATOR_TOKEN_FILE (`medxz-cloud operator token`)"
            )
        return token


def groups_of(hub: Json) -> list[str]:
    """The groups that a hub is in by what the cloud knows of it."""
    clinic = slug(hub.get("clinic") or hub["clinic_id"])
    groups = [f"clinic_{clinic}", f"site_{clinic}_{slug(hub.get('site') or hub['site_id'])}"]
    groups += [f"ring_{slug(hub['ring'])}", f"health_{slug(hub['health'])}"]
    return [*groups, f"version_{slug(hub.get('version') or 'unknown')}"]


def slug(text: str) -> str:
    """What people call a thing, as far as a name of ansible's can hold it."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "x"


def in_words(error: HTTPError) -> str:
    """What a refusal means to who set this up."""
    try:
        told = json.loads(error.read(ANSWER_BYTES_MAX))
        said = str(told["error"]["message"] if "error" in told else told.get("detail", ""))
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        said = ""
    said = f": {said}" if said else ""
    if error.code in {401, 403}:
        return f"takes no such token for its fleet ({error.code}{said}); make one: medxz-cloud operator token"
    if error.code == 404:
        return f"has no /v1/fleet/hubs ({error.code}{said}): is it of this version?"
    return f"answers {error.code}{said}"
