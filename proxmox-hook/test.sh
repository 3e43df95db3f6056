#!/bin/bash
# test.sh [HOOK] : runs the hookscript (./op-hook, or another one) as Proxmox VE does, for every phase and failure, on a
# fake host in a temporary folder where op-apply and systemd-run are stand-ins. The last line counts; any
# failure makes the exit code 1.
set -u
hook=$(readlink -f "${1:-"${BASH_SOURCE[0]%/*}/op-hook"}")
hosts=$(mktemp -d)
trap 'rm -rf "$hosts"' EXIT
passed=0 failed=0 code=- output=- took_ms=-

# Each case has a new fake host: what an earlier one left running in the background cannot reach it.
fresh() {
  host=$(mktemp -d "$hosts/XXXXXX")
  mkdir -p "$host"/{usr/bin,run,etc/pve/op-dbus,etc/op-dbus/guests}
  # op-apply: writes down how it was called, then behaves as $host/behave says.
  cat >"$host/usr/bin/op-apply" <<'EOF'
#!/bin/bash
host=${0%/usr/bin/*}
trap 'echo term >>"$host/signals"; exit 1' TERM
{ printf '%s\n' "$*"; readlink /proc/$$/fd/0; } >>"$host/applied"
[ ! -e "$host/behave" ] || . "$host/behave"
EOF
  # systemd-run: like the real one, the command is not a child that holds the caller's descriptors.
  cat >"$host/usr/bin/systemd-run" <<'EOF'
#!/bin/bash
host=${0%/usr/bin/*}
printf '%s\n' "$*" >>"$host/handed-over"
[ ! -e "$host/systemd-fails" ] || exit 1
while [[ $1 == --* ]]; do shift; done
setsid "$@" </dev/null >>"$host/journal" 2>&1 &
EOF
  chmod +x "$host"/usr/bin/*
}

# run VMID PHASE... : the hookscript as Proxmox runs it: bare environment, cwd /, an empty pipe on stdin, and done only
# when nothing has its output open any more. Sets code, output, took_ms.
run() {
  local begin=${EPOCHREALTIME/./}
  output=$(cd / && : | env -i LC_ALL=C LVM_SUPPRESS_FD_WARNINGS=1 PATH=/sbin:/bin:/usr/sbin:/usr/bin \
    OP_DBUS_HOOK_ROOT="$host" timeout -s KILL 20 "$hook" "$@" 2>&1)
  code=$?
  took_ms=$(((${EPOCHREALTIME/./} - begin) / 1000))
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
is_one_line() { [ "$(wc -l <<<"$output")" = 1 ] && [ ${#output} -le 400 ] && [[ $output == 'GUEST HOOK op-hook '* ]]; }
says() { [[ $output == *"$1"* ]]; }
is_untouched() { [ ! -e "$host/applied" ] && [ ! -e "$host/handed-over" ]; }
is_quick() { [ "$took_ms" -lt "$1" ]; }
leaves_nothing() { [ -z "$(ls -A "$host/run")" ]; }
# What op-apply was called with, first line; what it ran in the background is waited for.
applied() {
  for _ in {1..100}; do [ -s "$host/applied" ] && break; sleep 0.05; done
  [ "$(head -n 1 "$host/applied" 2>/dev/null)" = "$1" ]
}
document() { echo '{"plugins":{}}' >"$host/etc/$1"; }
policy() { printf '%b' "$2" >"$host/etc/$1"; }

# A guest without a document: nothing, in every phase, at once.
for phase in pre-start post-start pre-stop post-stop; do
  fresh
  best=100000
  for _ in 1 2 3 4 5; do run 100 $phase; [ "$took_ms" -ge "$best" ] || best=$took_ms; done
  took_ms=$best
  ok "no document, $phase" is_code 0
  ok "no document, $phase" is_silent
  ok "no document, $phase" is_untouched
  ok "no document, $phase, the best of five" is_quick 100
done

# Another guest's document is not this guest's.
fresh; document pve/op-dbus/1001.json; run 100 post-start
ok "another guest's document" is_untouched

# post-start hands over and returns, wherever the document lies; the cluster's wins.
arguments='--yes --owner guest/100 --no-json'
for place in pve/op-dbus op-dbus/guests; do
  fresh; document $place/100.json; run 100 post-start
  ok "post-start, $place" is_code 0
  ok "post-start, $place" is_one_line
  ok "post-start, $place" applied "$host/etc/$place/100.json $arguments --lock-timeout 10m"
  ok "post-start, $place" grep -qs -- --no-block "$host/handed-over"
done
fresh; document pve/op-dbus/100.json; document op-dbus/guests/100.json; run 100 post-start
ok "both documents" applied "$host/etc/pve/op-dbus/100.json $arguments --lock-timeout 10m"

# post-start never waits for the work and never fails the task.
fresh; document pve/op-dbus/100.json; echo 'sleep 3' >"$host/behave"; run 100 post-start
ok "post-start, slow apply" is_code 0
ok "post-start, slow apply" is_quick 2000
fresh; document pve/op-dbus/100.json; echo 'exit 4' >"$host/behave"; run 100 post-start
ok "post-start, failing apply" is_code 0
fresh; document pve/op-dbus/100.json; touch "$host/systemd-fails"; run 100 post-start
ok "post-start, systemd-run fails" is_code 0
ok "post-start, systemd-run fails" is_one_line
ok "post-start, systemd-run fails" says 'was not applied'
fresh; document pve/op-dbus/100.json; rm "$host/usr/bin/systemd-run"; run 100 post-start
ok "post-start, no systemd-run" is_code 0
ok "post-start, no systemd-run" says 'systemd-run is missing'
fresh; document pve/op-dbus/100.json; rm "$host/usr/bin/op-apply"; run 100 post-start
ok "post-start, no op-apply" is_code 0
ok "post-start, no op-apply" says 'op-apply is not installed'
fresh; document pve/op-dbus/100.json; policy pve/op-dbus/100.policy 'policy=block\n'; echo 'exit 1' >"$host/behave"
run 100 post-start
ok "post-start, policy=block, failing apply" is_code 0

# The stop phases do nothing, whatever lies there.
for phase in pre-stop post-stop; do
  fresh; document pve/op-dbus/100.json; policy pve/op-dbus/100.policy 'policy=block\n'; run 100 $phase
  ok "$phase with a document" is_code 0
  ok "$phase with a document" is_silent
  ok "$phase with a document" is_untouched
done

# pre-start without policy=block does nothing.
for text in '' 'policy=none\n' '# policy=block\n' '\n\n'; do
  fresh; document pve/op-dbus/100.json; [ -z "$text" ] || policy pve/op-dbus/100.policy "$text"; run 100 pre-start
  ok "pre-start, policy '$text'" is_code 0
  ok "pre-start, policy '$text'" is_silent
  ok "pre-start, policy '$text'" is_untouched
done

# pre-start with policy=block applies in the foreground, and a failure aborts the start.
for text in 'policy=block\n' 'policy=block' 'policy=block  # as agreed\r\n' '# why\nlimit_s=9\npolicy=block\n'; do
  fresh; document pve/op-dbus/100.json; policy pve/op-dbus/100.policy "$text"; run 100 pre-start
  ok "pre-start, '$text'" is_code 0
  ok "pre-start, '$text'" is_one_line
  ok "pre-start, '$text'" applied "$host/etc/pve/op-dbus/100.json $arguments"
  ok "pre-start, '$text'" [ ! -e "$host/handed-over" ]
  ok "pre-start, '$text'" leaves_nothing
  ok "pre-start, '$text', stdin of op-apply" [ "$(sed -n 2p "$host/applied" 2>/dev/null)" = /dev/null ]
done
for failure in 1 3 4 5 6 7 64 65 69 75 77; do
  fresh; document op-dbus/guests/100.json; policy op-dbus/guests/100.policy 'policy=block\n'
  printf '%s\n' "printf 'hostname/x: \033[31mno such key\n  hint: ...\n' >&2" "exit $failure" >"$host/behave"
  run 100 pre-start
  ok "pre-start, block, op-apply exits $failure" is_code 1
  ok "pre-start, block, op-apply exits $failure" is_one_line
  ok "pre-start, block, op-apply exits $failure" says "ended with $failure: hostname/x:"
  ok "pre-start, block, op-apply exits $failure" [ "$output" = "${output//$'\033'/}" ]
  ok "pre-start, block, op-apply exits $failure" leaves_nothing
done
# The policy beside another document does not count.
fresh; document pve/op-dbus/100.json; policy op-dbus/guests/100.policy 'policy=block\n'; run 100 pre-start
ok "pre-start, policy of the other place" is_untouched

# A hanging apply is ended, gets the chance to undo, and the start is aborted.
fresh; document pve/op-dbus/100.json; policy pve/op-dbus/100.policy 'policy=block\nlimit_s=1\n'
echo 'while :; do sleep 0.1; done' >"$host/behave"; run 100 pre-start
ok "pre-start, hanging apply" is_code 1
ok "pre-start, hanging apply" is_quick 10000
ok "pre-start, hanging apply" says 'not done after 1 s'
ok "pre-start, hanging apply" [ "$(cat "$host/signals" 2>/dev/null)" = term ]
ok "pre-start, hanging apply" leaves_nothing

# What is wrong with a policy keeps the guest from starting: somebody wanted something.
for text in 'policy=blok\n' 'block\n' 'policy=block\nlimit_s=soon\n' 'policy=block\nlimit_s=\n' \
  'policy=block\nlimit_s=0\n' 'policy = block\n'; do
  fresh; document pve/op-dbus/100.json; policy pve/op-dbus/100.policy "$text"; run 100 pre-start
  ok "pre-start, wrong policy '$text'" is_code 1
  ok "pre-start, wrong policy '$text'" is_one_line
  ok "pre-start, wrong policy '$text'" says "100.policy: "
  ok "pre-start, wrong policy '$text'" is_untouched
done
fresh; document pve/op-dbus/100.json; mkdir "$host/etc/pve/op-dbus/100.policy"; run 100 pre-start
ok "pre-start, a folder as policy" is_code 1
fresh; document pve/op-dbus/100.json; policy pve/op-dbus/100.policy 'policy=block\n'; rm "$host/usr/bin/op-apply"
run 100 pre-start
ok "pre-start, block, no op-apply" is_code 1
ok "pre-start, block, no op-apply" says 'op-apply is not installed'

# op-apply is found where make install puts it, too, and never through PATH.
fresh; document pve/op-dbus/100.json; policy pve/op-dbus/100.policy 'policy=block\n'
mkdir -p "$host/usr/local/bin"; sed 's,/usr/bin/,/usr/local/bin/,' "$host/usr/bin/op-apply" >"$host/usr/local/bin/op-apply"
chmod +x "$host/usr/local/bin/op-apply"; rm "$host/usr/bin/op-apply"; run 100 pre-start
ok "op-apply in /usr/local/bin" is_code 0
ok "op-apply in /usr/local/bin" applied "$host/etc/pve/op-dbus/100.json $arguments"

# Wrong use is an error, in words.
for arguments in '' '100' 'x pre-start' '../100 pre-start' '-1 post-start' '100 pre-start more' '100 pre-clone' \
  '100 pre-startx' '100 PRE-START'; do
  fresh; document pve/op-dbus/100.json
  # shellcheck disable=SC2086
  run $arguments
  ok "wrong use '$arguments'" [ "$code" -ne 0 ]
  ok "wrong use '$arguments'" [ "${output#GUEST HOOK op-hook}" != "$output" ]
  ok "wrong use '$arguments'" is_untouched
done

# The hook never talks to the guest's own tools: their lock is held while it runs.
ok "no pct, no qm" [ -z "$(grep -vE '^ *#' "$hook" | grep -wE 'pct|qm|pvesh')" ]

printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
