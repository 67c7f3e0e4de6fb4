#!/bin/bash
# demo.sh BUILD: one image, run as a container and as a virtual machine, side by side with the times.
# Where this machine's KVM cannot run guests, both halves run in the emulated host (tests/testbed).
set -u

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$(realpath "${1:-$here/../build}")
hybrid=$build/hybrid
image=busybox
widths=(26 34 34)

# What runs: a title, and a command line for the image's shell.
workloads=(
    'its kernel|uname -a'
    'start and end|true'
    'SHA-256 of 16 MiB|head -c 16m /dev/zero | sha256sum'
    'sort 20,000 numbers|seq 20000 | sort -k1.2 | tail -n 1'
    'what it sees|nproc; grep MemTotal /proc/meminfo; hostname'
)

fail() {
    echo "demo: $*" >&2
    exit 1
}

# Runs a workload in one isolation: fills `shown` (its output, or the error) and `took` (milliseconds).
measure() {
    local isolation=$1 command=$2 start=${EPOCHREALTIME/./} status
    shown=$("$hybrid" run --isolation="$isolation" --rm --hostname demo -m 256m "$image" sh -c "$command" 2>&1)
    status=$?
    took=$(((${EPOCHREALTIME/./} - start) / 1000))
    [ $status -eq 0 ] || failures=$((failures + 1))
    [ $status -eq 0 ] || shown="status $status: $shown"
}

# A border: left end, crossing, right end.
border() {
    local text=$1 i
    for i in 0 1 2; do
        text+=$(printf '─%.0s' $(seq $((widths[i] + 2))))
        [ $i = 2 ] || text+=$2
    done
    echo "$text$3"
}

# One row of the table, its three cells folded to their widths.
cells() {
    local first second third count i
    mapfile -t first < <(fold -s -w "${widths[0]}" <<<"$1")
    mapfile -t second < <(fold -s -w "${widths[1]}" <<<"$2")
    mapfile -t third < <(fold -s -w "${widths[2]}" <<<"$3")
    count=$(printf '%s\n' ${#first[@]} ${#second[@]} ${#third[@]} | sort -n | tail -n 1)
    for ((i = 0; i < count; i++)); do
        printf '│ %-*s │ %-*s │ %-*s │\n' "${widths[0]}" "${first[i]:-}" "${widths[1]}" "${second[i]:-}" \
            "${widths[2]}" "${third[i]:-}"
    done
}

seconds() {
    printf '%*d.%03d s' $((widths[1] - 6)) $(($1 / 1000)) $(($1 % 1000))
}

show() {
    local title=$1 command=$2 output
    local took_container
    measure container "$command"
    output=$shown took_container=$took
    measure vm "$command"
    border '├' '┼' '┤'
    cells "$title"$'\n'"\$ $command" "$output" "$shown"
    cells '' "$(seconds "$took_container")" "$(seconds "$took")"
}

run_both() {
    local entry
    work=$(mktemp -d /dev/shm/hybrid-demo.XXXXXX) || fail "cannot make a directory in /dev/shm"
    trap 'rm -rf "$work"' EXIT # $work is global for its sake
    export HYBRID_ROOT=$work/root HYBRID_DATA=$work/data
    mkdir "$HYBRID_ROOT" "$HYBRID_DATA"
    failures=0
    "$hybrid" run --rm "$image" true || fail "the embedded image $image does not run"
    border '┌' '┬' '┐'
    cells "hybrid run $image" '--isolation=container' '--isolation=vm'
    for entry in "${workloads[@]}"; do
        show "${entry%%|*}" "${entry#*|}"
    done
    border '└' '┴' '┘'
    [ $failures -eq 0 ] || fail "$failures commands failed"
}

# Why a VM cannot be had here; empty if it can.
why_no_vm() {
    local work reason
    work=$(mktemp -d) || fail "cannot make a temporary directory"
    reason=$(HYBRID_ROOT=$work/root HYBRID_DATA=$work/data "$hybrid" run --isolation=vm --rm "$image" true 2>&1) &&
        reason=
    rm -rf "$work"
    head -n 1 <<<"$reason"
}

[ -x "$hybrid" ] || fail "$hybrid does not exist; run: make"
if [ "${2:-}" = --emulated ]; then
    "$here/testbed/copy-build" "$build" /dev/shm/build || exit 1
    hybrid=/dev/shm/build/hybrid
    run_both
    exit
fi
reason=$(why_no_vm)
if [ -z "$reason" ]; then
    run_both
    exit
fi
echo "No VM on this machine's own KVM: ${reason#hybrid: }"
echo "So both halves run in the emulated host (QEMU, no KVM of this machine): everything is many times slower there."
exec "$here/testbed/run" -- "$here/demo.sh" "$build" --emulated
