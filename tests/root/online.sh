#!/bin/bash
# online.sh : inside a root (enter.sh), makes a default route that leads nowhere. Programs that ask whether there is a
# network (PackageKit before RefreshCache) then believe that there is one; nothing can be reached.
set -euo pipefail
ip link add op-online0 type veth peer op-online1
ip link set op-online1 up
ip link set op-online0 up
ip address add 192.0.2.1/24 dev op-online0
ip route add default via 192.0.2.2
