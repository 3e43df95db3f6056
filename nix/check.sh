#!/bin/bash
# check.sh : checks the Nix files as far as this machine can, and says what it skipped.
#   with Nix                        parses every file, which also finds names that are not bound; compares the module's
#                                   services with those in packaging/systemd; sees that each option does something;
#                                   compiles the script of the test in a virtual machine
#   with nixfmt                     looks whether the files are formatted
#   and $OP_DBUS_NIXPKGS            (a nixpkgs tree) evaluates all outputs of the flake, and a system with every option
#                                   set, without building or a network; has systemd read that system's units
#   and $OP_DBUS_NIX_BUILD=1        (a builder) builds and runs nix run .#op-query and nix profile install .#op-dbus
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
skip() { echo "SKIP $1: $2"; }

files=(flake.nix nix/*.nix nix/tests/*.nix)
# flake.lock must lock what flake.nix asks for, or Nix locks anew and wants a network.
url=$(sed -n 's/.*inputs\.nixpkgs\.url = "github:\(.*\)";.*/\1/p' flake.nix)
locked=$(python3 - <<'EOF'
import json
lock = json.load(open("flake.lock"))
original = lock["nodes"]["nixpkgs"]["original"]
print("/".join(original[key] for key in ("owner", "repo", "ref")))
EOF
)
[ "$url" = "$locked" ] || { echo "nix: flake.nix asks for $url and flake.lock locks $locked" >&2; exit 1; }
echo "nix: flake.lock agrees with flake.nix: $url"

export NIX_CONFIG='experimental-features = nix-command flakes
build-users-group =
sandbox = false
substitute = false'
if ! command -v nix-instantiate >/dev/null; then
  skip nix-parse "${files[*]} cannot be parsed: Nix is not installed (Debian: apt-get install --no-install-recommends nix-bin)"
  skip nix-unit "the module's unit cannot be compared: Nix is not installed"
  exit 0
fi
for file in "${files[@]}"; do
  nix-instantiate --parse "$file" >/dev/null
done
# The blocks of the tutorial are Nix, too.
awk '/^```nix$/ { inside = 1; next } /^```$/ { if (inside) printf "\0"; inside = 0 } inside' docs/TUTORIAL-NIXOS.md |
  while IFS= read -r -d '' block; do nix-instantiate --parse -E "$block" >/dev/null; done
echo "nix: parsed ${files[*]} docs/TUTORIAL-NIXOS.md"

if command -v nixfmt >/dev/null; then
  nixfmt --check "${files[@]}"
  echo "nix: formatted ${files[*]}"
else
  skip nix-format "nixfmt is not installed"
fi

evaluate() { nix-instantiate --eval --strict --json -E "$1" 2> >(grep -v "build-users-group" >&2); }
evaluate '(import ./nix/unit.nix { options.embed.enable = true; }).systemd.services' | python3 -c '
import collections, json, sys

def lines(value):
    """What a Nix value becomes in a unit, as sorted words: lists, repeated lines and booleans made alike."""
    values = value if isinstance(value, list) else [value]
    words = {True: "yes", False: "no"}
    return sorted(words[v] if isinstance(v, bool) else str(v).removeprefix("~") for v in values if v != "")

problems = 0
for name, unit in json.load(sys.stdin).items():
    module = {}
    for key, value in unit["serviceConfig"].items():
        # An empty list of capabilities is written as an empty string: a list would be no line.
        module[key] = lines(value.split(" ") if key == "ExecStart" else [] if value == "" else value)
    file = f"packaging/systemd/{name}.service"
    shipped = collections.defaultdict(list)
    section = ""
    for line in open(file):
        line = line.strip()
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            shipped[key] += value.removeprefix("~").split()
    shipped = {key: sorted(words) for key, words in shipped.items()}
    for key in sorted({*module, *shipped}):
        if module.get(key) != shipped.get(key):
            print(f"nix: {key}: the module has {module.get(key)}, {file} has {shipped.get(key)}")
            problems += 1
sys.exit(bool(problems))
'
echo "nix: the module's services are those in packaging/systemd"

# Each option, changed, changes what comes of the module: else it is not used.
plain=$(evaluate '(import ./nix/unit.nix { })')
options='{ state.plugins.x.y = 1; } { plugins.lamp = "/lamp"; } { trustedKeys.a = "k"; } { snapshot.enable = false; }
{ snapshot.schedule = "daily"; } { drift.enable = false; } { drift.schedule = "daily"; } { cache.warm = true; }
{ cache.budget = "1G"; } { cache.numa = "off"; } { embed.enable = true; } { hardening = false; } { enable = false; } { package = "/opt"; }'
# state and acknowledged become files, which the stand-in names only.
while read -r option; do
  case $option in '{ state.'*) continue ;; esac
  [ "$(evaluate "(import ./nix/unit.nix { options = $option; })")" != "$plain" ] ||
    { echo "nix: the option does nothing: $option" >&2; exit 1; }
done < <(sed 's/} {/}\n{/g' <<<"$options")
echo "nix: every option of the module does something"

evaluate '(import ./nix/tests/vm.nix { module = null; }).testScript' |
  python3 -c 'import json, sys; compile(json.load(sys.stdin), "nix/tests/vm.nix", "exec")'
echo "nix: the script of the test in a virtual machine compiles"

if [ -z "${OP_DBUS_NIXPKGS:-}" ]; then
  skip nix-flake "the flake and a whole system are not evaluated: OP_DBUS_NIXPKGS names no nixpkgs tree"
  skip nix-run "nix run and nix profile install are not tried: they want a nixpkgs tree and a builder"
  exit 0
fi
override=(--no-write-lock-file --override-input nixpkgs "path:$OP_DBUS_NIXPKGS")
nix flake check --no-build "${override[@]}" --option allow-import-from-derivation false
nix eval "${override[@]}" .#packages.x86_64-linux.default.drvPath
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
nix eval --json "${override[@]}" .#lib.units.x86_64-linux >"$work/units"
jq -r 'keys[]' "$work/units" | while read -r name; do
  # Its programs are not built, so something that exists stands in.
  jq -r --arg name "$name" '.[$name]' "$work/units" | sed "s,=/nix/store/[^ ]*/bin/[^ ]*,=$(type -P true)," >"$work/$name"
done
said=$(systemd-analyze verify --man=no --recursive-errors=no "$work"/op-dbus* 2>&1 | grep op-dbus || true)
[ -z "$said" ] || { echo "nix: the evaluated units: $said" >&2; exit 1; }
echo "nix: evaluated the flake and a system with $OP_DBUS_NIXPKGS; systemd has nothing to say about its units"

if [ -z "${OP_DBUS_NIX_BUILD:-}" ]; then
  skip nix-run "nix run and nix profile install are not tried: OP_DBUS_NIX_BUILD is not set"
  exit 0
fi
nix run "${override[@]}" .#op-query -- --version
nix profile install --profile "$work/profile" "${override[@]}" .#op-dbus
"$work/profile/bin/op-dbus" query --version
echo "nix: ran op-query, and op-dbus from a profile"
