#!/usr/bin/python
# Copyright: op-dbus contributors. MIT (see LICENSE).
"""State of D-Bus services, read by op-query, as facts."""

from __future__ import annotations

DOCUMENTATION = r"""
module: query
short_description: Reads the state of D-Bus services as facts
description:
  - Runs C(op-query) on the host and returns what it prints. Nothing is changed.
options:
  plugins:
    description: The plugins to read; all that are there when not said.
    type: list
    elements: str
    default: []
  all:
    description: Whether to add what can be seen beyond the keys, under C(observed).
    type: bool
    default: false
  fact:
    description: The name of the fact.
    type: str
    default: op_dbus
  root:
    description: The state root, where it is not the usual one.
    type: path
  executable:
    description: The program, where it is not in the path.
    type: str
    default: op-query
attributes:
  check_mode:
    support: full
author: [op-dbus contributors]
"""

EXAMPLES = r"""
- op_dbus.core.query:
    plugins: [hostname, timedate]
- ansible.builtin.debug:
    var: ansible_facts.op_dbus.hostname.location
"""

RETURN = r"""
ansible_facts:
  description: The state by plugin, under the name that O(fact) says.
  type: dict
  returned: success
unread:
  description: Why some plugins could not be read, when it were not all.
  type: str
  returned: when something could not be read
"""

import json

from ansible.module_utils.basic import AnsibleModule


def main():
    module = AnsibleModule(
        argument_spec={
            "plugins": {"type": "list", "elements": "str", "default": []},
            "all": {"type": "bool", "default": False},
            "fact": {"type": "str", "default": "op_dbus"},
            "root": {"type": "path"},
            "executable": {"type": "str", "default": "op-query"},
        },
        supports_check_mode=True,
    )
    command = [module.get_bin_path(module.params["executable"], required=True), "--json", "--quiet"]
    for plugin in module.params["plugins"]:
        command += ["--plugin", plugin]
    if module.params["all"]:
        command.append("--all")
    if module.params["root"]:
        command += ["--root", module.params["root"]]
    code, out, err = module.run_command(command)
    try:
        plugins = json.loads(out)["plugins"]
    except (ValueError, KeyError):
        plugins = None
    # 3: some plugin could not be read, and the others are there.
    if code not in (0, 3) or plugins is None:
        module.fail_json(msg="op-query failed: " + (err.strip() or "it printed no document"), rc=code, cmd=command)
    result = {"changed": False, "ansible_facts": {module.params["fact"]: plugins}}
    if code == 3:
        result["unread"] = err.strip()
        module.warn("op-query could not read everything: " + err.strip())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
