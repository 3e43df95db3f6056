// node test.js : the example rule, asked as polkit asks it.
"use strict";
const fs = require("fs");
const path = require("path");
let rule;
const polkit = { Result: { YES: "yes", NOT_HANDLED: null }, addRule: (f) => { rule = f; } };
const text = fs.readFileSync(path.join(__dirname, "49-op-dbus.rules.example"), "utf8");
new Function("polkit", text)(polkit);

const asked = (id, group) => rule({ id }, { isInGroup: (name) => name === group });
let failures = 0;
function expect(id, group, answer) {
    const got = asked(id, group);
    if (got !== answer) {
        failures += 1;
        console.error(`${id} for group ${group}: ${got} instead of ${answer}`);
    }
}
expect("org.freedesktop.hostname1.set-static-hostname", "op-dbus", "yes");
expect("org.freedesktop.timedate1.set-timezone", "op-dbus", "yes");
expect("org.freedesktop.locale1.set-locale", "op-dbus", "yes");
expect("org.freedesktop.packagekit.package-install", "op-dbus", "yes");
expect("org.freedesktop.hostname1.set-static-hostname", "users", null);
expect("org.freedesktop.packagekit.package-install-untrusted", "op-dbus", null);
expect("org.freedesktop.packagekit.system-sources-configure", "op-dbus", null);
expect("org.freedesktop.timedate1.set-time", "op-dbus", null);
expect("org.freedesktop.systemd1.manage-units", "op-dbus", null);
process.exit(failures === 0 ? 0 : 1);
