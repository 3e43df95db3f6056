#!/bin/bash
# phases.sh : every phase and failure of the hookscript on fake hosts, where op-apply and systemd-run are stand-ins.
# shellcheck disable=SC2154,SC2034  # lib.sh assigns and reads the rest
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
pve=pve/op-dbus etc=op-dbus
background='--yes --owner guest/100 --no-json --lock-timeout 10m -'
foreground='--owner guest/100 --no-json --yes -'
dry='--owner guest/100 --no-json --dry-run --detailed-exitcode --diff -'

# A guest without a document: nothing, in every phase, at once.
for phase in $phases; do
  fresh; best_of_five run 100 $phase
  ok "no document, $phase" is_code 0
  ok "no document, $phase" is_silent
  ok "no document, $phase" is_untouched
  ok "no document, $phase, the best of five" is_quick 100
done
# Another guest's documents are not this guest's.
for place in $pve/1001.json $pve/guests/1001.json $pve/guests/10/post-start.json $pve/100/post-start.json; do
  fresh; write $place "$(document other)"; run 100 post-start
  ok "another guest's document, $place" is_untouched
done

# A document for the guest: post-start hands it over and returns, wherever it lies.
for place in $pve/guests/100.json $pve/100.json $etc/guests/100.json $etc/100.json; do
  fresh; write $place "$(document it)"; run 100 post-start
  ok "post-start, $place" is_code 0
  ok "post-start, $place" is_one_line
  ok "post-start, $place" handed_over 100 post-start
  ok "post-start, $place" applied "$background" "$(document it)"
  ok "post-start, $place" journal_has "op-dbus-hook: 100 post-start: applying $host/etc/$place"
  ok "post-start, $place" leaves_nothing
  for phase in pre-start pre-stop post-stop; do
    fresh; write $place "$(document it)"; run 100 $phase
    ok "$phase, $place" is_code 0
    ok "$phase, $place" is_silent
    ok "$phase, $place" is_untouched
  done
done

# One for each phase: in a file of its own, and as a member of the guest's.
members=''
for phase in $phases; do members+="${members:+,}\"$phase\":$(document $phase)"; done
for phase in $phases; do
  for place in $pve $etc; do
    fresh; write $place/guests/100/$phase.json "$(document own)"; run 100 $phase
    ok "$phase, $place, its own file" is_code 0
    ok "$phase, $place, its own file" is_one_line
    ok "$phase, $place, its own file" applied "$background" "$(document own)"
    fresh; write $place/guests/100.json "{\"version\":1,\n\"phases\" : {$members}}"; best_of_five run 100 $phase
    ok "$phase, $place, a member" is_code 0
    ok "$phase, $place, a member" is_one_line
    ok "$phase, $place, a member" applied "$background" "$(document $phase)"
    ok "$phase, $place, a member, the best of five" is_quick 100
  done
  fresh; write $pve/100.json '{"phases":{"none":{"plugins":{}}}}'; run 100 $phase
  ok "$phase, not a member" is_code 0
  ok "$phase, not a member" is_silent
  ok "$phase, not a member" is_untouched
done
# Beside phases, plugins are for post-start, unless it is one of them; the word alone says nothing.
fresh; write $pve/100.json '{"plugins":{"all":{}},"phases":{"pre-stop":{"plugins":{"stop":{}}}}}'; run 100 post-start
ok "plugins beside phases" applied "$background" "$(document all)"
fresh; write $pve/100.json '{"plugins":{"all":{}},"phases":{"post-start":{"plugins":{"start":{}}}}}'; run 100 post-start
ok "post-start beside plugins" applied "$background" "$(document start)"
fresh; write $pve/100.json '{"plugins":{"phases":{}}}'; run 100 post-start
ok "a plugin called phases" applied "$background" "$(document phases)"
fresh; write $pve/100.json '{"plugins":{"phases":{}}}'; run 100 post-stop
ok "a plugin called phases" is_untouched

