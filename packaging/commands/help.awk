# help.awk -v command=WORDS : one --help, as the lines that read.sh describes.
function trim(text) { gsub(/^ +| +$/, "", text); return text }
function say(kind, name, value, text) {
  gsub(/\t/, " ", text)
  printf "%s\t%s\t%s\t%s\t%s\n", command, kind, name, value, text
}
# What was read of a row is said when the next one begins: its text may go on.
function flush(   long) {
  if (row == "") return
  long = row
  sub(/^-., /, "", long)
  if (section == "command" && sub(/ \(not installed\)$/, "", text)) section = "absent"
  if (section != "absent") say(section, row, section == "option" ? value[long] : common_value, text)
  if (section == "absent") section = "command"
  row = text = common_value = ""
}
# From here on it is about the default command, which has a --help of its own.
/^Without a command, .* is meant:$/ { flush(); say("default", $4, "", ""); skipping = 1; section = ""; next }
/^Common options/ { flush(); skipping = 0; section = "common"; column = 28; next }
/^Notes:$/ { flush(); section = skipping ? "" : "note"; next }
/^Examples:$/ { flush(); section = command ~ / / ? "" : "example"; next }
skipping { next }
/^Usage: / {
  usage = $0
  sub(/^Usage: /, "", usage)
  say("usage", "", "", usage)
  rest = usage
  while (match(rest, /--[a-z-]+ <[^>]+>/)) {
    split(substr(rest, RSTART, RLENGTH), parts, " <")
    sub(/>$/, "", parts[2])
    value[parts[1]] = parts[2]
    rest = substr(rest, RSTART + RLENGTH)
  }
  section = "about"
  next
}
/^(Commands|Verbs):$/ { flush(); section = "command"; column = /^Verbs/ ? 12 : 20; next }
/^Positional Arguments:$/ { flush(); section = "positional"; column = 20; next }
/^Options:$/ { flush(); section = "option"; column = 20; next }
/^$/ { flush(); next }
section == "" { next }
section == "about" { say("about", "", "", $0); next }
section == "note" { say("note", "", "", trim($0)); next }
section == "example" { sub(/^  /, ""); say("example", "", "", $0); next }
/^  [^ ]/ {
  flush()
  if (section == "command" && $0 !~ /^  [a-z-]+ /  && $0 !~ /^  [a-z-]+$/) next
  # A name that is too long for its column stands on a line of its own.
  if (length($0) >= column && substr($0, column, 1) != " ") { row = trim($0); next }
  row = trim(substr($0, 1, column))
  text = trim(substr($0, column + 1))
  if (section == "common" && match(row, / [^-, ]+$/)) {
    common_value = substr(row, RSTART + 1)
    row = substr(row, 1, RSTART - 1)
  }
  next
}
/^   / && row != "" { text = text (text == "" ? "" : " ") trim($0) }
END { flush() }
