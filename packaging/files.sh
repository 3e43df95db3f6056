#!/bin/bash
# files.sh : what an installation consists of, a line a file: MODE TARGET SOURCE, separated by tabs. TARGET is absolute;
# SOURCE is below the repository, or a name below PROGRAMS/ (built) or MADE/ (by commands/write.sh), or -> and what a link
# points to. Read from the environment: PREFIX, PROGRAMS (their names). `make install`, `make uninstall`, the package and
# the archives read this list and know of no file besides.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${PREFIX:?}" "${PROGRAMS:?}"
share=$PREFIX/share
# The programs look here, whatever the prefix is, unless they were told otherwise.
data=${DATA:-/usr/share/op-dbus}
# Debian's zsh looks in vendor-completions, one built by hand in site-functions.
case $PREFIX in /usr) zsh=$share/zsh/vendor-completions ;; *) zsh=$share/zsh/site-functions ;; esac

entry() { printf '%s\t%s\t%s\n' "$@"; }
for program in $PROGRAMS; do
  entry 755 "$PREFIX/bin/$program" "PROGRAMS/$program"
  entry 644 "$share/man/man1/$program.1" "MADE/man/$program.1"
  entry 644 "$share/fish/vendor_completions.d/$program.fish" "MADE/fish/$program.fish"
  [ "$program" = op-dbus ] || entry - "$share/bash-completion/completions/$program" "->op-dbus"
done
entry 644 "$share/bash-completion/completions/op-dbus" packaging/completions/op-dbus
entry 644 "$zsh/_op-dbus" MADE/zsh/_op-dbus
for page in op-plugin.toml op-semantic-mapping.toml op-state; do
  entry 644 "$share/man/man5/$page.5" "MADE/man/$page.5"
done
for page in packaging/man/*.[0-9]; do
  entry 644 "$share/man/man${page##*.}/${page##*/}" "$page"
done
for unit in packaging/systemd/*; do
  entry 644 "$PREFIX/lib/systemd/system/${unit##*/}" "$unit"
done
entry 644 "$PREFIX/lib/sysusers.d/op-dbus.conf" packaging/sysusers.conf
entry 644 "$PREFIX/lib/tmpfiles.d/op-dbus.conf" packaging/tmpfiles.conf
entry 644 "${ETC:-/etc}/op-dbus/acknowledged.json" packaging/acknowledged.json
find mappings -type f | LC_ALL=C sort | while read -r file; do entry 644 "$data/$file" "$file"; done
for schema in docs/schemas/*.json; do entry 644 "$data/schemas/${schema##*/}" "$schema"; done
entry 755 "$data/hook/op-dbus-hook" proxmox-hook/op-dbus-hook
entry 644 "$data/hook/manage.sh" proxmox-hook/manage.sh
entry 644 "$share/doc/op-dbus/examples/49-op-dbus.rules.example" packaging/polkit/49-op-dbus.rules.example
entry 644 "$share/doc/op-dbus/PROXMOX-HOOK.md" proxmox-hook/README.md
for text in README.md CHANGELOG.md docs/*.md; do entry 644 "$share/doc/op-dbus/${text##*/}" "$text"; done