# The nearest counts: the cluster's before the host's, a phase's before the guest's.
# shellcheck disable=SC2206  # names without spaces
order=($pve/guests/100/post-start.json $pve/guests/100.json $pve/100.json $etc/guests/100/post-start.json
  $etc/guests/100.json $etc/100.json)
for first in 0 1 2 3 4 5; do
  fresh
  for place in "${order[@]:first}"; do write $place "$(document "${place//[!a-z]/}")"; done
  run 100 post-start
  ok "the first of ${order[*]:first}" applied "$background" "$(document "${order[first]//[!a-z]/}")"
done

# A phase that hands over never waits for the work and never fails the task.
for phase in $phases; do
  own=$pve/guests/100/$phase.json
  fresh; write $own "$(document it)"; echo 'sleep 3' >"$host/behave"; run 100 $phase
  ok "$phase, slow apply" is_code 0
  ok "$phase, slow apply" is_quick 2000
  fresh; write $own "$(document it)"; echo 'exit 4' >"$host/behave"; run 100 $phase
  ok "$phase, failing apply" is_code 0
done
for phase in post-start pre-stop post-stop; do
  own=$pve/guests/100/$phase.json
  fresh; write $own "$(document it)"; touch "$host/systemd-fails"; run 100 $phase
  ok "$phase, systemd-run fails" is_code 0
  ok "$phase, systemd-run fails" is_one_line
  ok "$phase, systemd-run fails" says 'was not applied: Failed to connect to bus'
  fresh; write $own "$(document it)"; rm "$host/usr/bin/systemd-run"; run 100 $phase
  ok "$phase, no systemd-run" is_code 0
  ok "$phase, no systemd-run" says 'systemd-run is missing'
  fresh; write $pve/100.json '{"phases":{"pre-stop":'; run 100 $phase
  ok "$phase, broken phases" is_code 0
  ok "$phase, broken phases" is_one_line
  ok "$phase, broken phases" is_untouched
  fresh; write $pve/100.json '{"phases":{}}'; rm "$host/usr/bin/op-query"; run 100 $phase
  ok "$phase, no op-query" is_code 0
  ok "$phase, no op-query" says 'op-query is not installed'
  # A policy is pre-start's.
  fresh; write $own "$(document it)"; write $pve/guests/100.policy 'policy=wrong\n'; run 100 $phase
  ok "$phase, a wrong policy" applied "$background" "$(document it)"
done
fresh; write $pve/100.json '{"phases":{"pre-start":'; run 100 pre-start
ok "pre-start, broken phases" is_code 1

# The phases of a guest follow each other, also when two count to the same number.
fresh; for phase in $phases; do write $pve/guests/100/$phase.json "$(document it)"; done
for phase in post-stop pre-start post-start; do run 100 $phase; done
for n in 1 2 3; do
  ok "unit $n follows" grep -qs -e "--unit=op-dbus-hook-100-$n .*--property=After=op-dbus-hook-100-$((n - 1)).service" "$host/handed-over"
done
echo 1 >"$host/run/op-dbus-hook/100"; : >"$host/handed-over"; run 100 pre-stop
ok "a number that is taken" says 'op-dbus-hook-100-4.service'
ok "a number that is taken" grep -q -e '--unit=op-dbus-hook-100-4 .*After=op-dbus-hook-100-3.service' "$host/handed-over"
fresh; write $pve/100.json "$(document it)"; mkdir -p "$host/run/op-dbus-hook"; echo 'x y' >"$host/run/op-dbus-hook/100"; run 100 post-start
ok "a damaged number" says 'op-dbus-hook-100-1.service'

# pre-start without a policy does nothing about what is post-start's.
for text in '' 'policy=none\n' '# policy=block\n' '\n\n'; do
  fresh; write $pve/100.json "$(document it)"; [ -z "$text" ] || write $pve/100.policy "$text"; run 100 pre-start
  ok "pre-start, policy '$text'" is_code 0
  ok "pre-start, policy '$text'" is_silent
  ok "pre-start, policy '$text'" is_untouched
done

# policy=block: op-apply says whether the state holds, and changes nothing.
for text in 'policy=block\n' 'policy=block' 'policy=block  # as agreed\r\n' '# why\nlimit_s=9\npolicy=block\n'; do
  fresh; write $pve/100.json "$(document it)"; write $pve/100.policy "$text"; run 100 pre-start
  ok "block, '$text'" is_code 0
  ok "block, '$text'" is_one_line
  ok "block, '$text'" says '100.json holds'
  ok "block, '$text'" applied "$dry" "$(document it)"
  ok "block, '$text'" [ ! -e "$host/handed-over" ]
  ok "block, '$text'" leaves_nothing
done
fresh; write $pve/guests/100.policy 'policy=block\n'; write $pve/guests/100/pre-start.json "$(document own)"; run 100 pre-start
ok "block, its own document" applied "$dry" "$(document own)"
fresh; write $pve/guests/100.policy 'policy=block\n'; write $pve/guests/100.json "{\"phases\":{$members}}"; run 100 pre-start
ok "block, a member" applied "$dry" "$(document pre-start)"
fresh; write $pve/100.json "$(document it)"; write $pve/100.policy 'policy=block\n'
printf '%s\n' "echo 'About to call'; printf '~ hostname/x: \"a\" -> \"b\"\n+ lxc/100\033[0m\n' >&2" 'exit 2' >"$host/behave"; run 100 pre-start
ok "block, drift" is_code 1
ok "block, drift" is_one_line
ok "block, drift" says '100.json does not hold: ~ hostname/x: "a" -> "b";+ lxc/100'
ok "block, drift" says "apply 100 pre-start"
ok "block, drift" [ "$output" = "${output//$'\033'/}" ]
ok "block, drift" journal_has 'op-dbus-hook: About to call'
# It says how to bring it about; then the start goes on.
as_proxmox ${output##*To bring it about: }
ok "block, brought about" grep -qxF -e "$background" "$host/applied"

# policy=apply: in the foreground.
fresh; write $pve/100.json "$(document it)"; write $pve/100.policy 'policy=apply\n'; run 100 pre-start
ok "apply" is_code 0
ok "apply" is_one_line
ok "apply" applied "$foreground" "$(document it)"
ok "apply" [ ! -e "$host/handed-over" ]

# Whatever fails aborts the start, in both.
for policy in block apply; do
  for failure in 1 3 4 5 6 7 64 65 69 75 77; do
    fresh; write $etc/guests/100.json "$(document it)"; write $etc/guests/100.policy "policy=$policy\n"
    printf '%s\n' "printf 'hostname/x: \033[31mno such key\n  hint: ...\n' >&2" "exit $failure" >"$host/behave"
    run 100 pre-start
    ok "$policy, op-apply exits $failure" is_code 1
    ok "$policy, op-apply exits $failure" is_one_line
    ok "$policy, op-apply exits $failure" says "ended with $failure: hostname/x:"
    ok "$policy, op-apply exits $failure" [ "$output" = "${output//$'\033'/}" ]
    ok "$policy, op-apply exits $failure" leaves_nothing
  done
  # One that hangs is ended and gets the chance to undo.
  fresh; write $pve/100.json "$(document it)"; write $pve/100.policy "policy=$policy\nlimit_s=1\n"
  echo 'hang; sleep 1; echo undone >>"$host/signals"; exit 1' >"$host/behave"; run 100 pre-start
  ok "$policy, hanging apply" is_code 1
  ok "$policy, hanging apply" is_quick 10000
  ok "$policy, hanging apply" says 'not done after 1 s'
  ok "$policy, hanging apply" [ "$(cat "$host/signals" 2>/dev/null)" = $'term\nundone' ]
  ok "$policy, hanging apply" leaves_nothing
  for program in op-apply op-query; do
    fresh; write $pve/100.json "$(document it)"; write $pve/100.policy "policy=$policy\n"; rm "$host/usr/bin/$program"
    [ $program = op-apply ] || echo 'exit 65' >"$host/behave"   # as op-apply does when it is given nothing
    run 100 pre-start
    ok "$policy, no $program" is_code 1
    ok "$policy, no $program" says "$program is not installed"
  done
  fresh; write $pve/100.json "$(document it)"; write $pve/100.policy "policy=$policy\n"; rmdir "$host/run"; run 100 pre-start
  ok "$policy, no /run" is_code 1
done
# One that does not even stop then is killed.
fresh; write $pve/100.json "$(document it)"; write $pve/100.policy 'policy=apply\nlimit_s=1\n'
echo 'while :; do sleep 1; done' >"$host/behave"; run 100 pre-start
ok "an apply that cannot be stopped" is_code 1
ok "an apply that cannot be stopped" is_quick 25000
ok "an apply that cannot be stopped" says 'not done after 1 s'
# The unit's shell waits for op-apply, or systemd would send it a second signal.
fresh; write $pve/100.json "$(document it)"; echo 'hang; exit 1' >"$host/behave"
OP_DBUS_HOOK_ROOT=$host "$hook" apply 100 post-start & unit=$!
for _ in {1..100}; do [ ! -s "$host/pid" ] || break; sleep 0.05; done
kill $unit; sleep 0.3
ok "a unit that is stopped" kill -0 $unit
kill "$(cat "$host/pid")"; wait $unit; code=$?
ok "a unit that is stopped" is_code 1
# The policy beside another document does not count.
fresh; write $pve/100.json "$(document it)"; write $etc/100.policy 'policy=block\n'; run 100 pre-start
ok "the policy of the other place" is_untouched

# What is wrong with a policy keeps the guest from starting: somebody wanted something.
for text in 'policy=blok\n' 'block\n' 'policy=block\nlimit_s=soon\n' 'policy=block\nlimit_s=\n' \
  'policy=block\nlimit_s=0\n' 'policy = block\n'; do
  fresh; write $pve/100.json "$(document it)"; write $pve/100.policy "$text"; run 100 pre-start
  ok "wrong policy '$text'" is_code 1
  ok "wrong policy '$text'" is_one_line
  ok "wrong policy '$text'" says "100.policy: "
  ok "wrong policy '$text'" is_untouched
done
fresh; write $pve/100.json "$(document it)"; mkdir "$host/etc/$pve/100.policy"; run 100 pre-start
ok "a folder as policy" is_code 1

# The programs are found where make install puts them, too, and never through PATH.
fresh; write $pve/100.json "$(document it)"; write $pve/100.policy 'policy=block\n'; mkdir -p "$host/usr/local/bin"
mv "$host"/usr/bin/op-* "$host/usr/local/bin/"; run 100 pre-start
ok "programs in /usr/local/bin" is_code 0
ok "programs in /usr/local/bin" applied "$dry" "$(document it)"

# A phase that a later Proxmox may have fails nothing; neither does a third argument. Wrong use is an error, in words.
for phase in pre-clone post-restore pre-startx PRE-START '../pre-start'; do
  fresh; write $pve/100.json "$(document it)"; run 100 "$phase"
  ok "unknown phase $phase" is_code 0
  ok "unknown phase $phase" is_one_line
  ok "unknown phase $phase" is_untouched
done
fresh; write $pve/100.json "$(document it)"; run 100 post-start more
ok "a third argument" applied "$background" "$(document it)"
for arguments in '' '100' 'x pre-start' '../100 pre-start' '-1 post-start' 'apply 100' 'apply 100 pre-clone' 'remove 100'; do
  fresh; write $pve/100.json "$(document it)"
  # shellcheck disable=SC2086
  run $arguments
  ok "wrong use '$arguments'" is_code 64
  ok "wrong use '$arguments'" is_untouched
done
fresh; run --help
ok "--help" is_code 0
ok "--help" says 'op-dbus-hook simulate'

# The guest's own tools are never called: their lock is held while it runs.
fresh; write $pve/guests/100.policy 'policy=block\n'
for phase in $phases; do write $pve/guests/100/$phase.json "$(document it)"; run 100 $phase; done
ok "no pct, no qm" [ ! -e "$host/tools" ]
finish phases
