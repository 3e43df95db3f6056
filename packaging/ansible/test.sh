#!/bin/bash
# test.sh : both modules, run by ansible-core on two booted machines: they converge, the second run changes nothing, check mode
# calls nothing that changes (a monitor of the bus looks), a failure fails. Needs root and ansible-core.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
machines=$here/../../tests/machine repository=$(cd "$here/../.." && pwd)
command -v ansible-playbook >/dev/null || { echo "SKIP ansible: ansible-core is not installed"; exit 0; }
work=$(mktemp -d)
cleanup() {
  exec {alive}>&- || true
  for pid in "${booted[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${booted[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
booted=()
mkfifo "$work/alive"
exec {alive}<>"$work/alive"
trap cleanup EXIT
for host in one two; do
  setsid "$machines/boot.sh" --bind "$repository/target/debug:/op/bin" --bind "$repository/mappings:/usr/share/op-dbus/mappings" \
    --pid-file "$work/$host.pid" <"$work/alive" >"$work/$host.ready" {alive}<&- &
  booted+=($!)
done
for host in one two; do
  for _ in {1..1200}; do [ ! -s "$work/$host.ready" ] || break; sleep 0.1; done
  [ -s "$work/$host.ready" ] || { echo "ansible: machine $host did not come up" >&2; exit 1; }
  # Ansible pipes a module into the interpreter; this one's Python is in the machine.
  printf '#!/bin/sh\nexec "%s/run.sh" "$(cat "%s/%s.pid")" /usr/bin/python3 "$@"\n' "$machines" "$work" "$host" >"$work/$host.python"
  chmod +x "$work/$host.python"
  printf '%s ansible_connection=local ansible_python_interpreter=%s\n' "$host" "$work/$host.python" >>"$work/hosts"
done
on() { local host=$1; shift; "$machines/run.sh" "$(cat "$work/$host.pid")" sh -c "$*"; }

mkdir -p "$work/collections/ansible_collections/op_dbus"
ln -s "$here" "$work/collections/ansible_collections/op_dbus/core"
export ANSIBLE_COLLECTIONS_PATH=$work/collections ANSIBLE_PIPELINING=True ANSIBLE_STDOUT_CALLBACK=said ANSIBLE_CALLBACK_PLUGINS=$work/callbacks ANSIBLE_HOME=$work/home \
  ANSIBLE_LOCAL_TEMP=$work/tmp ANSIBLE_REMOTE_TEMP=$work/tmp ANSIBLE_DEPRECATION_WARNINGS=False ANSIBLE_HOST_KEY_CHECKING=False \
  ANSIBLE_NOCOWS=1 ANSIBLE_RETRY_FILES_ENABLED=False
# ansible-core itself prints nothing that a program could read.
mkdir "$work/callbacks"
cat >"$work/callbacks/said.py" <<'CALLBACK'
import json
from ansible.plugins.callback import CallbackBase
class CallbackModule(CallbackBase):
    CALLBACK_VERSION, CALLBACK_TYPE, CALLBACK_NAME = 2.0, "stdout", "said"
    def keep(self, result, **options):
        tasks = self.__dict__.setdefault("tasks", {})
        tasks.setdefault(result._task._uuid, {})[result._host.name] = result._result
    v2_runner_on_ok = v2_runner_on_failed = v2_runner_on_unreachable = v2_runner_on_skipped = keep
    def v2_playbook_on_stats(self, stats):
        hosts = {host: stats.summarize(host) for host in stats.processed}
        print(json.dumps({"tasks": list(self.__dict__.get("tasks", {}).values()), "stats": hosts}))
CALLBACK
cat >"$work/site.yml" <<'PLAY'
- hosts: all
  gather_facts: false
  tasks:
    - op_dbus.core.apply:
        state: {hostname: {location: "rack of {{ inventory_hostname }}"}}
    - op_dbus.core.query: {plugins: [hostname]}
PLAY
cat >"$work/wrong.yml" <<'PLAY'
- hosts: one
  gather_facts: false
  tasks:
    - op_dbus.core.apply:
        state: {hostname: {location: 7}}
PLAY
play() { ansible-playbook -i "$work/hosts" "$@" >"$work/said" 2>"$work/errors" || { code=$?; return $code; }; }
says() { jq -e "$1" "$work/said" >/dev/null || { echo "ansible: $2" >&2; cat "$work/said" "$work/errors" >&2; exit 1; }; }
shown() { echo "ansible: FAILED: $1" >&2; cat "$work/said" "$work/errors" >&2; exit 1; }

on one 'hostnamectl --json=short >/dev/null'   # its answers begin when it runs
on one 'exec busctl monitor org.freedesktop.hostname1 --match "type=method_call,interface=org.freedesktop.hostname1"' >"$work/calls" 2>/dev/null &
monitor=$!
sleep 1
play --check --diff "$work/site.yml" || shown "check mode"
says '[.tasks[0][] | .changed] == [true, true]' "check mode sees that there is something to do"
says '[.tasks[0][] | .diff.prepared | test("rack of")] == [true, true]' "diff mode shows it"
says '[.tasks[1][] | .ansible_facts.op_dbus.hostname.location] == ["", ""]' "check mode changes nothing"
! grep -q Member=SetLocation "$work/calls" || shown "check mode called SetLocation"
play "$work/site.yml" || shown "the first run"
says '.stats.one.changed == 1 and .stats.two.changed == 1' "the first run changes both"
says '[.tasks[1] | .one, .two | .ansible_facts.op_dbus.hostname.location] == ["rack of one", "rack of two"]' "they have converged"
for _ in {1..50}; do ! grep -q Member=SetLocation "$work/calls" || break; sleep 0.1; done
grep -q Member=SetLocation "$work/calls" || shown "the monitor saw no call at all, so it proves nothing"
kill "$monitor" 2>/dev/null || true
[ "$(on two 'hostnamectl --json=short | jq -r .Location')" = 'rack of two' ] || shown "hostnamectl says otherwise"
play "$work/site.yml" || shown "the second run"
says '.stats.one.changed == 0 and .stats.two.changed == 0 and .stats.one.ok == 2' "the second run changes nothing"
! play "$work/wrong.yml" || shown "a wrong document does not fail"
says '.stats.one.failures == 1 and (.tasks[0].one.msg | test("location"))' "the failure says what is wrong"
echo "ansible: both modules on two machines: check, diff, converge, again, fail"
