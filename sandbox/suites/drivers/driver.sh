# Runs the tests of a bash program, each in a bash of its own, and reports them on descriptor 3.
#
# This shell never reads a line of the program: it keeps the nonce, starts the tests and reports. A test says that it
# came to its end by a word that it is given on descriptor 4 and gives back on descriptor 5.
IFS= read -r -u 3 nonce || exit 125
folder=${BASH_SOURCE[0]%/*}
# The texts are taken away before any program runs, or it could read what is expected of it.
mapfile -t ids <"$folder/ids"
one=$(<"$folder/one.sh")
mapfile -t twins <"$folder/twins"
scripts=() steps=()
for ((number = 0; number < ${#ids[@]} + ${#twins[@]}; number++)); do
    scripts+=("$(<"$folder/test_$number.sh")")
    steps+=("$(<"$folder/steps_$number.sh")")
done
rm -rf "$folder"
failed=0

quoted() {
    local text=${1:0:1500} out='' c i
    for ((i = 0; i < ${#text}; i++)); do
        c=${text:i:1}
        case $c in
        '"' | \\) out+="\\$c" ;;
        [[:cntrl:]]) printf -v c '\\u%04x' "'$c" && out+=$c ;;
        *) out+=$c ;;
        esac
    done
    REPLY="\"$out\""
}

send() {
    printf '{"nonce":"%s","event":"%s"%s}\n' "$nonce" "$1" "$2" >&3
}

report() { # id type message
    local id kind
    quoted "$1" && id=$REPLY
    if [[ -z $2 ]]; then
        send test ",\"id\":$id,\"outcome\":\"passed\""
        return
    fi
    failed=1
    quoted "$2" && kind=$REPLY
    quoted "$3"
    send test ",\"id\":$id,\"outcome\":\"failed\",\"type\":$kind,\"message\":$REPLY"
}

signal_name() {
    REPLY=SIG$(kill -l "$1" 2>/dev/null) || REPLY="signal $1"
}

run_one() { # number; leaves the kind of failure in REPLY, empty when it passed, and its message
    local word said status line
    word=$SRANDOM$SRANDOM$SRANDOM$SRANDOM
    exec 6<&0
    said=$(
        exec 5>&1 >&7
        exec bash --noprofile --norc /dev/fd/9 <&6 3>&- 4<<<"$word" 6<&- \
            8< <(printf '%s\n' "${steps[$1]}") 9< <(printf '%s\n' "$one" "${scripts[$1]}")
    )
    status=$?
    exec 6<&-
    line=${said%%$'\n'*}
    REPLY='' message=''
    if [[ $line == "passed $word" && $status -eq 0 ]]; then
        return
    elif [[ $line == failed\ * ]]; then
        REPLY=AssertionError message=${line#failed }
    elif ((status > 128)); then
        signal_name $((status - 128))
        message='the test was ended by a signal'
    elif ((status != 0)); then
        REPLY=AssertionError message="the test exited with status $status"
    else
        REPLY=ProgramEnded message="the program exited in this test (status $status), so it did not finish"
    fi
}

exec 7>&1
for number in "${!ids[@]}"; do
    run_one "$number"
    report "${ids[number]}" "$REPLY" "$message"
done
# A test's twin expects another result: it must fail, or whatever the program says fits every expectation.
for ((number = 0; failed == 0 && number < ${#twins[@]}; number++)); do
    run_one $((${#ids[@]} + number)) >/dev/null 2>&1 7>&1
    if [[ -z $REPLY ]]; then
        quoted "${ids[twins[number]]}"
        send twin_passed ",\"id\":$REPLY"
        break
    fi
done
send end ''
exit $failed
