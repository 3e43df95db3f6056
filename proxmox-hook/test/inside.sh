#!/bin/bash
# inside.sh : machine.sh's second half. It sets the host name and freezes services, so it runs in such a machine only.
# shellcheck disable=SC2154,SC2034  # lib.sh assigns and reads the rest
set -u
[ -d /op/src ] || { echo "inside.sh: only machine.sh runs this" >&2; exit 64; }
hook=/op/src/proxmox-hook/op-dbus-hook
export OP_DBUS_PROGRAMS=/op/bin
# shellcheck source=lib.sh
. /op/src/proxmox-hook/test/lib.sh
host=''
ln -s /op/bin/op-apply /op/bin/op-query /usr/bin/
mkdir -p /etc/pve/op-dbus/guests
is_named() { [ "$(busctl get-property org.freedesktop.hostname1 /org/freedesktop/hostname1 org.freedesktop.hostname1 "$1")" = "s \"$2\"" ]; }
# eventually COMMAND... : for what a unit does.
eventually() {
  for _ in {1..300}; do "$@" && return 0; sleep 0.1; done
  return 1
}
no_units() { [ -z "$(systemctl list-units --all --no-legend 'op-dbus-hook-*')" ]; }
said() { journalctl --sync; journalctl -t op-dbus-hook -o cat --no-pager | grep -qF -e "$1"; }
want() { printf '{"plugins":{"hostname":{"%s":"%s"}}}' "$1" "$2"; }
# The processes of this name, and no others of the machine's host.
frozen() { pkill -"$1" -x systemd-hostnam; }

# Without the variable that tests set, everything is where a Proxmox host has it.
as_proxmox() {
  local begin=${EPOCHREALTIME/./}
  output=$(cd / && : | env -i "${more[@]}" LC_ALL=C LVM_SUPPRESS_FD_WARNINGS=1 PATH=/sbin:/bin:/usr/sbin:/usr/bin timeout -s KILL 60 "$@" 2>&1)
  code=$?
  took_ms=$(((${EPOCHREALTIME/./} - begin) / 1000))
}
more=()
hostnamectl hostname before

