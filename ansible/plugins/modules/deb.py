#!/usr/bin/python
"""A package that lies on the machine, installed if it is another version than what is there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: deb
short_description: Install a .deb that lies on the machine
version_added: "0.1.0"
author: medxz hub
description:
  - Installs a package file by dpkg, and by apt where something that it depends on is missing.
  - Needs no python3-apt on the machine, and no internet where what it depends on is there.
  - The same version is left alone; an older one is refused.
options:
  path:
    description: The file, on the machine.
    required: true
    type: path
attributes:
  check_mode:
    support: full
    description: Tells whether it would install.
  diff_mode:
    support: full
    description: Shows both versions.
"""

EXAMPLES = r"""
- name: The hub's package
  medxz.hub.deb:
    path: /var/cache/medxz/medxz-hub_0.1.0_amd64.deb
"""

RETURN = r"""
package:
  description: What it is called.
  returned: always
  type: str
before:
  description: The version that was installed, or none.
  returned: always
  type: str
after:
  description: The version that is installed now.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    module = AnsibleModule({"path": {"type": "path", "required": True}}, supports_check_mode=True)
    path = module.params["path"]
    status, told, said = module.run_command(
        ["dpkg-deb", "--show", "--showformat=${Package} ${Version}", path]
    )
    if status:
        module.fail_json(msg=f"{path} is no package: {said.strip()}")
    package, after = told.split()
    before = installed(module, package)
    result = {"package": package, "before": before, "after": after, "changed": before != after}
    result["diff"] = {"before": f"{package} {before}\n".lstrip(), "after": f"{package} {after}\n"}
    if (
        before
        and before != after
        and module.run_command(["dpkg", "--compare-versions", after, "lt", before])[0] == 0
    ):
        module.fail_json(
            msg=f"{package} {before} is newer than {after}: a hub goes back by `medxz-hub update --from … --force`",
            **result,
        )
    if result["changed"] and not module.check_mode:
        install(module, path, package, after)
    module.exit_json(**result)


def installed(module: AnsibleModule, package: str) -> str:
    """The version that is there, whole; else nothing."""
    status, told, _ = module.run_command(
        ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", package]
    )
    words = told.split()
    return words[1] if status == 0 and len(words) == 2 and words[0] == "installed" else ""


def install(module: AnsibleModule, path: str, package: str, version: str) -> None:
    environ = {"DEBIAN_FRONTEND": "noninteractive"}
    status, told, said = module.run_command(["dpkg", "--install", path], environ_update=environ)
    if status:  # something that it depends on is missing: apt fetches that, where it can
        status, told, said = module.run_command(
            ["apt-get", "install", "--yes", "--no-install-recommends", path], environ_update=environ
        )
    if status or installed(module, package) != version:
        module.fail_json(msg=f"{path} was not installed", stdout=told, stderr=said, rc=status)


if __name__ == "__main__":
    main()
