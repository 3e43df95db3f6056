#!/bin/bash
# test.sh [BUILT] : the package on booted machines and in a copy of this one: made, installed, upgraded, refused to be removed,
# removed, purged, installed again. BUILT is the folder of the programs (target/debug); a program that is not there is left
# out and named. Needs root.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
machines=$repository/tests/machine
export BUILT=${1:-$repository/target/debug}
PROGRAMS=''
for program in $(sed -n 's/^PROGRAMS := //p' "$repository/Makefile"); do
  if [ -x "$BUILT/$program" ]; then PROGRAMS+="$program "; else echo "debian: without $program, which is not in $BUILT"; fi
done
export PROGRAMS
work=$(mktemp -d) passed=0 failed=0 booted=''
trap 'stop; rm -rf "$work"' EXIT

# ---- what is looked at
count() { if [ "$1" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $2" >&2; [ ! -s "$work/said" ] || tail -n 15 "$work/said" >&2; fi; }
ok() { local what=$1; shift; "$@" >"$work/said" 2>&1; count $? "$what"; }
no() { local what=$1; shift; ! "$@" >"$work/said" 2>&1; count $? "$what"; }
is() { echo "got: $3" >"$work/said"; [ "$2" = "$3" ]; count $? "$1: expected $2"; }
has() { grep -qF -- "$2" "$work/said"; count $? "$1: expected $2"; }

# ---- a machine
start() {
  rm -f "$work"/{alive,ready,pid}
  mkfifo "$work/alive"
  exec {alive}<>"$work/alive"
  setsid "$machines/boot.sh" --bind "$work/debs:/op/debs" --pid-file "$work/pid" <"$work/alive" >"$work/ready" {alive}<&- &
  booted=$!
  ready 1
}
# Waits until it has been ready NUMBER times: once more for each reboot.
ready() {
  for _ in {1..1500}; do
    [ "$(grep -c ^ready "$work/ready")" -lt "$1" ] || return 0
    kill -0 "$booted" 2>/dev/null || break
    sleep 0.1
  done
  echo "debian: the machine did not come up" >&2
  exit 1
}
stop() {
  [ -n "$booted" ] || return 0
  exec {alive}>&-
  wait "$booted" 2>/dev/null
  booted=''
}
on() { "$machines/run.sh" "$(cat "$work/pid")" bash -c "$*" {alive}<&-; }
until_on() { for _ in {1..300}; do ! on "$@" >/dev/null 2>&1 || return 0; sleep 0.1; done; return 1; }
apt() { on "DEBIAN_FRONTEND=noninteractive apt-get -o Dpkg::Use-Pty=0 -qq -y $*"; }
install() { apt --allow-downgrades install "/op/debs/op-dbus_$1_$architecture.deb"; }
location() { on 'hostnamectl --json=short | jq -r .Location'; }
want() { on "printf '%s' '$1' >/etc/op-dbus/state.json"; }
residue() { on "find / -xdev \( -path /proc -o -path /sys -o -path /op -o -path /var/log -o -path /tmp \) -prune -o -name '*op-dbus*' -print | sort"; }
architecture=$(dpkg --print-architecture)

# ---- making it
for version in 0.1.0 0.2.0; do
  VERSION=$version COMPRESSION=gzip LEVEL=1 SOURCE_DATE_EPOCH=1700000000 "$here/build.sh" "$work/debs" >"$work/said" 2>&1
  count $? "build $version"
done
one=$work/debs/op-dbus_0.1.0_$architecture.deb
VERSION=0.1.0 COMPRESSION=gzip LEVEL=1 SOURCE_DATE_EPOCH=1700000000 "$here/build.sh" "$work/again" >/dev/null
ok 'the same sources make the same package' cmp "$one" "$work/again/${one##*/}"
rm -r "$work/again"
if command -v lintian >/dev/null; then
  lintian --allow-root --fail-on=error,warning "$one" >"$work/said" 2>/dev/null
  count $? lintian
  is 'lintian has nothing to say' '' "$(cat "$work/said")"
else
  echo "SKIP packaging-lintian: lintian is not installed"
fi

# ---- installed, it waits for a state, and keeps it
start
before=$(on 'hostnamectl --json=short')
ok 'install' install 0.1.0
for unit in op-dbus.service op-dbus-recover.service op-dbus.path op-dbus-snapshot.timer op-dbus-drift.timer; do
  is "$unit is enabled" enabled "$(on systemctl is-enabled $unit)"
done
is 'what is for embeddings is not enabled' disabled "$(on systemctl is-enabled op-dbus-warm.service)"
is 'the path and the timers wait' 'active active active' "$(on systemctl is-active op-dbus.path op-dbus-snapshot.timer op-dbus-drift.timer | xargs)"
is 'nothing is applied' inactive "$(on systemctl is-active op-dbus.service)"
is 'nothing is changed' "$before" "$(on 'hostnamectl --json=short')"
ok 'the plugins are there' on 'op-install list --json | grep -q networkmanager'
ok 'completions and schemas are there' on 'ls /usr/share/bash-completion/completions/op-apply /usr/share/zsh/vendor-completions/_op-dbus /usr/share/fish/vendor_completions.d/op-apply.fish /usr/share/op-dbus/schemas/state.schema.json'
want '{'
ok 'a document that is none fails' until_on '[ "$(systemctl is-failed op-dbus.service)" = failed ]'
is '... and changes nothing' "$before" "$(on 'hostnamectl --json=short')"
want '{"plugins":{"hostname":{"location":"rack 4"},"net":{"interfaces":{"opbr0":{"type":"linux-bridge","state":"up"}}}}}'
ok 'it converges when the document changes' until_on 'hostnamectl --json=short | grep -q "rack 4" && ip link show opbr0 && systemctl is-active op-dbus.service'
ok 'nothing has drifted' on systemctl start op-dbus-drift.service
on "hostnamectl location elsewhere"
no 'drift is seen' on systemctl start op-dbus-drift.service
is 'looking changes nothing' elsewhere "$(location)"
ok 'systemctl restart op-dbus converges' on systemctl restart op-dbus
is '... indeed' 'rack 4' "$(location)"
ok 'snapshots are taken' on 'op-snapshot init && systemctl start op-dbus-snapshot.service && systemctl start op-dbus-snapshot.service'
is '... one for each hour' 1 "$(on 'op-snapshot list --json | jq ".snapshots | length"')"
on 'hostnamectl location elsewhere'
on 'systemctl reboot'
ready 2
ok 'it converges at boot' until_on 'hostnamectl --json=short | grep -q "rack 4" && ip link show opbr0 && systemctl is-active op-dbus.service'
ok 'all of it is on record' on op-audit verify
ok 'systemctl status says how it ended' on 'systemctl show -P StatusText op-dbus.service | grep "as wanted\|verified"'
ok 'op-dbus doctor finds nothing broken' on 'op-dbus doctor --no-json'
has '... the units neither' 'applying, recovering, snapshots and the look for drift are enabled'
on 'systemctl disable -q op-dbus-drift.timer; op-dbus doctor --no-json' >"$work/said" 2>&1
has 'op-dbus doctor says what mends it' 'systemctl enable --now op-dbus-drift.timer'
on 'systemctl enable -q op-dbus-drift.timer'

# ---- removing is refused while it would strand the machine
refused() {   # WHAT WORDS...
  local what=$1 word
  shift
  no "$what" apt remove op-dbus
  for word; do has "$what" "$word"; done
  is "$what: it stays installed" installed "$(on "dpkg-query -W -f '\${db:Status-Status}' op-dbus")"
  is "$what: it stays at work" active "$(on systemctl is-active op-dbus.path)"
}
on 'op-apply --yes --confirm-within 10min - <<<"{\"plugins\":{\"hostname\":{\"location\":\"rack 7\"}}}"' >"$work/said" 2>&1
count $? 'a change that waits to be confirmed'
refused 'a pending change' 'waits to be confirmed' 'op-apply confirm' 'op-apply revert'
# A run at work and a plugin that a kill left half installed do not stand in its way, and it not in theirs.
on 'mkdir -p /var/lib/op-dbus/.staging-install-99999 && touch /var/lib/op-dbus/.staging-install-99999/plugin.toml'
on 'flock /var/lib/op-dbus/@state/lock sleep 600' & holder=$!
ok 'the lock is held' until_on '! flock --nonblock /var/lib/op-dbus/@state/lock true'
ok 'an upgrade meanwhile' install 0.2.0
ok 'the run goes on' kill -0 $holder
on 'pkill -x sleep'
wait "$holder"
ok 'what was half installed is swept' on 'op-install list --json >/dev/null && op-snapshot rotate >/dev/null && ! ls -d /var/lib/op-dbus/.staging-install-*'
is 'it still waits' 1 "$(on 'op-apply pending --json | jq ".runs | length"')"
ok 'the new program takes it back' on op-apply revert
is '... indeed' 'rack 4' "$(location)"
on 'flock /var/lib/op-dbus/@state/lock sleep 600' & holder=$!
ok 'the lock is held' until_on '! flock --nonblock /var/lib/op-dbus/@state/lock true'
refused 'a run at work' 'a run of op-apply is at work'
on 'pkill -x sleep'
wait "$holder"
on 'mkdir -p /etc/pve/nodes/{here,there}/{lxc,qemu-server} /var/lib/vz/snippets && ln -s nodes/here /etc/pve/local
  ln -s /usr/share/op-dbus/hook/op-dbus-hook /var/lib/vz/snippets/op-dbus-hook
  echo "hookscript: local:snippets/op-dbus-hook" | tee /etc/pve/nodes/here/lxc/100.conf >/etc/pve/nodes/there/lxc/200.conf'
refused 'a guest with the hookscript' 100 'op-install hook --unhook 100'
# In a snapshot of the guest it does not count.
on 'printf "arch: amd64\n\n[before]\nhookscript: local:snippets/op-dbus-hook\n" >/etc/pve/nodes/here/lxc/100.conf'
ok 'without it, it goes' apt remove op-dbus
ok 'a hookscript that does nothing stays' on '/var/lib/vz/snippets/op-dbus-hook 200 pre-start'
ok 'purging' apt purge op-dbus
has 'purging leaves it while another guest names it' 'still name it'
ok '... indeed' on '/var/lib/vz/snippets/op-dbus-hook 200 pre-start'
ok 'installed again' install 0.2.0
ok '... it is the real one' on 'grep -q apply_in_foreground /var/lib/vz/snippets/op-dbus-hook'
on 'rm -r /etc/pve'
ok 'purging once more' apt purge op-dbus
is 'no link is left' '' "$(on 'ls /var/lib/vz/snippets')"
stop

# ---- upgrading, removing and installing again lose no data; purging asks
start
clean=$(residue)
ok 'install' install 0.1.0
on 'systemctl disable --now op-dbus-drift.timer; systemctl mask op-dbus-snapshot.timer' 2>/dev/null
on 'sed -i "s/\[\]/[ ]/" /etc/op-dbus/acknowledged.json'
want '{"plugins":{"hostname":{"location":"rack 4"}}}'
ok 'it converges' until_on 'hostnamectl --json=short | grep -q "rack 4" && systemctl is-active op-dbus.service'
on 'op-snapshot init && op-snapshot rotate' >/dev/null
record=$(on op-audit log --json)
ok 'upgrade' install 0.2.0
is 'it is the new one' 0.2.0 "$(on "dpkg-query -W -f '\${Version}' op-dbus")"
is 'what is disabled or masked stays so' 'disabled masked' "$(on systemctl is-enabled op-dbus-drift.timer op-dbus-snapshot.timer | xargs)"
is 'what is not started stays so' 'active inactive' "$(on systemctl is-active op-dbus.service op-dbus-drift.timer | xargs)"
ok 'a changed conffile stays' on 'grep -qF "[ ]" /etc/op-dbus/acknowledged.json'
ok 'downgrade' install 0.1.0
is 'neither applies anything' "$record" "$(on op-audit log --json)"
on 'systemctl unmask op-dbus-snapshot.timer' 2>/dev/null
ok 'remove' apt remove op-dbus
no 'the programs are gone' on command -v op-apply
is 'the system runs, and no unit of it' running "$(on 'systemctl is-system-running; systemctl list-units --state=active -q "op-dbus*"')"
ok 'the data stay' on 'test -s /etc/op-dbus/state.json && test -d /var/lib/op-dbus/@timing/blocks'
on 'hostnamectl location elsewhere'
ok 'install again' install 0.1.0
is 'the record is there' "$record" "$(on op-audit log --json)"
is 'installing applies nothing' elsewhere "$(location)"
ok 'purge, and nobody answers' apt purge op-dbus
has 'the data stay' '/var/lib/op-dbus stays'
ok '... indeed' on 'test -s /etc/op-dbus/state.json && test -d /var/lib/op-dbus/@timing/blocks'
ok 'install again' install 0.1.0
is 'the record is there' "$record" "$(on op-audit log --json)"
on 'echo "op-dbus op-dbus/purge-data boolean true" | debconf-set-selections'
ok 'purge, and the answer is yes' apt purge op-dbus
is 'nothing is left, sealed subvolumes included' "$clean" "$(residue)"
is 'not even an answer' running "$(on 'debconf-show op-dbus; btrfs subvolume list -o / | grep op-dbus/@; systemctl is-system-running')"
ok 'install once more' install 0.2.0
stop

# ---- where neither systemd nor a bus runs: this machine's own Debian
copy=$repository/tests/deb/here.sh
ok 'where nothing runs' "$copy" "$one" '
  dpkg -i /root/op-dbus.deb
  op-dbus --version; op-install list --json | grep -q hostname; op-snapshot doctor --json; test -d /etc/op-dbus/secrets
  dpkg -r op-dbus; dpkg -P op-dbus
  for left in /etc/op-dbus /usr/share/op-dbus /usr/share/doc/op-dbus; do test ! -e $left; done'
ok 'a full disk leaves the old version working' "$copy" "$one" '
  dpkg -i /root/op-dbus.deb >/dev/null
  before=$(sha256sum /usr/bin/op-apply)
  dd if=/dev/zero of=/root/full bs=1M 2>/dev/null || true
  ! dpkg -i /root/op-dbus.deb || exit 3
  op-apply --version
  test "$(sha256sum /usr/bin/op-apply)" = "$before"
  rm /root/full
  dpkg -i /root/op-dbus.deb
  dpkg-query -W -f "\${db:Status-Status}\n" op-dbus | grep -x installed'
grep -q 'No space left' "$work/said"; count $? 'the disk was full indeed'

# ---- without a package
PREFIX=/opt/op DESTDIR=$work/tree "$repository/packaging/install.sh" >"$work/said" 2>&1
count $? 'make install'
ok 'units name the prefix' grep -q '^ExecStart=/opt/op/bin/op-apply ' "$work/tree/opt/op/lib/systemd/system/op-dbus.service"
PREFIX=/opt/op DESTDIR=$work/tree "$repository/packaging/uninstall.sh" >"$work/said" 2>&1
count $? 'make uninstall'
is 'what may be changed stays, and nothing else' etc/op-dbus/acknowledged.json "$(cd "$work/tree" && find . -not -type d -printf '%P\n')"
rm -r "$work/tree"

# ---- archives
dpkg -x "$one" "$work/unpacked"
minisign -G -W -p "$work/key.pub" -s "$work/key" >/dev/null
for turn in first second; do
  BUILT=$work/unpacked/usr/bin ZSTD_CLEVEL=1 "$repository/packaging/dist.sh" "$work/$turn" "$work/key" >"$work/said" 2>&1
  count $? "make dist, the $turn time"
done
ok 'the archives are the same each time' cmp "$work/first/SHA256SUMS" "$work/second/SHA256SUMS"
ok 'their sums are right' env -C "$work/first" sha256sum --quiet -c SHA256SUMS
for file in "$work"/first/SHA256SUMS "$work"/first/*.tar.* "$work"/first/*.json; do
  case $file in *.minisig) ;; *) ok "${file##*/} is signed" minisign -V -q -p "$work/key.pub" -m "$file" ;; esac
done
ok 'a program, its page and its unit are in it' env -C "$work" tar -tf "$(echo "$work"/first/*-linux.tar.zst)" ./usr/bin/op-apply ./usr/share/man/man1/op-apply.1 ./usr/lib/systemd/system/op-dbus.service
ok 'the bill of materials has what is compiled in, with licences, and nothing of the tests' jq -e '
  .bomFormat == "CycloneDX" and ([.components[].name] | contains(["zbus", "op-apply"]) and (index("tempfile") | not)) and
  all(.components[]; .licenses)' "$(echo "$work"/first/*.cdx.json)"

echo "debian: $passed passed, $failed failed"
[ "$failed" = 0 ]
