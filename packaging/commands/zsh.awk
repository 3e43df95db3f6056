# zsh.awk: the completion for zsh, from read.sh and after values.awk. What it runs is in zsh.head.
BEGIN {
  FS = "\t"
  action["file"] = "_files"; action["folder"] = "_files -/"; action["host"] = "_hosts"
  action["plugin"] = "_op_dbus_plugins"; action["select"] = "_op_dbus_plugins -S ."
  action["plugin-or-file"] = "_op_dbus_plugins_or_files"; action["service"] = "_op_dbus_services"
  action["snapshot"] = "_op_dbus_snapshots"; action["guest"] = "_op_dbus_guests"
  action["outcome"] = "(applied undone residue refusal intent confirm events)"
}
function quote(text) { gsub(/'/, "'\\''", text); return "'" text "'" }
function described(text) { gsub(/[\[\]:\\]/, "\\\\&", text); return text }
function option(name, value, text,   count, parts, spec) {
  spec = "[" described(text) "]"
  if (value != "") spec = spec ":" described(value) ":" action[value_kind($1, name, value)]
  count = split(name, parts, ", ")
  if (count == 2) {
    # A short one takes its value as the next word.
    return quote("(" parts[1] " " parts[2] ")" parts[1] spec) " " quote("(" parts[1] " " parts[2] ")" parts[2] (value != "" ? "=" : "") spec)
  }
  return quote((value ~ /\.\.\.$/ ? "*" : "") name (value != "" ? "=" : "") spec)
}
$1 != "" && !($1 in seen) { seen[$1] = 1; commands[++total] = $1; if ($1 !~ / /) programs = programs " " $1 }
$2 == "option" || $2 == "common" {
  if ($2 == "option") body[$1] = body[$1] "      " option($3, $4, $5) "\n"
  else if (!($3 in shared)) { shared[$3] = 1; common = common "  " option($3, $4, $5) "\n" }
  if ($4 != "") { valued[long_of($3)] = 1; if ($3 ~ /^-., /) valued[substr($3, 1, 2)] = 1 }
}
$2 == "positional" { words[$1] = words[$1] "      " quote("*:" described($3) ":" action[word_kind($1, $3)]) "\n"; delete_extra($1) }
# One rule for all words: those of a command are of one kind, or the last counts.
function delete_extra(command) { if (split(words[command], lines, "\n") > 2) words[command] = lines[2] "\n" }
$2 == "command" { subs[$1] = subs[$1] " " quote($3 ":" described($5)) }
$2 == "default" { standard[$1] = $3 }
END {
  print "#compdef" programs
  print "# Made from the programs' own --help; do not edit. It starts no program and asks no bus."
  while ((getline line < head) > 0) if (line !~ /^#!/) print line
  printf "_op_dbus_valued=("
  for (name in valued) sorted[++n] = name
  for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (sorted[j] < sorted[i]) { t = sorted[i]; sorted[i] = sorted[j]; sorted[j] = t }
  for (i = 1; i <= n; i++) printf "%s%s", (i > 1 ? " " : ""), sorted[i]
  print ")"
  printf "_op_dbus_common=(\n%s)\n", common
  print "_op_dbus_specs() {\n  case $1 in"
  for (i = 1; i <= total; i++) {
    command = commands[i]
    print "    " quote(command) ")"
    if (subs[command] != "") print "      subs=(" substr(subs[command], 2) ")"
    if (command in standard) print "      _op_dbus_specs " quote(command " " standard[command]) "\n      ;;"
    else printf "      specs=(\n%s%s      )\n      ;;\n", body[command], words[command] == "" ? "      '*: :()'\n" : words[command]
  }
  print "    *) return 1 ;;\n  esac\n}\n_op_dbus \"$@\""
}
