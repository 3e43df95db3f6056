#!/bin/sh
# manage.sh: what op-dbus-hook reads for its commands `install` and `simulate`; not for calling by hand.
# shellcheck disable=SC2154  # what is not assigned here is assigned there

# ---- simulate

# Each phase with Proxmox's own environment: nothing on standard input, / as folder, and done when nothing has the output
# open any more. The one variable more makes it show instead of do; --really leaves it out.
simulate() {
  dry=OP_DBUS_HOOK_DRY_RUN=1
  [ "${1:-}" != --really ] || { dry=''; shift; }
  # shellcheck disable=SC2046  # numbers
  [ $# -gt 0 ] || set -- $(guests_with_documents)
  [ $# -gt 0 ] || refuse 65 "no guest has a document in $shared or $root/etc/op-dbus: name one, or write one"
  for vmid in "$@"; do is_number "$vmid" || usage 64 >&2; done
  for vmid in "$@"; do
    kind='a guest that is not here'
    ! locate "$vmid" || kind=$kind_found
    echo "guest $vmid, $kind:"
    for phase in pre-start post-start pre-stop post-stop; do simulate_phase "$dry"; done
  done
}

simulate_phase() {
  set -- ${1:+"$1"} ${root:+"OP_DBUS_HOOK_ROOT=$root"} LC_ALL=C LVM_SUPPRESS_FD_WARNINGS=1
  if [ "$phase,$kind" = 'post-stop,a container' ]; then
    # LXC calls this one itself; that it does so in a mount namespace of its own is not played.
    set -- "$@" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin LXC_TARGET=stop "LXC_NAME=$vmid" \
      "LXC_CONFIG_FILE=/var/lib/lxc/$vmid/config" "LXC_ROOTFS_PATH=/var/lib/lxc/$vmid/rootfs"
  else
    set -- "$@" PATH=/sbin:/bin:/usr/sbin:/usr/bin
  fi
  begin=$(date +%s%N)
  said=$(cd / && : | env -i "$@" "$self" "$vmid" "$phase" 2>&1)
  code=$?
  printf '  %-10s exit %s after %s ms%s\n' "$phase" "$code" "$((($(date +%s%N) - begin) / 1000000))" "${said:+:}"
  [ -z "$said" ] || printf '%s\n' "$said" | sed 's/^/    /'
  [ "$code" -eq 0 ] || case $phase in
    pre-start) echo "    Proxmox would abort the start; what follows is what would come otherwise." ;;
    *) echo "    Proxmox would warn, and go on." ;;
  esac
}

