#!/bin/bash
# sbom.sh : what the programs are made of, as a CycloneDX 1.5 document on standard output: every crate that is compiled into
# them, with version, licence, digest and what it needs. Tests' crates are left out. PROGRAMS are the programs' names,
# SOURCE_DATE_EPOCH is its time. Same sources, same document. Needs cargo (no network when Cargo.lock is fetched) and jq.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${PROGRAMS:?}"
target=$(rustc -vV | sed -n 's/^host: //p')
time=$(date --utc --date="@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}" +%FT%TZ)
# Digests are only in Cargo.lock.
digests=$(awk -F '"' '/^name = /{name = $2} /^version = /{version = $2} /^checksum = /{print name "@" version " " $2}' Cargo.lock | jq -Rn '[inputs | split(" ") | {(.[0]): .[1]}] | add')
cargo metadata --locked --format-version 1 --filter-platform "$target" | jq -S --arg time "$time" --arg programs "$PROGRAMS" --argjson digests "$digests" '
  def purl: if .source then "pkg:cargo/\(.name)@\(.version)" else "pkg:generic/\(.name)@\(.version)" end;
  . as $all
  | (.packages | map({(.id): .}) | add) as $package
  # Not what tests need, nor build scripts. Macros are in it: they write what is compiled.
  | (.resolve.nodes | map({(.id): [.deps[] | select(any(.dep_kinds[]; .kind == null)) | .pkg]}) | add) as $needs
  | [.packages[] | select(.source == null and (.name as $name | $programs | split(" ") | index($name))) | .id] as $roots
  | {seen: [], todo: $roots}
  | until(.todo == []; .seen = (.seen + .todo | unique) | .seen as $seen | .todo = ([.todo[] | $needs[.][]] | unique | map(select(. as $id | $seen | index($id) | not))))
  | .seen as $seen
  | {
      bomFormat: "CycloneDX", specVersion: "1.5", version: 1,
      metadata: {
        timestamp: $time,
        component: {type: "application", name: "op-dbus", version: $package[$roots[0]].version, "bom-ref": "op-dbus", licenses: [{expression: "MIT"}]}
      },
      components: [
        $seen[] | $package[.] | . as $p | {
          type: (if .source then "library" else "application" end), name, version, "bom-ref": purl, purl: purl
        }
        + (if .license then {licenses: [{expression: (.license | gsub("/"; " OR "))}]} else {} end)
        + (if .description then {description: (.description | gsub("\\s+"; " ") | sub("^ "; "") | sub(" $"; ""))} else {} end)
        + (if .repository then {externalReferences: [{type: "vcs", url: .repository}]} else {} end)
        + ($digests["\(.name)@\(.version)"] as $digest | if $digest then {hashes: [{alg: "SHA-256", content: $digest}]} else {} end)
      ] | sort_by(."bom-ref"),
      dependencies: ([{ref: "op-dbus", dependsOn: ([$roots[] | $package[.] | purl] | sort)}]
        + ([$seen[] | {ref: ($package[.] | purl), dependsOn: ([$needs[.][] | $package[.] | purl] | unique)}] | sort_by(.ref)))
    }'
