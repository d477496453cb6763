# Runs one bash test. The program's functions run in processes of their own where the tests need no more than that.
__cq_word=
IFS= read -r -u 4 __cq_word
exec 4<&-

__cq_fail() {
    builtin printf 'failed %s\n' "${1//$'\n'/ }" >&5
    builtin exit 1
}
assert() {
    "$@" || __cq_fail "assert $* (line ${BASH_LINENO[0]})"
}
assert_eq() {
    [[ $1 == "$2" ]] || __cq_fail "assert_eq: '$1' is not '$2'${3:+: $3} (line ${BASH_LINENO[0]})"
}
assert_equal() { [[ $1 == "$2" ]] || __cq_fail "assert_equal: '$1' is not '$2'${3:+: $3} (line ${BASH_LINENO[0]})"; }
assert_equals() { [[ $1 == "$2" ]] || __cq_fail "assert_equals: '$1' is not '$2'${3:+: $3} (line ${BASH_LINENO[0]})"; }
assertEquals() {
    (($# < 3)) || shift # shunit2 puts what it says first
    [[ $1 == "$2" ]] || __cq_fail "assertEquals: '$1' is not '$2' (line ${BASH_LINENO[0]})"
}
assert_ne() { [[ $1 != "$2" ]] || __cq_fail "assert_ne: both are '$1' (line ${BASH_LINENO[0]})"; }
assert_contains() { [[ $1 == *"$2"* ]] || __cq_fail "assert_contains: '$1' lacks '$2' (line ${BASH_LINENO[0]})"; }
assert_true() { "$@" || __cq_fail "assert_true $* (line ${BASH_LINENO[0]})"; }
assert_success() { "$@" || __cq_fail "assert_success $* (line ${BASH_LINENO[0]})"; }
assert_false() { if "$@"; then __cq_fail "assert_false $* (line ${BASH_LINENO[0]})"; fi; }
assert_fail() { if "$@"; then __cq_fail "assert_fail $* (line ${BASH_LINENO[0]})"; fi; }
assert_failure() { if "$@"; then __cq_fail "assert_failure $* (line ${BASH_LINENO[0]})"; fi; }
assert_status() {
    local wanted=$1 status=0
    shift
    "$@" || status=$?
    ((status == wanted)) || __cq_fail "assert_status: $* ended with $status, not $wanted (line ${BASH_LINENO[0]})"
}
run() { # as in bats: what a command says and how it ends are looked at afterwards
    output=$("$@" 2>&1) && status=0 || status=$?
    mapfile -t lines <<<"$output"
}
fail() { __cq_fail "${*:-fail} (line ${BASH_LINENO[0]})"; }
# A test is what its commands are that check something: each of them has to hold, not only the last one.
__cq_err() { # command line
    local leaves='^\(.*[; ]exit +[1-9]' check='^(\[|test )' sum='^\(\(.*(==|!=|<|>)' changes='\+\+|--|[^=!<>]=[^=]'
    if [[ $1 =~ $check || ( $__cq_deep == 1 && $1 =~ $leaves ) ]] || [[ $1 =~ $sum && ! $1 =~ $changes ]]; then __cq_fail "${__cq_shown:-$1 (line $2)}"; fi
}
__cq_ended() { # status
    (($1 == 0)) || __cq_fail "${__cq_shown:-$__cq_in returned $1}"
}

# What the tests judge with may not be replaced by the program.
__cq_kept="assert assert_eq assert_equal assert_equals assertEquals assert_ne assert_contains assert_true assert_success
assert_false assert_fail assert_failure assert_status fail __cq_fail __cq_err __cq_ended __cq_guard __cq_settle __cq_leave __cq_done"
__cq_path=$PATH

__cq_guard() {
    __cq_safe=
    [[ ${POSIXLY_CORRECT@a} != *r* ]] || : "${__cq_never?the program made its tests unsafe}"
    POSIXLY_CORRECT=y # now unset and its like are found before functions of these names
    unset -f builtin unset command enable test [ [[ exit return echo printf read set trap source . eval exec export true false : kill \
        declare local let shopt type hash cat grep diff wc sort head tail tr cut sed awk bash \
        cmp comm egrep fgrep expr uniq tee jq bc env printenv ls stat
    unset POSIXLY_CORRECT
    builtin enable test [ exit return echo printf read set trap source . eval exec export true false kill declare local let shopt builtin
    builtin shopt -u expand_aliases
    builtin trap - EXIT DEBUG ERR RETURN
    builtin set +eu
    PATH=$__cq_path
    builtin hash -r
    __cq_safe=yes
}

__cq_settle() { # checks in the background are heard, too, if they end within a second
    local left=50 line
    while [[ $(builtin jobs -r) ]] && ((left-- > 0)); do
        PATH=$__cq_path command sleep 0.02
    done
    while IFS= read -r line; do
        if [[ $line =~ Running\ +(\(|\[|assert|test|fail) ]]; then
            __cq_fail "a check in the background still ran when its test ended: ${line#*Running}; wait for it"
        fi
    done < <(builtin jobs -r)
}

__cq_leave() { # what is left in the background would keep the channel of this test open
    local pid
    for pid in $(builtin jobs -p); do
        builtin kill -9 "$pid" 2>/dev/null
    done
}

__cq_done() {
    __cq_settle
    [[ $__cq_safe == yes ]] || : "${__cq_never?the program made its tests unsafe}"
    builtin printf 'passed %s\n' "$__cq_word" >&5
    builtin exit 0
}
readonly -f $__cq_kept
readonly __cq_path
