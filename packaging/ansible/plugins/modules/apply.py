#!/usr/bin/python
# Copyright: op-dbus contributors. MIT (see LICENSE).
"""Makes D-Bus services as a state document says, by op-apply."""

from __future__ import annotations

DOCUMENTATION = r"""
module: apply
short_description: Makes D-Bus services as a state document says
description:
  - Runs C(op-apply) on the host with a state document. What is not mentioned is left alone.
  - Every change is verified by reading again; when one fails, those before it are undone.
  - In check mode the plan is made and nothing is changed.
options:
  state:
    description: The state by plugin and key, as C(op-query) prints it under C(plugins).
    type: dict
    required: true
  owner:
    description: On whose behalf items are added. What it added before and leaves out now is removed.
    type: str
    default: ansible
  allow_irreversible:
    description: Whether changes that cannot be undone are agreed to.
    type: bool
    default: false
  prune:
    description: Remove every item of a set that is not listed, if exactly so many go.
    type: int
  confirm_within:
    description:
      - Take everything back after this long, for example V(60s), unless C(op-apply confirm) comes in time. What could cut
        the host off is safe then; a later task confirms it.
    type: str
  lock_timeout:
    description: How long to wait for another run.
    type: str
    default: 60s
  root:
    description: The state root, where it is not the usual one.
    type: path
  executable:
    description: The program, where it is not in the path.
    type: str
    default: op-apply
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: [op-dbus contributors]
"""

EXAMPLES = r"""
- op_dbus.core.apply:
    state:
      hostname: {location: rack 4}
      packagekit: {packages: [jq], absent: {packages: [telnet]}}

- op_dbus.core.apply:
    state: "{{ lookup('ansible.builtin.file', 'network.json') | from_json }}"
    confirm_within: 60s
- ansible.builtin.wait_for_connection:
- ansible.builtin.command: op-apply confirm
"""

RETURN = r"""
report:
  description: What op-apply reports of the run; in check mode the plan.
  type: dict
  returned: when it came to a plan
outcome:
  description: How it ended (V(unchanged), V(applied), V(undone), V(residue)), or V(planned).
  type: str
  returned: when it came to a plan
"""

import json

from ansible.module_utils.basic import AnsibleModule


def document(text):
    """The JSON document in a text, or nothing."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def error_of(err):
    """The error that op-apply wrote, for people: what failed and the way out."""
    for line in reversed(err.splitlines()):
        error = (document(line) or {}).get("error") if line.startswith("{") else None
        if error:
            return ": ".join(part for part in (error.get("subject"), error["message"], error.get("hint")) if part)
    return err.strip() or "it said nothing"


def main():
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "dict", "required": True},
            "owner": {"type": "str", "default": "ansible"},
            "allow_irreversible": {"type": "bool", "default": False},
            "prune": {"type": "int"},
            "confirm_within": {"type": "str"},
            "lock_timeout": {"type": "str", "default": "60s"},
            "root": {"type": "path"},
            "executable": {"type": "str", "default": "op-apply"},
        },
        supports_check_mode=True,
    )
    params = module.params
    wanted = json.dumps({"version": 1, "plugins": params["state"]})
    program = module.get_bin_path(params["executable"], required=True)
    common = ["--owner", params["owner"]]
    for option in ("root", "prune", "lock_timeout"):
        if params[option] is not None:
            common += ["--" + option.replace("_", "-"), str(params[option])]

    result = {"changed": False}
    if module._diff:
        # The differences for people: a plan is made for that alone, since a diff must not depend on what the run prints.
        command = [program, "--dry-run", "--diff", "--no-json", "-"] + common
        code, out, err = module.run_command(command, data=wanted, environ_update={"NO_COLOR": "1"})
        if code == 0 and err.strip():
            result["diff"] = {"prepared": err}

    command = [program, "--json", "--quiet"] + common
    if module.check_mode:
        command.append("--dry-run")
    else:
        command.append("--yes")
        if params["allow_irreversible"]:
            command.append("--allow-irreversible")
        if params["confirm_within"]:
            command += ["--confirm-within", params["confirm_within"]]
    code, out, err = module.run_command(command + ["-"], data=wanted)
    report = document(out)
    if report is not None:
        result["report"] = report
        result["outcome"] = "planned" if module.check_mode else report.get("outcome")
    if code != 0 or report is None:
        # Undone is no change; what remains is one.
        result["changed"] = code == 4
        module.fail_json(msg="op-apply failed: " + error_of(err), rc=code, **result)
    result["changed"] = bool(report["actions"]) if module.check_mode else report["outcome"] == "applied"
    module.exit_json(**result)


if __name__ == "__main__":
    main()
