#!/bin/bash
# install.sh : the hookscript's installer and `simulate` on fake hosts, where pct, qm and pvesm are stand-ins that keep
# Proxmox VE's checks, messages, exit codes, locks and files.
# shellcheck disable=SC2154,SC2034  # lib.sh assigns and reads the rest
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
ours=local:snippets/op-dbus-hook

# A node `pve1` of a cluster of two, with the hook as the package brings it: containers 100 and 101 and virtual machine 200
# here, container 300 on pve2.
node() {
  fresh
  mkdir -p "$host"/etc/pve/nodes/pve{1,2}/{lxc,qemu-server} "$host/usr/share/op-dbus/hook" "$host/mnt/pve/shared"
  cp "$here"/../op-dbus-hook "$here"/../manage.sh "$host/usr/share/op-dbus/hook/"
  hook=$host/usr/share/op-dbus/hook/op-dbus-hook script=$host/var/lib/vz/snippets/op-dbus-hook
  ln -s nodes/pve1 "$host/etc/pve/local"
  local conf
  for conf in pve1/lxc/100 pve1/lxc/101 pve1/qemu-server/200 pve2/lxc/300; do
    printf '#its description\narch: amd64\nhostname: g\nmemory: 512\n\n[before]\nhookscript: local:snippets/of-the-snapshot\nmemory: 256\n' \
      >"$host/etc/pve/nodes/$conf.conf"
  done
}
conf() { echo "$host"/etc/pve/nodes/*/*/"$1".conf; }
# The hookscript that a guest has, as its file says.
has() { [ "$(sed -n '/^\[/q; s/^hookscript: //p' "$(conf "$1")")" = "$2" ]; }
calls() { [ "$(cat "$host/tools" 2>/dev/null)" = "$1" ]; }
# own VMID NAME TEXT : gives a guest a hookscript of its own.
own() {
  mkdir -p "${script%/*}"
  printf '#!/bin/bash\necho "own %s $*"; env | sort >%q; readlink /proc/$$/fd/0 >%q; %s\n' "$2" "$host/its-env" "$host/its-stdin" "$3" >"${script%/*}/$2"
  chmod +x "${script%/*}/$2"
  "$host/usr/sbin/pct" set "$1" --hookscript "local:snippets/$2" 2>/dev/null || "$host/usr/sbin/qm" set "$1" --hookscript "local:snippets/$2" >/dev/null
  : >"$host/tools"
}

# Containers and virtual machines get it, each by its own tool; the rest of their files stays. Again changes nothing.
node; before=$(cat "$(conf 100)"); run install 100 200
ok "install" is_code 0
ok "install" calls "pct set 100 --hookscript $ours"$'\n'"qm set 200 --hookscript $ours"
ok "install" has 100 $ours
ok "install" has 200 $ours
ok "install" has 101 ''
ok "install, the script" [ "$(readlink "$script")" = "$hook" ]
ok "install, the other nodes" says "moves to node pve2 starts there only if $script is there"
ok "install, the rest of the file" [ "$(grep -v "^hookscript: $ours" "$(conf 100)")" = "$before" ]
: >"$host/tools"; run install 100 200
ok "install again" is_code 0
ok "install again" says '100: has it already'
ok "install again" calls ''
run install --unhook 200 100
ok "unhook" is_code 0
ok "unhook" calls "qm set 200 --delete hookscript"$'\n'"pct set 100 --delete hookscript"
ok "unhook, the file" [ "$(cat "$(conf 100)")" = "$before" ]
ok "unhook, the script stays" [ -x "$script" ]
: >"$host/tools"; run install --unhook 100
ok "unhook again" is_code 0
ok "unhook again" says '100: does not have it'
ok "unhook again" calls ''

# Proxmox runs it from there: its phases work, and so does install of the linked script.
node; run install 100; hook=$script; write pve/op-dbus/100.json '{"plugins":{}}'; run 100 post-start
ok "the linked script" handed_over 100 post-start
ok "the linked script, its unit" grep -qF " $script apply 100 post-start" "$host/handed-over"
run install 101
ok "the linked script installs" has 101 $ours

# Another storage gets a copy, which is kept up to date and never overwrites what is something else.
node; run install --storage shared 100; copy=$host/mnt/pve/shared/snippets/op-dbus-hook
ok "another storage" has 100 shared:snippets/op-dbus-hook
ok "another storage" cmp -s "$copy" "$hook"
ok "another storage" [ ! -L "$copy" ]
echo '# older' >>"$copy"; run install --storage shared 100
ok "an older copy" cmp -s "$copy" "$hook"
hook=$copy; run install --unhook 100
ok "a copy unhooks, the package being there" has 100 ''
rm "$host/usr/share/op-dbus/hook/manage.sh"; run install 100
ok "a copy, the package being gone" is_code 69
ok "a copy, the package being gone" says 'install op-dbus on this node'
node; mkdir -p "${script%/*}"; printf '#!/bin/sh\necho mine\n' >"$script"; run install 100
ok "a stranger of that name" is_code 65
ok "a stranger of that name" says "$script: there is another file of this name"
ok "a stranger of that name" grep -q mine "$script"
node; mkdir -p "${script%/*}"; printf '#!/bin/sh\n# op-dbus-hook is not installed any more\nexit 0\n' >"$script"; run install 100
ok "what an uninstalled package left" [ "$(readlink "$script")" = "$hook" ]
node; run install --storage shared 100; run install 100
ok "from storage to storage" has 100 $ours
ok "from storage to storage" [ ! -e "$host/etc/pve/op-dbus/guests/100.hookscript" ]

