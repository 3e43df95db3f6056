# What the tests of this folder share: a fake host in a temporary folder, a way to run the hookscript in it as Proxmox VE
# does, and counting.
# shellcheck shell=bash disable=SC2034,SC2016
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
hook=${hook:-$here/../op-dbus-hook}
# op-query only reads files here, so it is the real one.
for query in "${OP_DBUS_PROGRAMS:-$here/../../target/debug}/op-query" "$here/../../target/release/op-query" /usr/bin/op-query; do
  [ ! -x "$query" ] || break
done
[ -x "$query" ] || { echo "op-query is not built: cargo build -p op-query" >&2; exit 1; }
hosts=$(mktemp -d)
trap 'rm -rf "$hosts"' EXIT
passed=0 failed=0 code=- output=- took_ms=-
phases='pre-start post-start pre-stop post-stop'

# Each case has a new fake host: what an earlier one left running in the background cannot reach it.
fresh() {
  host=$(mktemp -d "$hosts/XXXXXX")
  mkdir -p "$host"/{usr/bin,usr/sbin,run,etc/pve/op-dbus/guests,etc/op-dbus/guests}
  cp -P "$here"/stand-ins/{op-apply,systemd-run,logger} "$host/usr/bin/"
  cp -P "$here"/stand-ins/{pct,qm,pvesm} "$host/usr/sbin/"
  ln -s "$query" "$host/usr/bin/op-query"
}

# as_proxmox COMMAND... : with a bare environment, / as folder, an empty pipe on standard input, and done only when
# nothing has its output open any more. Sets code, output, took_ms.
as_proxmox() {
  local begin=${EPOCHREALTIME/./}
  output=$(cd / && : | env -i LC_ALL=C LVM_SUPPRESS_FD_WARNINGS=1 PATH=/sbin:/bin:/usr/sbin:/usr/bin \
    OP_DBUS_HOOK_ROOT="$host" timeout -s KILL 40 "$@" 2>&1)
  code=$?
  took_ms=$(((${EPOCHREALTIME/./} - begin) / 1000))
}
run() { as_proxmox "$hook" "$@"; }

# best_of_five COMMAND... : the same five times; took_ms is the shortest.
best_of_five() {
  local best=100000
  for _ in 1 2 3 4 5; do "$@"; [ "$took_ms" -ge "$best" ] || best=$took_ms; done
  took_ms=$best
}

# ok NAME CONDITION... : counts one condition.
ok() {
  local name=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf 'FAILED: %s: %s\n  exit code %s after %s ms, output: %s\n' "$name" "$*" "$code" "$took_ms" "$output"
  fi
}
is_code() { [ "$code" = "$1" ]; }
is_silent() { [ -z "$output" ]; }
is_one_line() { [ "$(wc -l <<<"$output")" = 1 ] && [ ${#output} -le 700 ] && [[ $output == 'GUEST HOOK op-dbus-hook '* ]]; }
says() { [[ $output == *"$1"* ]]; }
not() { ! "$@"; }
is_untouched() { [ ! -e "$host/applied" ] && [ ! -e "$host/handed-over" ]; }
is_quick() { [ "$took_ms" -lt "$1" ]; }
leaves_nothing() { [ -z "$(find "$host/run" -name 'op-dbus-hook.*')" ]; }
# What op-apply was called with, and the document it was given; what runs in the background is waited for.
applied() {
  for _ in {1..100}; do
    [ "$(head -n 1 "$host/applied"),$(tr -d '\n' <"$host/wanted")" != "$1,$2" ] || return 0
    sleep 0.05
  done 2>/dev/null
  return 1
}
handed_over() { grep -qs -e "--no-block .* apply $*\$" "$host/handed-over"; }
journal_has() { grep -qsF -e "$1" "$host/journal"; }
write() { mkdir -p "$(dirname "$host/etc/$1")"; printf '%b' "$2" >"$host/etc/$1"; }
# A document that is told from others by a word; as op-query prints it, too.
document() { printf '{"plugins":{"%s":{}}}' "$1"; }

finish() {
  printf '%s: %s passed, %s failed\n' "$1" "$passed" "$failed"
  [ "$failed" -eq 0 ]
}
