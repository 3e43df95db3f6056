#!/bin/bash
# claims.sh BIN > docs/claims.md : the numbers and promises of op-dbus' first design beside what holds, each figure with the
# command that prints it. Run on an idle machine, as root: it measures.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bin=$(readlink -f "$1")
rounds=${ROUNDS:-11}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OP_DBUS_ROOT=$work/root PATH=$bin:$PATH
echo 'measuring embeddings...' >&2
op-embed bench --layers --json >"$work/layers"
op-embed topology --measure --json >"$work/topology"
echo 'measuring packages...' >&2
bash tests/bench/packages.sh "$bin" "$rounds" >"$work/packages"
echo 'measuring containers...' >&2
op-dbus-lxc-bench "$rounds" >"$work/containers" 2>"$work/said" || { cat "$work/said" >&2; exit 1; }
cat docs/*.md >"$work/text"

time_of() { # us
  awk -v us="$1" 'BEGIN { if (us < 1000) printf "%.1f us", us; else printf "%.1f ms", us / 1000 }'
}
access() { # ACCESS PART
  local us
  us=$(jq -e --arg a "$1" --arg p "$2" '.accesses[] | select(.access == $a and .part == $p) | .us' "$work/layers") ||
    { echo "claims.sh: op-embed bench --layers says nothing of: $1, $2" >&2; exit 1; }
  time_of "$us"
}
layer() { jq -r --arg l "$1" '.layers[] | select(.layer == $l) | if .ratio then "\(.ratio * 10 | round / 10)x" else .what end' "$work/layers"; }
ms() { awk -v line="$2" -v skip="${3:-0}" 'index($0, line) && n++ == skip { for (i = 1; i <= NF; i++) if ($i + 0 > 0 && $i ~ /^[0-9.]+$/) { print $i " ms"; exit } }' "$work/$1"; }
container() { sed -n "s/^  $1 MB: op-apply .*median *\([0-9.]*\) .*/\1 ms/p" "$work/containers"; }
saved() { awk -v a="$(wc -c <"$work/$1")" -v b="$(zstd -q -3 -c "$work/$1" | wc -c)" 'BEGIN { printf "%.0f %%", 100 * (1 - b / a) }'; }
row() { printf '| %s | %s | %s | %s |\n' "$@"; }

cat <<HEAD
# What was claimed, and what holds

