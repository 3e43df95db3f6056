# pages.awk -v name=op-state -v section=5 -v date=YYYY-MM-DD -v version=V -v about=TEXT : a manual page of a text in docs/, from the Markdown that is
# used there: headings, paragraphs, lists, tables, code, quotations, and **bold**, *italic*, `code` and links in lines.
function escape(text) {
  gsub(/\\/, "\\e", text)
  gsub(/-/, "\\-", text)
  gsub(/'/, "\\(aq", text)
  return text
}
# Between backquotes is bold, as typed; elsewhere the marks of Markdown count.
function inline(text,   parts, count, i, out, part) {
  count = split(text, parts, "`")
  for (i = 1; i <= count; i++) {
    part = parts[i]
    if (i % 2 == 0) { out = out "\\fB" escape(part) "\\fR"; continue }
    # A link is its text: where it leads is a file beside this one, or printed there.
    while (match(part, /\[[^]]*\]\([^)]*\)/)) {
      link = substr(part, RSTART, RLENGTH)
      target = link; sub(/^\[[^]]*\]\(/, "", target); sub(/\)$/, "", target)
      sub(/^\[/, "", link); sub(/\]\([^)]*\)$/, "", link)
      if (target ~ /^https?:/ && target != link) link = link " <" target ">"
      part = substr(part, 1, RSTART - 1) link substr(part, RSTART + RLENGTH)
    }
    part = escape(part)
    while (match(part, /\*\*[^*]+\*\*/)) part = substr(part, 1, RSTART - 1) "\\fB" substr(part, RSTART + 2, RLENGTH - 4) "\\fR" substr(part, RSTART + RLENGTH)
    while (match(part, /\*[^* ][^*]*\*/)) part = substr(part, 1, RSTART - 1) "\\fI" substr(part, RSTART + 1, RLENGTH - 2) "\\fR" substr(part, RSTART + RLENGTH)
    out = out part
  }
  sub(/^\./, "\\\\\\&.", out)
  return out
}
# Lines that belong together are read as one: marks may go over their ends.
function flush() {
  if (text == "") return
  print opening (opening == "" ? "" : "\n") inline(text)
  text = opening = ""
}
function begin(with, first) { flush(); opening = with; text = first; is_fresh = 0 }
function cells(line,   parts, count, i) {
  # A bar between backquotes is a bar.
  count = split(line, parts, "`")
  line = parts[1]
  for (i = 2; i <= count; i++) { if (i % 2 == 0) gsub(/\|/, "\001", parts[i]); line = line "`" parts[i] }
  gsub(/\\\|/, "\001", line)
  sub(/^\| */, "", line); sub(/ *\|$/, "", line)
  width = split(line, cell, / *\| */)
  for (i = 1; i <= width; i++) gsub("\001", "|", cell[i])
}
BEGIN {
  print ".\\\" Made from a text in docs/; do not edit."
  printf ".TH %s %s %s \"op-dbus %s\" \"op-dbus manual\"\n", toupper(escape(name)), section, date, version
  print ".SH NAME\n" escape(name) " \\- " escape(about) "\n.SH DESCRIPTION"
  is_fresh = 1
}
/^```/ { flush(); if (is_code) { print ".EE\n.in"; is_code = 0 } else { print ".PP\n.in +4n\n.EX"; is_code = 1 } is_fresh = 0; next }
is_code { line = escape($0); sub(/^\./, "\\\\\\&.", line); print line; next }
/^# / { next }
/^##+ / {
  flush()
  level = /^## / ? ".SH " : ".SS "
  sub(/^##+ /, "")
  gsub(/"/, "")
  title = inline($0)
  gsub(/\\f./, "", title)
  print level title
  is_fresh = 1; rows = 0
  next
}
/^\|[ :|-]+\|$/ && rows == 1 { rows = 2; next }
/^\|/ {
  flush()
  cells($0)
  if (++rows == 1) { for (i = 1; i <= width; i++) head[i] = cell[i]; next }
  print ".TP\n" (cell[1] == "" ? "\\ " : inline(cell[1]))
  said = 0
  for (i = 2; i <= width; i++) {
    if (cell[i] == "") continue
    if (said++) print ".br"
    print (width > 2 && i < width && head[i] != "" ? inline(head[i]) ": " : "") inline(cell[i])
  }
  if (!said) print "\\ "
  is_fresh = 0
  next
}
{ rows = 0 }
/^ *[*-] / { sub(/^ *[*-] /, ""); begin(".IP \\(bu 2", $0); next }
/^ *[0-9]+\. / { match($0, /[0-9]+\./); number = substr($0, RSTART, RLENGTH); sub(/^ *[0-9]+\. /, ""); begin(".IP " number " 4", $0); next }
/^ *$/ { flush(); next }
/^> / { sub(/^> /, "") }
{ sub(/^ +/, ""); if (text == "") begin(is_fresh ? "" : ".PP", $0); else text = text " " $0 }
END { flush(); print ".SH SEE ALSO\n.BR op\\-dbus (7)" }
