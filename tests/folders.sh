#!/bin/bash
# Runs the checks of the folders that are not Rust: each prints what it checked and what it skipped, and why.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
code=0
for check in proxmox-hook/test.sh packaging/check.sh packaging/debian/test.sh packaging/ansible/test.sh nix/check.sh; do
  echo "== $check"
  bash "$check" || { echo "FAILED: $check"; code=1; }
done
exit $code