# A guest that has a hookscript keeps it: it is called after ours, with Proxmox's own environment, and given back.
for vmid in 100 200; do
  node; own $vmid own.sh true; run install $vmid
  ok "kept, $vmid" is_code 0
  ok "kept, $vmid" says "$vmid: has it now; its own hookscript local:snippets/own.sh is called after it"
  ok "kept, $vmid" has $vmid $ours
  run install $vmid
  ok "kept, $vmid, again" says 'has it already'
  hook=$script
  for phase in $phases pre-clone; do
    run $vmid $phase
    ok "kept, $vmid $phase" is_code 0
    ok "kept, $vmid $phase" says "own own.sh $vmid $phase"
    ok "kept, $vmid $phase" grep -qx PATH=/sbin:/bin:/usr/sbin:/usr/bin "$host/its-env"
    ok "kept, $vmid $phase" not grep -q ^HOME= "$host/its-env"
  done
  write pve/op-dbus/$vmid.json '{"plugins":{}}'; run $vmid post-start
  ok "kept, $vmid, after ours" [ "${output##*$'\n'}" = "own own.sh $vmid post-start" ]
  run 101 post-start
  ok "kept, not another guest's" is_silent
  run install --unhook $vmid
  ok "given back, $vmid" says "$vmid: does not have it any more; its own hookscript local:snippets/own.sh is back"
  ok "given back, $vmid" has $vmid local:snippets/own.sh
  ok "given back, $vmid" [ ! -e "$host/etc/pve/op-dbus/guests/$vmid.hookscript" ]
done
# Its failure is what it was: an aborted start, and elsewhere a line.
node; own 100 own.sh 'exit 24'; run install 100; hook=$script
for phase in $phases; do
  run 100 $phase
  expected=0
  [ "$phase" != pre-start ] || expected=24
  ok "kept and failing, $phase" is_code $expected
  ok "kept and failing, $phase" says 'local:snippets/own.sh, the hookscript the guest had, ended with 24'
done
rm "${script%/*}/own.sh"; run 100 pre-start
ok "kept and gone" is_code 127
ok "kept and gone" says 'own.sh'
run install --unhook 100
ok "kept and gone, unhook" is_code 1
ok "kept and gone, unhook" says "script 'local:snippets/own.sh' does not exist; pct set 100 --delete hookscript takes this one away"
ok "kept and gone, unhook" has 100 $ours
# A start that we block does not come to it.
node; own 100 own.sh true; run install 100; hook=$script
write pve/op-dbus/100.json '{"plugins":{}}'; write pve/op-dbus/100.policy 'policy=block'; echo 'exit 2' >"$host/behave"; run 100 pre-start
ok "kept and blocked" is_code 1
ok "kept and blocked" not says 'own own.sh'
# Somebody else set another since: that is left.
node; own 100 own.sh true; run install 100; own 100 newer.sh true; run install --unhook 100
ok "replaced since" is_code 0
ok "replaced since" says '100: does not have it, but local:snippets/newer.sh'
ok "replaced since" has 100 local:snippets/newer.sh
ok "replaced since" [ ! -e "$host/etc/pve/op-dbus/guests/100.hookscript" ]
# What an earlier guest of this number had is not this one's.
node; echo 'volume=local:snippets/own.sh' >"$host/etc/pve/op-dbus/guests/100.hookscript"; run install 100
ok "an earlier guest's" [ ! -e "$host/etc/pve/op-dbus/guests/100.hookscript" ]
# Ours under another name would call itself for ever.
node; own 100 own.sh true; cp "$hook" "${script%/*}/own.sh"; run install 100
ok "itself" is_code 1
ok "itself" says 'is this one under another name'
ok "itself" has 100 local:snippets/own.sh