# Drift blocks, changes nothing, and says what and how; what it says is done; then it does not block.
write pve/op-dbus/100.json '{"phases":{"pre-start":{"plugins":{"hostname":{"static_hostname":"web"}}}}}'
write pve/op-dbus/100.policy 'policy=block\n'
run 100 pre-start
ok "drift" is_code 1
ok "drift" is_one_line
ok "drift" says '~ hostname/static_hostname: "before" -> "web"'
ok "drift" is_named StaticHostname before
ok "drift, the journal" eventually said 'Plan '
as_proxmox ${output##*To bring it about: }
ok "brought about" is_code 0
ok "brought about" is_named StaticHostname web
run 100 pre-start
ok "no drift" is_code 0
ok "no drift" says '/etc/pve/op-dbus/100.json holds'
# What cannot be checked blocks, too.
write pve/op-dbus/100.json '{"phases":{"pre-start":{"plugins":{"hostname":{"no_such_key":"web"}}}}}'; run 100 pre-start
ok "a wrong document" is_code 1
ok "a wrong document" says 'plugins.hostname.no_such_key: this plugin has no such key'
rm /etc/pve/op-dbus/100.*

# post-start hands over, and the unit applies it.
write pve/op-dbus/guests/100/post-start.json "$(want static_hostname running)"; run 100 post-start
ok "post-start" is_code 0
ok "post-start" says 'in op-dbus-hook-100-1.service'
ok "post-start" eventually is_named StaticHostname running
ok "post-start" eventually no_units
ok "post-start, the journal" said '100 post-start: applying'
ok "post-start, the journal" said 'static_hostname'
ok "post-start, the record" grep -rqsF 'guest/100' /var/lib/op-dbus/@state
# LXC calls a container's post-stop in a mount namespace of its own, with less.
write pve/op-dbus/guests/100/post-stop.json "$(want static_hostname stopped)"
output=$(cd / && : | unshare --mount env -i LXC_NAME=100 LXC_TARGET=stop PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin "$hook" 100 post-stop 2>&1); code=$?
ok "post-stop of LXC" is_code 0
ok "post-stop of LXC" eventually is_named StaticHostname stopped
ok "post-stop of LXC" eventually no_units

# A failing apply fails no task and leaves no unit behind.
write pve/op-dbus/guests/100/pre-stop.json "$(want no_such_key x)"; run 100 pre-stop
ok "a failing apply" is_code 0
ok "a failing apply" eventually said 'plugins.hostname.no_such_key: this plugin has no such key'
ok "a failing apply" eventually no_units
rm /etc/pve/op-dbus/guests/100/pre-stop.json

# A hanging apply: handed over, it holds up nothing, and the phases after it wait for their turn; so that what is applied
# last is what the last phase asks for. In pre-start it is ended in time.
write pve/op-dbus/guests/100/post-stop.json "$(want pretty_hostname stopped)"
write pve/op-dbus/guests/100/pre-start.json "$(want pretty_hostname starting)"
write pve/op-dbus/guests/100/post-start.json "$(want pretty_hostname started)"
busctl get-property org.freedesktop.hostname1 /org/freedesktop/hostname1 org.freedesktop.hostname1 Hostname >/dev/null
frozen STOP
for phase in post-stop pre-start post-start; do
  run 100 $phase
  ok "hanging, $phase" is_code 0
  ok "hanging, $phase" is_quick 3000
done
sleep 1
ok "hanging, one at a time" [ "$(systemctl list-units --no-legend --state=activating 'op-dbus-hook-*' | wc -l)" = 1 ]
frozen CONT
ok "thawed" eventually no_units
ok "thawed" is_named PrettyHostname started
order=$(journalctl -t op-dbus-hook -o cat --no-pager | sed -n 's/.*Set pretty_hostname to "\(.*\)"/\1/p' | tr '\n' ' ')
ok "thawed, in order" [ "$order" = 'stopped starting started ' ]
for policy in block apply; do
  write pve/op-dbus/guests/100/pre-start.json "$(want pretty_hostname "$policy")"
  write pve/op-dbus/guests/100.policy "policy=$policy\nlimit_s=2\n"
  frozen STOP; run 100 pre-start; frozen CONT
  ok "hanging, $policy" is_code 1
  ok "hanging, $policy" says 'not done after 2 s'
  ok "hanging, $policy" is_quick 25000
  ok "hanging, $policy" is_named PrettyHostname started
  ok "hanging, $policy" not pgrep -x op-apply
done
run 100 pre-start
ok "applied before the start" is_code 0
ok "applied before the start" is_named PrettyHostname apply

# What the README shows is a document that works.
rm -r /etc/pve/op-dbus/guests; sed -n '/^```json/,/^```$/{/^```/!p}' /op/src/proxmox-hook/README.md >/etc/pve/op-dbus/700.json
run simulate
ok "the README's document" says $'guest 700, a guest that is not here:\n  pre-start  exit 0'
ok "the README's document" says '700 pre-start: would apply /etc/pve/op-dbus/700.json, which holds already'
ok "the README's document" says '700 post-start: would apply /etc/pve/op-dbus/700.json: ~ hostname/location: "" -> "rack 4"'
ok "the README's document" is_named Location ''
# The packaged script, as make install puts it, called by op-install.
mkdir -p /usr/share/op-dbus/hook; cp /op/src/proxmox-hook/{op-dbus-hook,manage.sh} /usr/share/op-dbus/hook/
as_proxmox /op/bin/op-install hook simulate --really 700
ok "op-install hook" is_code 0
ok "op-install hook" eventually is_named Location 'rack 4'
ok "op-install hook" eventually no_units
finish machine
