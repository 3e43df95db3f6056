# values.awk: what the value of an option, or a word, can be completed with: file, folder, plugin, select, service,
# snapshot, guest, host, outcome, or nothing. Read together with zsh.awk or fish.awk.
function long_of(name) { sub(/^-., /, "", name); return name }
function value_kind(command, name, value) {
  sub(/\.\.\.$/, "", value)
  name = long_of(name)
  if (name == "--plugin") return "plugin"
  if (name == "--select") return "select"
  if (name == "--outcome") return "outcome"
  if (name == "--host") return "host"
  if (name == "--xml" || value ~ /^FILE/ || value == "HEADS") return "file"
  if (value == "DIR") return "folder"
  if (value == "SERVICE") return "service"
  return ""
}
function word_kind(command, value) {
  if (value == "SERVICE") return "service"
  if (value == "VMID") return "guest"
  if (value == "PLUGIN") return "plugin-or-file"
  if (value ~ /^FILE/) return command ~ /^op-query/ ? "plugin-or-file" : "file"
  if (value == "DIR") return "folder"
  if (value == "PATH") return "plugin-or-file"
  if (value == "NAME" && command ~ /^op-snapshot/) return "snapshot"
  if (value == "NAME" && command ~ /^op-install (adopt|map|remove|rollback|show|upgrade|verify)$/) return "plugin"
  return ""
}
