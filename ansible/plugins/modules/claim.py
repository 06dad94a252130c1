#!/usr/bin/python
"""A box made a hub of a clinic, once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: claim
short_description: Make a box a hub of a clinic
version_added: "0.1.0"
author: medxz hub
description:
  - Runs C(medxz-hub claim) where the box is no hub yet, and does nothing where it is.
  - Broken off, it can be repeated with the same code.
options:
  data:
    description: The hub's directory.
    type: path
    default: /var/lib/medxz/hub
  cloud:
    description: The cloud's address.
    required: true
    type: str
  cloud_ca:
    description: A file on the machine with the cloud's CA, where that is none of the system's.
    type: path
  code:
    description: A pairing code for a hub. Without one an unclaimed box is told of, and left as it is.
    type: str
  name:
    description: What people call this hub.
    required: true
    type: str
attributes:
  check_mode:
    support: full
    description: Tells whether it would claim.
  diff_mode:
    support: none
    description: There is nothing to compare.
"""

EXAMPLES = r"""
- name: This box is a hub of the clinic
  medxz.hub.claim:
    cloud: https://cloud.example
    code: "{{ code }}"
    name: Box in room 1
"""

RETURN = r"""
claimed:
  description: Whether the box is a claimed hub now.
  returned: always
  type: bool
hub_id:
  description: Which hub it has become.
  returned: when it was claimed in this run
  type: str
"""

import json
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

PROGRAM = "/usr/bin/medxz-hub"


def main() -> None:
    module = AnsibleModule(
        {
            "data": {"type": "path", "default": "/var/lib/medxz/hub"},
            "cloud": {"type": "str", "required": True},
            "cloud_ca": {"type": "path"},
            "code": {"type": "str", "no_log": True},
            "name": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    asked = module.params
    if (Path(asked["data"]) / "hub.db").exists():
        module.exit_json(changed=False, claimed=True)
    if module.check_mode or not asked["code"]:
        module.exit_json(changed=bool(asked["code"]), claimed=False)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            PROGRAM,
            "claim",
            "--data",
            asked["data"],
            "--cloud",
            asked["cloud"],
            "--code",
            asked["code"],
        ]
        command += ["--name", asked["name"], "--json"]
        command += ["--cloud-ca", asked["cloud_ca"]] if asked["cloud_ca"] else []
        status, told, said = module.run_command(command, cwd=folder)
    if status:
        module.fail_json(msg=f"it was not claimed: {said.strip()}", rc=status)
    module.exit_json(changed=True, claimed=True, hub_id=json.loads(told)["hub_id"])


if __name__ == "__main__":
    main()
