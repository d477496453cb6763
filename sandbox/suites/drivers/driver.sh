# Runs the tests of a bash program, each in a bash of its own, and reports them on descriptor 3.
#
# This shell never reads a line of the program: it keeps the nonce, starts the tests and reports. A test says that it
# came to its end by a word that it is given on descriptor 4 and gives back on descriptor 5.
IFS= read -r -u 3 nonce || exit 125
folder=${BASH_SOURCE[0]%/*}
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

run_one() { # id, file
    local id=$1 word said status line what
    word=$SRANDOM$SRANDOM$SRANDOM$SRANDOM
    exec 6<&0
    said=$(
        exec 5>&1 >&7
        exec bash --noprofile --norc "$folder/one.sh" "$folder/$2" <&6 4<<<"$word" 3>&-
    )
    status=$?
    exec 6<&-
    line=${said%%$'\n'*}
    if [[ $line == "passed $word" && $status -eq 0 ]]; then
        report "$id" '' ''
    elif [[ $line == failed\ * ]]; then
        what=${line#failed }
        report "$id" AssertionError "$what"
    elif ((status > 128)); then
        signal_name $((status - 128))
        report "$id" "$REPLY" 'the test was ended by a signal'
    else
        report "$id" ProgramEnded "the program exited in this test (status $status), so it did not finish"
    fi
}

exec 7>&1
number=0
while IFS= read -r -u 8 id; do
    run_one "$id" "test_$number.sh"
    ((number += 1))
done 8<"$folder/ids"
send end ''
exit $failed
