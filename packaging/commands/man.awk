# man.awk -v program=op-x -v date=YYYY-MM-DD -v version=V -v others="op-y ..." : section 1's page of a program, from read.sh.
BEGIN { FS = "\t" }
function escape(text) {
  gsub(/\\/, "\\e", text)
  gsub(/-/, "\\-", text)
  gsub(/"/, "\\(dq", text)
  gsub(/'/, "\\(aq", text)
  sub(/^\./, "\\\\\\&.", text)
  return text
}
function sentence(text) {
  if (text !~ /^op-/) text = toupper(substr(text, 1, 1)) substr(text, 2)
  text = escape(text)
  return text (text ~ /[.:]$/ ? "" : ".")
}
# A row's name: what is typed is bold, what is replaced is italic.
function term(name, value,   count, parts, i, text) {
  count = split(name, parts, ", ")
  for (i = 1; i <= count; i++) text = text (i > 1 ? "\\fR, " : "") "\\fB" escape(parts[i])
  if (value != "") text = text "\\fR \\fI" escape(value)
  return ".TP\n" text "\\fR"
}
$1 == "" || ($1 != program && index($1, program " ") != 1) { next }
{ if (!($1 in seen)) { seen[$1] = 1; commands[++total] = $1 } }
$2 == "about" { about[$1] = about[$1] (about[$1] == "" ? "" : "\n.PP\n") sentence($5); if (!($1 in short)) short[$1] = $5 }
$2 == "usage" { usage[$1] = $5 }
$2 == "default" { standard[$1] = $3 }
$2 == "positional" { places[$1] = places[$1] ".TP\n\\fI" escape($3) "\\fR\n" sentence($5) "\n" }
$2 == "option" { options[$1] = options[$1] term($3, $4) "\n" sentence($5) "\n" }
$2 == "command" { verbs[$1] = verbs[$1] ".TP\n\\fB" escape($3) "\\fR\n" sentence($5) "\n"; is_group[$1] = 1 }
$2 == "common" && $1 == program { common = common term($3, $4) "\n" sentence($5) "\n" }
$2 == "note" { notes[$1] = notes[$1] escape($5) "\n" }
$2 == "example" { examples = examples escape($5) "\n" }
function one(text) { sub(/\.$/, "", text); return tolower(substr(text, 1, 1)) substr(text, 2) }
function synopsis(command,   text) {
  text = usage[command]
  sub(/ \[--\]/, "", text)
  sub("^" command, "", text)
  text = escape(text)
  gsub(/</, "\\fI", text)
  gsub(/>/, "\\fR", text)
  return ".HP\n\\fB" escape(command) "\\fR" text
}
END {
  print ".\\\" Made from the program's own --help; do not edit."
  printf ".TH %s 1 %s \"op-dbus %s\" \"op-dbus manual\"\n", toupper(program), date, version
  print ".SH NAME\n" escape(program) " \\- " escape(program == "op-dbus" ? "any D-Bus service as declarative state" : one(short[program]))
  print ".SH SYNOPSIS\n.ad l"
  for (i = 1; i <= total; i++) if (!(commands[i] in is_group) || program == "op-dbus" || commands[i] == program && !(program in standard)) print synopsis(commands[i])
  print ".ad\n.SH DESCRIPTION\n" about[program]
  if (program in standard) print ".PP\nWithout a command,\n.B " escape(standard[program]) "\nis meant."
  if (program == "op-dbus") printf ".SH VERBS\n%s.PP\nEvery program \\fBop\\-\\fIVERB\\fR in the \\fBPATH\\fR is a verb, too.\n", verbs[program]
  for (i = 1; i <= total; i++) {
    command = commands[i]
    if (command == program) {
      if (places[command] != "" || options[command] != "") printf ".SH OPTIONS\n%s%s", places[command], options[command]
      continue
    }
    if (!heading++) print ".SH COMMANDS"
    print ".SS " escape(command) "\n" about[command]
    if (command in is_group) printf ".PP\nIts commands are explained below.\n"
    if (places[command] != "" || options[command] != "") printf "%s%s", places[command], options[command]
    if (notes[command] != "") printf ".PP\n%s", notes[command]
  }
  printf ".SH COMMON OPTIONS\nThey stand before or after a command.\n%s", common
  if (examples != "") printf ".SH EXAMPLES\n.EX\n%s.EE\n", examples
  print ".SH EXIT STATUS\n.B op\\-dbus (7)\nhas the table, which is the same for all programs.\n.SH SEE ALSO"
  count = split(others, names, " ")
  for (i = 1; i <= count; i++) if (names[i] != program) print ".BR " escape(names[i]) " (1),"
  print ".BR op\\-plugin.toml (5),\n.BR op\\-semantic\\-mapping.toml (5),\n.BR op\\-state (5),\n.BR op\\-dbus (7)"
}