guests_with_documents() {
  for base in "$shared" "$root/etc/op-dbus"; do
    for file in "$base"/*.json "$base"/guests/*.json "$base"/guests/*/; do
      [ -e "$file" ] || continue
      file=${file%/}
      file=${file##*/}
      ! is_number "${file%.json}" || echo "${file%.json}"
    done
  done | sort -nu
}

# ---- install

# Sets `tool` and `kind_found` for the guest, `conf` to its file, and `node` to where it is.
locate() {
  for conf in "$root"/etc/pve/nodes/*/lxc/"$1".conf "$root"/etc/pve/nodes/*/qemu-server/"$1".conf; do
    [ -e "$conf" ] || continue
    case $conf in */lxc/*) tool=pct kind_found='a container' ;; *) tool=qm kind_found='a virtual machine' ;; esac
    node=${conf#"$root/etc/pve/nodes/"}
    node=${node%%/*}
    return 0
  done
  return 1
}

# The hookscript in a guest's configuration; its snapshots have their own below.
hookscript_of() { sed -n '/^\[/q; s/^hookscript: *//p' "$1"; }

install() {
  storage=local is_unhook=''
  while [ $# -gt 0 ]; do
    case $1 in
      --storage) [ $# -ge 2 ] || usage 64 >&2; storage=$2; shift 2 ;;
      --unhook) is_unhook=1; shift ;;
      *) break ;;
    esac
  done
  [ $# -gt 0 ] || usage 64 >&2
  for vmid in "$@"; do is_number "$vmid" || refuse 64 "$vmid: a guest is named by its number"; done
  [ -n "$root" ] || [ "$(id -u)" = 0 ] || refuse 77 "only root@pam may set a hookscript: run this as root"
  [ -L "$root/etc/pve/local" ] ||
    refuse 69 "$root/etc/pve/local is not there: this is no Proxmox VE node, or pve-cluster.service does not run"
  here=$(readlink "$root/etc/pve/local")
  here=${here##*/}
  # Every guest is looked at before one is touched.
  for vmid in "$@"; do
    locate "$vmid" || refuse 65 "$vmid: no node has such a guest"
    [ "$node" = "$here" ] || refuse 65 "$vmid: it is on node $node, and this is $here: run this there"
    find_program "$tool" || refuse 69 "$vmid: $tool is not installed"
  done
  [ -n "$is_unhook" ] || place_script
  failed=0
  for vmid in "$@"; do
    locate "$vmid" && find_program "$tool"
    if [ -n "$is_unhook" ]; then unhook; else hook; fi || failed=1
  done
  return "$failed"
}

# Sees to it that the storage has the script, and sets `ours` to its volume. Proxmox follows a link; the packaged script is
# linked to where every node has it, so that an upgrade reaches the guests.
place_script() {
  ours=$storage:snippets/$name
  find_program pvesm || refuse 69 "pvesm is not installed"
  target=$("$program" path "$ours" 2>&1 </dev/null) || refuse 65 "$storage: $(clean "$target"): it must be a storage of files"
  case $target in /*/snippets/"$name") ;; *) refuse 65 "$storage: it keeps no snippets: $(clean "$target")" ;; esac
  mine=$(readlink -f -- "$self")
  if [ "$mine" = "$(readlink -f -- "$target")" ]; then return 0; fi
  if [ -f "$target" ] && ! sed -n 2p "$target" | grep -q "^# $name "; then
    refuse 65 "$target: there is another file of this name"
  fi
  mkdir -p "${target%/*}" || refuse 1 "${target%/*} could not be made"
  if [ "$mine,$storage" = "$packaged,local" ]; then
    ln -sfn "$mine" "$target" || refuse 1 "$target could not be linked"
  else
    { cp "$mine" "$target.new" && chmod 755 "$target.new" && mv -f "$target.new" "$target"; } ||
      refuse 1 "$target could not be written"
  fi
  echo "$target is there now"
  for other in "$root"/etc/pve/nodes/*/; do
    other=${other%/}
    [ "${other##*/}" = "$here" ] || [ "$storage" != local ] ||
      echo "a guest that moves to node ${other##*/} starts there only if $target is there, too"
  done
}

# One guest; `tool`, `conf`, `program` and `ours` are set.
hook() {
  has=$(hookscript_of "$conf") kept=$shared/guests/$vmid.hookscript
  [ "$has" != "$ours" ] || { echo "$vmid: has it already"; return 0; }
  pct=$program
  case $has in
    *:snippets/"$name") has='' ;;
    '') rm -f "$kept" ;;   # an earlier guest of this number had one
    *)
      find_program pvesm
      path=$("$program" path "$has" 2>&1 </dev/null) || { complain "its hookscript $has cannot be found: $(clean "$path")"; return 1; }
      if cmp -s "$path" "$self"; then
        complain "its hookscript $has is this one under another name: $tool set $vmid --delete hookscript"
        return 1
      fi
      # Before the guest has the new one, or a start in between would miss the old.
      { mkdir -p "${kept%/*}" && printf 'volume=%s\nscript=%s\n' "$has" "$path" >"$kept.new" && mv -f "$kept.new" "$kept"; } 2>/dev/null || {
        complain "$kept could not be written, so its hookscript $has was left: without a quorum /etc/pve is read-only"
        return 1
      }
      ;;
  esac
  said=$("$pct" set "$vmid" --hookscript "$ours" 2>&1 </dev/null) || {
    code=$?
    [ -z "$has" ] || rm -f "$kept"
    complain "$tool set ended with $code: $(clean "$said")"
    return 1
  }
  echo "$vmid: has it now${has:+; its own hookscript $has is called after it}"
}

unhook() {
  has=$(hookscript_of "$conf") kept=$shared/guests/$vmid.hookscript volume=''
  [ ! -e "$kept" ] || read_kept "$vmid"
  case $has in
    *:snippets/"$name") ;;
    *)
      [ ! -e "$kept" ] || rm -f "$kept" || { complain "$kept could not be removed"; return 1; }
      echo "$vmid: does not have it${has:+, but $has}"
      return 0
      ;;
  esac
  if [ -n "$volume" ]; then set -- --hookscript "$volume"; else set -- --delete hookscript; fi
  said=$("$program" set "$vmid" "$@" 2>&1 </dev/null) || {
    complain "$tool set $* ended with $?: $(clean "$said")${volume:+; $tool set $vmid --delete hookscript takes this one away without giving $volume back}"
    return 1
  }
  rm -f "$kept" || { complain "$kept could not be removed"; return 1; }
  echo "$vmid: does not have it any more${volume:+; its own hookscript $volume is back}"
}

complain() { printf '%s: %s: %s\n' "$name" "$vmid" "$*" >&2; }
