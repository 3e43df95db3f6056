# zsh-words.zsh FOLDER LINE : the words that zsh offers at the end of LINE, one a line, with the completions in FOLDER first.
# It asks a zsh behind a pseudo-terminal, as a person would.
zmodload zsh/zpty || exit 69
zpty asked zsh -f -i
{
  zpty -w asked "PROMPT= PS2= ; unset zle_bracketed_paste; stty -echo 2>/dev/null"
  zpty -w asked "fpath=(${(q)1} \$fpath); autoload -Uz compinit; compinit -u -d \$HOME/.zcompdump; zstyle ':completion:*' completer _complete"
  zpty -w asked 'compadd() {
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * || " ${@[1,(i)(-|--)]} " == *" -"[OAD]" "* ]]; then builtin compadd "$@"; return $?; fi
    local -a hits; builtin compadd -A hits "$@"; print -rl -- "${hits[@]/#/WORD:}"; }'
  zpty -w asked 'words_of() { _main_complete; print -r -- DONE; compstate[insert]= compstate[list]=; }'
  zpty -w asked "zle -C words_of complete-word words_of; bindkey '^X' words_of; print READY"
  # What it echoed until here is not of interest.
  zpty -r asked line '*READY*READY*' || zpty -r asked line '*READY*'
  zpty -w -n asked "$2"$'\C-X'
  zpty -r asked line '*DONE*'
  print -r -- "$line" | tr -d '\r' | sed -n 's/.*WORD://p' | sort -u
} always { zpty -d asked }