The first design of op-dbus stated numbers and made promises. This page has each beside what is measured or tested.
\`make claims\` writes it. The figures are of $(jq -r '.machine | "\(.cpu), \(.cpus) CPUs, Linux \(.kernel)"' "$work/layers"), $(date -u +%F); medians, with
signatures verified, the record kept and data on the disk.

## Numbers
| claimed | here | printed by | what to know |
|---|---:|---|---|
HEAD
layers='`op-embed bench --layers`'
row 'computing an embedding takes 10 ms' "$(access first compute)" "$layers" 'the built-in model; a larger one takes longer ([embeddings](embeddings.md))'
row 'the first access takes 11 ms, saving 1 ms of it' "$(access first 'all, with fsync'), saving $(access first 'save, with fsync')" "$layers" 'saving waits for the disk; without waiting it takes '"$(access first 'save, without fsync')"
row 'the second takes 0.16 ms, a hit 0.1 ms' "$(access second all)" "$layers" 'in the process; a program that is started for it takes milliseconds'
row 'after a reboot 5 ms' "$(access 'after a reboot' all)" "$layers" "$(access 'after a reboot' 'open the cache') of it opens the cache, once"
row 'the third access takes 0.1 ms' "$(access third all)" "$layers" ''
row 'caching: 100 times' "$(layer caching)" "$layers" 'the ratio of computing to looking up: a slower model makes it larger, and nothing else does'
row 'NUMA: 1.3 times' "$(layer NUMA)" "$layers" 'between nodes memory takes 1.5 to 2 times as long; how much of it shows depends on the work'
row 'CPU affinity: 2 times' "$(layer 'CPU affinity')" "$layers" ''
row 'btrfs and the page cache: 50 times' "$(layer 'btrfs and page cache')" "$layers" 'memory beside the disk, on any file system'
row 'streaming isolation: 10 % more' "$(layer 'streaming isolation')" "$layers" 'there is one page cache for all subvolumes; writers drop their own pages instead'
row 'combined: 100 to 200 times' 'the product of the above' "$layers" 'it is that of caching; the others are hardly felt beside it'
row 'local memory 10 ns, remote 100 ns' "$(jq -r '[.measured[] | "node \(.node): \(.latency_ns | round) ns"] | join(", ")' "$work/topology")" '`op-embed topology --measure`' 'no memory answers in 10 ns; typical is 80 to 100 ns for the own node'
row 'the L3 cache 50 ns, DRAM 100 ns' 'not measured apart' '`op-embed topology --measure`' 'typical is 10 to 25 ns for L3'
row 'zstd saves 60 to 70 %' "of text $(saved text); of vectors: $(jq -r '.layers[] | select(.layer == "compression") | .what' "$work/layers")" "\`zstd -3\` of \`docs/*.md\`; $layers" 'vectors are near to random; int8 saves 75 % of them'
row 'a plugin is installed in less than 1 s' "$(ms packages 'op-install FILE')" '`make bench`' '`btrfs receive` and `minisign` in a pipe: '"$(ms packages 'minisign, zstd')"'; `dpkg -i` of the same files: '"$(ms packages 'dpkg -i')"
row 'compiling one takes 60 s' 'nothing is compiled' '' 'nobody compiles a mapping; those who compile plugins download them built'
row 'a container is made in less than 1 s' "$(container 250) of 250 MB, $(container 2000) of 2 GB" '`make bench`' 'from a golden image; its start is Proxmox'"'"'s, and takes a second'
row 'without golden images 30 s' "$(sed -n 's/^  250 MB: tar --zstd -x *median *\([0-9.]*\) .*/\1 ms/p' "$work/containers")" '`make bench`' 'unpacking 250 MB; the rest of 30 s is downloading'
row 'hourly snapshots, the newest 24 kept' '24' '`op-snapshot rotate`' 'the newest 24 that exist, whatever the clock did (`cargo test -p op_dbus_tests --test snapshots`)'
test_of() { printf '`cargo test -p op_dbus_tests --test %s`' "$1"; }
cat <<'HEAD'

## Promises
| claimed | holds | seen by | what to know |
|---|---|---|---|
HEAD
row 'any D-Bus service becomes a plugin without code' 'yes, to be read' "$(test_of auto_plugin)" 'to be written it needs a mapping'
row 'read-only until there is a mapping' 'yes' "$(test_of auto_plugin)" 'enforced where calls leave the program'
row 'community mappings, distributed as btrfs snapshots' 'yes' "$(test_of packages)" 'signed, and judged before anything counts; other file systems take the same package'
row '`btrfs receive` installs' 'yes, and is not used' "$(test_of hostile_packages)" 'a forged stream escapes it; the stream is read as untrusted input'
row 'no executable code in snapshots' 'yes' "$(test_of hostile_packages)" 'any execute bit is refused'
row 'trust levels: core, community, generated' 'yes' "$(test_of packages)" 'data cannot call itself core'
row 'checksums and GPG' 'yes' "$(test_of signatures)" 'and minisign, which is the usual way'
row 'an unsafe method asks before it is called' 'yes' "$(test_of prompt)" 'no terminal and no `--yes` means no'
row 'checks before a call (disk space)' 'yes' "$(test_of mappings_system)" ''
row '`systemctl restart op-dbus` applies the state' 'yes' '`packaging/debian/test.sh`' ''
row 'installing a plugin needs no restart' 'yes' "$(test_of activation)" 'there is no daemon to restart'
row 'dry runs for all plugins' 'yes' "$(test_of dry_runs)" 'watched: no call, no write'
row 'rollback of D-Bus methods' 'where a mapping says how' "$(test_of rollback)" 'the plan says beforehand what each undo is worth'
row 'an audit trail as a blockchain' 'a chain of hashes' "$(test_of trail)" 'signed heads and proofs; one writer, no consensus'
row 'the trail does not push the cache out of memory' 'yes' '`make bench`' 'by dropping its own pages'
row 'independent page cache regions by subvolumes' 'no' '`op-embed bench --layers`' 'Linux has one page cache'
row 'btrfs required' 'no' "$(test_of volumes)" 'without it snapshots are copies; `op-snapshot doctor` says what is lost'
row 'a cache that may be deleted' 'yes' "$(test_of vectors)" 'the same answers, only slower'
row 'natural language queries' 'of the record' "$(test_of polarity)" 'by meaning where op-embed is, by words elsewhere'
row 'anomaly detection by embeddings' 'yes' "$(test_of trail_meaning)" 'says "learning" until it has enough past'
row 'predictive cache warming' "$(layer 'predictive warming')" "$layers" 'only what is not in memory gains'
row 'a wizard and drafts of mappings' 'yes' "$(test_of authoring)" 'drafts propose and never decide'
row 'dependencies between plugins' 'yes' "$(test_of registry)" 'semantic versions, cycles and conflicts told apart'
row 'a central registry' 'a signed index over a folder' "$(test_of registry)" 'any web server or disk serves it'
row 'sandboxed plugins (seccomp, AppArmor)' 'not needed' '' 'plugins are data; what runs is op-dbus, in hardened units'
row 'GPU inference' 'where ONNX Runtime has a provider' '`make bench-gpu`' 'short texts gain nothing from a GPU'
printf '\nHow op-dbus compares with other tools: [comparison.md](comparison.md).\n'