# What is refused is refused before any guest is touched, and says what to do.
refused() {
  local expected=$1 sentence=$2
  shift 2
  run "$@"
  ok "refused $*" is_code "$expected"
  ok "refused $*" says "$sentence"
  ok "refused $*" calls ''
}
node; refused 65 '999: no node has such a guest' install 100 999
node; refused 65 '300: it is on node pve2, and this is pve1: run this there' install 100 300
node; refused 65 '300: it is on node pve2' install --unhook 100 300
node; refused 64 'x: a guest is named by its number' install 100 x
node; refused 64 '--storage STORE' install
node; refused 64 '--storage STORE' install --storage
node; refused 65 "nowhere: storage 'nowhere' does not exist" install --storage nowhere 100
node; refused 65 'it must be a storage of files' install --storage lvm 100
node; rm "$host/etc/pve/local"; refused 69 'this is no Proxmox VE node, or pve-cluster.service does not run' install 100
node; rm "$host/usr/sbin/pvesm"; refused 69 'pvesm is not installed' install 100
node; rm "$host/usr/sbin/qm"; refused 69 '200: qm is not installed' install 100 200
# Without a quorum nothing of /etc/pve can be written: the old one stays.
node; own 100 own.sh true; rmdir "$host/etc/pve/op-dbus/guests"; touch "$host/etc/pve/op-dbus/guests"
refused 1 'its hookscript local:snippets/own.sh was left: without a quorum /etc/pve is read-only' install 100
ok "nothing to keep it in" has 100 local:snippets/own.sh
# One guest's failure is told, the others are done, and nothing is kept of it.
node; own 100 own.sh true; echo 'only root can set '"'hookscript'"' config' >"$host/tool-fails"; run install 100
ok "pct fails" is_code 1
ok "pct fails" says "100: pct set ended with 255: only root can set 'hookscript' config"
ok "pct fails" [ ! -e "$host/etc/pve/op-dbus/guests/100.hookscript" ]
# A guest that is just being started or stopped is locked.
node; mkdir -p "$host/run/lock/lxc"; flock --no-fork "$host/run/lock/lxc/pve-config-100.lock" sleep 60 & locked=$!
sleep 0.3; run install 100 200
ok "locked" is_code 1
ok "locked" says "100: pct set ended with 4: can't lock file '/run/lock/lxc/pve-config-100.lock' - got timeout"
ok "locked, the other" has 200 $ours
# Meanwhile its phases do not wait for that lock.
write pve/op-dbus/100.json '{"plugins":{}}'; run 100 post-start
ok "locked, post-start" is_quick 2000
ok "locked, post-start" handed_over 100 post-start
kill $locked; wait $locked 2>/dev/null
# As anybody else than root.
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
  node; chmod 755 "$hosts" "$host"
  output=$(cd / && env -i setpriv --reuid=65534 --regid=65534 --clear-groups "$hook" install 100 2>&1); code=$?
  ok "not root" is_code 77
  ok "not root" says 'only root@pam may set a hookscript: run this as root'
fi

# simulate: every phase, nothing changed; --really does it.
node; own 100 own.sh true; run install 100; hook=$script
write pve/op-dbus/guests/100/post-start.json '{"plugins":{"it":{}}}'; write pve/op-dbus/guests/100/pre-start.json '{"plugins":{"it":{}}}'
write pve/op-dbus/guests/100.policy 'policy=block'; write op-dbus/200.json '{"phases":{"post-stop":{"plugins":{"it":{}}}}}'
printf '%s\n' "echo '~ hostname/x: 1 -> 2'" 'exit 2' >"$host/behave"
: >"$host/journal"; run simulate
ok "simulate" is_code 0
ok "simulate" says $'guest 100, a container:\n  pre-start  exit 1 after '
ok "simulate" says 'start blocked'
ok "simulate" says 'Proxmox would abort the start'
ok "simulate" says "100 post-start: would apply $host/etc/pve/op-dbus/guests/100/post-start.json: ~ hostname/x: 1 -> 2"
ok "simulate" says '100 pre-stop: would call local:snippets/own.sh'
ok "simulate" says 'guest 200, a virtual machine:'
ok "simulate" says "200 post-stop: would apply $host/etc/op-dbus/200.json"
ok "simulate" not says 'own own.sh'
ok "simulate" [ ! -e "$host/handed-over" ]
ok "simulate" [ ! -s "$host/journal" ]
ok "simulate" not grep -q -e --yes "$host/applied"
run simulate 200
ok "simulate 200" not says 'guest 100'
run simulate 4711
ok "simulate a guest that is not here" says $'guest 4711, a guest that is not here:\n  pre-start  exit 0'
echo 'exit 0' >"$host/behave"; run simulate --really 100
ok "simulate --really" is_code 0
ok "simulate --really" says "applying $host/etc/pve/op-dbus/guests/100/post-start.json in op-dbus-hook-100-1.service"
ok "simulate --really" says 'own own.sh 100 post-stop'
ok "simulate --really" handed_over 100 post-start
ok "simulate --really, post-stop's environment" grep -qx LXC_TARGET=stop "$host/its-env"
ok "simulate --really, post-stop's environment" grep -qx PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin "$host/its-env"
ok "simulate --really, post-stop's environment" not grep -qx -e 'HOME=.*' -e 'OP_DBUS_HOOK_DRY_RUN=.*' "$host/its-env"
node; run simulate
ok "simulate nothing" is_code 65
ok "simulate nothing" says 'no guest has a document'
finish install
