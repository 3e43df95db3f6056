#!/bin/bash
# check.sh : checks the Nix files as far as this machine can, and says what it skipped.
#   with Nix                        parses every file, which also finds names that are not bound; compares the module's
#                                   services with those in packaging/systemd
#   and $OP_DBUS_NIXPKGS            (a nixpkgs tree) evaluates all outputs of the flake, without building or a network
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
skip() { echo "SKIP $1: $2"; }

files=(flake.nix nix/*.nix)
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
echo "nix: parsed ${files[*]}"

nix-instantiate --eval --strict --json nix/unit.nix | python3 -c '
import collections, json, sys

def lines(value):
    """What a Nix value becomes in a unit, as sorted words: lists, repeated lines and booleans made alike."""
    values = value if isinstance(value, list) else [value]
    words = {True: "yes", False: "no"}
    return sorted(words[v] if isinstance(v, bool) else str(v).removeprefix("~") for v in values)

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

if [ -z "${OP_DBUS_NIXPKGS:-}" ]; then
  skip nix-flake "the flake is not evaluated: OP_DBUS_NIXPKGS names no nixpkgs tree"
  exit 0
fi
nix flake check --no-build --no-write-lock-file --override-input nixpkgs "path:$OP_DBUS_NIXPKGS" \
  --option allow-import-from-derivation false
nix eval --no-write-lock-file --override-input nixpkgs "path:$OP_DBUS_NIXPKGS" .#packages.x86_64-linux.default.drvPath
echo "nix: evaluated the flake with $OP_DBUS_NIXPKGS"
