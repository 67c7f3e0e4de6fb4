# Completion of hybrid(1) for bash. Verbs and options come from `hybrid --help` and `hybrid VERB --help`
# themselves, so that this file knows nothing that could grow old; what it adds are the values.

# The verbs, in the order of the help: the indented first words of its groups.
_hybrid_verbs() {
    "$1" --help 2>/dev/null | sed -n '/^Global options:/q; s/^  \([a-z]\+\) .*/\1/p'
}

# The options of a verb (of hybrid itself without one), long and short.
_hybrid_options() {
    "$1" ${2:+"$2"} --help 2>/dev/null | sed -n '/ptions:$/,/^$/{
        s/^  \(-[a-zA-Z]\), \(--[a-z-]\+\).*/\1 \2/p
        s/^ \+\(--[a-z-]\+\).*/\1/p
    }'
    echo --help
}

# Whether an option of this verb takes a value: its help shows `--name=VALUE`.
_hybrid_takes_value() {
    "$1" ${2:+"$2"} --help 2>/dev/null | grep -qE -- "^  .*(^|[ ,])$3(=|, --[a-z-]+=)"
}

_hybrid_values() {
    case $2 in
    --isolation)
        if [ "$3" = compare ]; then
            echo container container-without-seccomp vm
        else
            echo auto container vm
        fi
        ;;
    --only) echo start stop memory cost reach host neighbours ;;
    --format) echo table json ;;
    --log-format) echo text json ;;
    --cgroup-manager) echo cgroupfs systemd disabled ;;
    --network) echo none ns:/run/netns/ ;;
    --pull) echo missing always never ;;
    --platform) echo linux/amd64 linux/arm64 ;;
    --userns) echo host 0:100000:65536 ;;
    --security-opt) echo seccomp= seccomp=unconfined no-new-privileges ;;
    --stop-signal | --signal | -s) echo HUP INT QUIT KILL USR1 USR2 TERM WINCH ;;
    --cap-add | --cap-drop)
        echo ALL AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_ADMIN NET_BIND_SERVICE \
            NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_ADMIN SYS_CHROOT SYS_NICE SYS_PTRACE SYS_TIME
        ;;
    --ulimit) echo core= cpu= data= fsize= memlock= nofile= nproc= stack= ;;
    esac
}

_hybrid_operands() {
    case $2 in
    run | compare | pull | push | verify | save | tag | history | rmi | inspect) "$1" images 2>/dev/null | awk 'NR > 1 { print $1 }' ;;
    policy)
        if [ "$3" = 0 ]; then
            echo check explain
        elif [ "$3" = 1 ]; then
            "$1" images 2>/dev/null | awk 'NR > 1 { print $1 }'
        fi
        ;;
    esac
    case $2 in
    explain) "$1" explain 2>/dev/null | cut -d" " -f1 ;;
    image) echo prune ;;
    system) echo df check ;;
    exec | kill | stop | logs | pause | resume | update) "$1" ps -q 2>/dev/null ;;
    rm | start | wait | inspect) "$1" ps -a -q 2>/dev/null ;;
    state | delete | events) "$1" list -q 2>/dev/null ;;
    esac
}

_hybrid() {
    local program=${COMP_WORDS[0]} current previous words verb='' operands=0 i word
    COMPREPLY=()
    # Readline splits at `=`: put `--name=value` together again.
    current=${COMP_WORDS[COMP_CWORD]}
    previous=${COMP_WORDS[COMP_CWORD - 1]}
    if [ "$current" = = ]; then
        current=
    elif [ "$previous" = = ]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    fi

    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
        = | "$current") ;;
        -*)
            if [ "${COMP_WORDS[i + 1]}" = = ]; then
                i=$((i + 2))
            elif _hybrid_takes_value "$program" "$verb" "$word"; then
                i=$((i + 1))
            fi
            ;;
        *)
            if [ -z "$verb" ]; then
                verb=$word
            else
                operands=$((operands + 1))
            fi
            ;;
        esac
    done

    words=$(_hybrid_values "$program" "$previous" "$verb")
    if [ -n "$words" ]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
        return
    fi
    case $previous in
    --env-file | --root | --data | --log | --bundle | --pid-file | --console-socket | --process | --resources | \
        --input | --output | -o | --policy | --html | --key)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    esac
    # What follows the image of `run` or the workload of `exec` is a command of theirs.
    if [ "$operands" -gt 0 ] && { [ "$verb" = run ] || [ "$verb" = compare ] || [ "$verb" = exec ]; }; then
        return
    fi
    case $current in
    -*)
        # `policy explain` takes the options of `run`.
        if [ "$verb" = policy ] && [ "$operands" -gt 0 ]; then
            words=$(_hybrid_options "$program" run)
        else
            words=$(_hybrid_options "$program" "$verb")
        fi
        ;;
    *)
        if [ -z "$verb" ]; then
            words=$(_hybrid_verbs "$program")
        elif [ "$verb" = load ] || { [ "$verb" = import ] && [ "$operands" = 0 ]; } ||
            { [ "$verb" = policy ] && [ "$previous" = check ]; }; then
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
        else
            words=$(_hybrid_operands "$program" "$verb" "$operands")
        fi
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -F _hybrid hybrid
