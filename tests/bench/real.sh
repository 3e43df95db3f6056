#!/bin/bash
# Runs inside the throw-away root, on a private bus with the real daemons.
set -euo pipefail
cd /root
rounds=${ROUNDS:-21}
for name in hostname1 timedate1 locale1 PackageKit NetworkManager UDisks2 UPower Accounts; do
  busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus StartServiceByName su "org.freedesktop.$name" 0 >/dev/null
done
echo '{"plugins":{"hostname":{"static_hostname":"bench","chassis":"vm","deployment":"test","location":"rack 1"},"timedate":{"timezone":"Europe/Vienna"},"locale":{"locale":["LANG=de_DE.UTF-8"]}}}' > six.json
op-apply --yes --quiet six.json >/dev/null
sed 's/rack 1/rack 2/' six.json > other.json

op-dbus-bench "Starting" "$rounds" \
  "true=true" \
  "busctl --version=busctl --version" \
  "op-discover --version<=2=op-discover --version" \
  "op-query --version<=2=op-query --version" \
  "op-apply --version<=2=op-apply --version"

op-dbus-bench "One property" "$rounds" \
  "busctl get-property=busctl get-property org.freedesktop.hostname1 /org/freedesktop/hostname1 org.freedesktop.hostname1 StaticHostname" \
  "op-query --plugin hostname=op-query --plugin hostname"

cat > shell.sh <<'S'
h() { busctl get-property org.freedesktop.hostname1 /org/freedesktop/hostname1 org.freedesktop.hostname1 "$@"; }
[ "$(h StaticHostname Chassis Deployment Location | tr '\n' ' ')" = 's "bench" s "vm" s "test" s "rack 1" ' ] || exit 1
[ "$(busctl get-property org.freedesktop.timedate1 /org/freedesktop/timedate1 org.freedesktop.timedate1 Timezone)" = 's "Europe/Vienna"' ] || exit 1
[ "$(busctl get-property org.freedesktop.locale1 /org/freedesktop/locale1 org.freedesktop.locale1 Locale)" = 'as 1 "LANG=de_DE.UTF-8"' ] || exit 1
S
cat > play.yml <<'Y'
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - copy: {content: "bench\n", dest: /etc/hostname}
    - file: {src: ../usr/share/zoneinfo/Europe/Vienna, dest: /etc/localtime, state: link}
    - lineinfile: {path: /etc/locale.conf, regexp: "^LANG=", line: "LANG=de_DE.UTF-8"}
    - lineinfile: {path: /etc/machine-info, regexp: "^CHASSIS=", line: "CHASSIS=vm"}
    - lineinfile: {path: /etc/machine-info, regexp: "^DEPLOYMENT=", line: "DEPLOYMENT=test"}
    - lineinfile: {path: /etc/machine-info, regexp: "^LOCATION=", line: 'LOCATION="rack 1"'}
Y
cat > deploy.py <<'Y'
from io import StringIO
from pyinfra.operations import files
files.put(src=StringIO("bench\n"), dest="/etc/hostname")
files.link(path="/etc/localtime", target="../usr/share/zoneinfo/Europe/Vienna")
files.line(path="/etc/locale.conf", line="LANG=.*", replace="LANG=de_DE.UTF-8")
files.line(path="/etc/machine-info", line="CHASSIS=.*", replace="CHASSIS=vm")
files.line(path="/etc/machine-info", line="DEPLOYMENT=.*", replace="DEPLOYMENT=test")
files.line(path="/etc/machine-info", line="LOCATION=.*", replace='LOCATION="rack 1"')
Y
if [ -d /op/peers ]; then
  export PYTHONPATH=/op/peers ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3 LANG=C.UTF-8 LC_ALL=C.UTF-8
  op-dbus-bench "Six settings in the same files: nothing to do, by what people use" 3 \
    "ansible-playbook=python3 -m ansible playbook -i localhost, play.yml" \
    "pyinfra=python3 -m pyinfra @local deploy.py -y"
fi

op-dbus-bench "Six settings on three services: nothing to do" "$rounds" \
  "shell script of three busctl calls=bash shell.sh" \
  "op-apply --dry-run<=8=op-apply --dry-run six.json" \
  "op-apply<=8=op-apply --yes six.json"

op-dbus-bench "Six settings on three services: one to change (and durable checkpoint)" "$rounds" \
  "one busctl setter call=busctl call org.freedesktop.hostname1 /org/freedesktop/hostname1 org.freedesktop.hostname1 SetLocation sb x false" \
  "op-apply, to rack 2<=12=op-apply --yes --quiet other.json" \
  "op-apply, back to rack 1<=12=op-apply --yes --quiet six.json"

# The command that was run last waits to be confirmed, and the next one changes the same again.
op-dbus-bench --before "op-apply confirm >/dev/null 2>&1" "One to change that goes back unless it is confirmed (adds 20 ms at most)" "$rounds" \
  "op-apply=op-apply --yes --quiet other.json" \
  "op-apply --confirm-within 60s=op-apply --yes --quiet --confirm-within 60s six.json"
op-apply confirm >/dev/null 2>&1 || true

op-dbus-bench "Every mapped plugin" "$rounds" \
  "op-query=op-query --quiet" \
  "op-query, one key by path=op-query --quiet --select hostname.static_hostname" \
  "op-query --cached=op-query --cached"

real="org.freedesktop.hostname1 org.freedesktop.timedate1 org.freedesktop.locale1 org.freedesktop.PolicyKit1 org.freedesktop.PackageKit org.freedesktop.NetworkManager org.freedesktop.UDisks2 org.freedesktop.UPower org.freedesktop.Accounts"
flags=; for s in $real; do flags="$flags --plugin $s"; done
op-dbus-bench "Nine real services, everything that can be read" "$rounds" \
  "gdbus introspect --recurse=!for s in $real; do gdbus introspect --system --recurse --dest \$s --object-path /; done" \
  "op-query<=15=!op-query --quiet$flags; test \$? -le 3"
