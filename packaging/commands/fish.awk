# fish.awk: the completion for fish, from read.sh and after values.awk. What it runs is in fish.head.
BEGIN {
  FS = "\t"
  action["folder"] = "(__fish_complete_directories)"; action["host"] = "(__fish_print_hostnames)"
  action["plugin"] = "(__op_dbus_plugins)"; action["select"] = "(__op_dbus_plugins).";
  action["plugin-or-file"] = action["plugin"]; action["service"] = "(__op_dbus_services)"
  action["snapshot"] = "(__op_dbus_snapshots)"; action["guest"] = "(__op_dbus_guests)"
  action["outcome"] = "applied undone residue refusal intent confirm events"
}
function quote(text) { gsub(/\\/, "\\\\", text); gsub(/'/, "\\'", text); return "'" text "'" }
# The first sentence: fish shows them beside the words.
function short(text) { sub(/[;:(].*/, "", text); sub(/ +$/, "", text); return text }
function rule(command, rest,   at) {
  at = command
  if (meant[command] != "") at = at "' '" meant[command]
  rules[++total] = "-n \"__op_dbus_is '" at "'\" " rest
}
$1 != "" && $1 !~ / / && !($1 in seen) { seen[$1] = 1; programs = programs " -c " $1; names = names " " $1 }
$2 == "default" { meant[$1 " " $3] = $1 }
$2 == "option" || $2 == "common" {
  if ($4 != "") { valued[long_of($3)] = 1; if ($3 ~ /^-., /) valued[substr($3, 1, 2)] = 1 }
}
{ lines[NR] = $0 }
END {
  print "# Made from the programs' own --help; do not edit. It starts no program and asks no bus."
  printf "set -g __op_dbus_valued"
  for (name in valued) sorted[++n] = name
  for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (sorted[j] < sorted[i]) { t = sorted[i]; sorted[i] = sorted[j]; sorted[j] = t }
  for (i = 1; i <= n; i++) printf " %s", sorted[i]
  print ""
  printf "set -g __op_dbus_commands"
  for (at = 1; at <= NR; at++) { split(lines[at], field, "\t"); if (field[2] == "command") printf " %s", quote(field[1] " " field[3]) }
  print ""
  while ((getline line < head) > 0) print line
  print "complete" programs " -f"
  for (at = 1; at <= NR; at++) {
    split(lines[at], field, "\t")
    if (field[2] == "command") rule(field[1], "-a " field[3] " -d " quote(short(field[5])))
    if (field[2] == "positional") {
      kind = word_kind(field[1], field[3])
      if (kind in action) rule(field[1], "-a '" action[kind] "'")
      if (kind == "file" || kind == "plugin-or-file") rule(field[1], "-F")
    }
    if (field[2] == "option" || field[2] == "common") {
      kind = value_kind(field[1], field[3], field[4])
      text = "-l " substr(long_of(field[3]), 3)
      if (field[3] ~ /^-., /) text = "-s " substr(field[3], 2, 1) " " text
      if (field[4] != "") text = text (kind == "file" ? " -r -F" : " -x") (kind in action ? " -a '" action[kind] "'" : "")
      text = text " -d " quote(short(field[5]))
      if (field[2] == "option") rule(field[1], text)
      else if (!(text in shared)) { shared[text] = 1; rules[++total] = text }
    }
  }
  for (i = 1; i <= total; i++) print "complete" programs " " rules[i]
}
