#!/bin/bash
# demo.sh BUILD: one image, run as a container and as a virtual machine, side by side with the times.
# Where this machine's KVM cannot run guests, both halves run in the emulated host (tests/testbed).
set -u

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$(realpath "${1:-$here/../build}")
hybrid=$build/hybrid
image=busybox
width=44

workloads=(
    'the kernel it runs on|uname -a'
    'start and end|true'
    'SHA-256 of 64 MiB|head -c 67108864 /dev/zero | sha256sum'
    'sort 20,000 numbers|seq 20000 | sort -k1.2 | tail -n 1'
    'what it may use|nproc; free -m | awk "/Mem/ {print \$2 \" MiB\"}"'
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

line() {
    printf '%s%s%s\n' "$1" "$(printf '─%.0s' $(seq $((width + 2))))$2$(printf '─%.0s' $(seq $((width + 2))))" "$3"
}

cells() {
    local left right count i
    mapfile -t left < <(fold -s -w $width <<<"$1")
    mapfile -t right < <(fold -s -w $width <<<"$2")
    count=$((${#left[@]} > ${#right[@]} ? ${#left[@]} : ${#right[@]}))
    for ((i = 0; i < count; i++)); do
        printf '│ %-*s │ %-*s │\n' $width "${left[i]:-}" $width "${right[i]:-}"
    done
}

show() {
    local title=$1 command=$2 first first_took
    measure container "$command"
    first=$shown first_took=$took
    measure vm "$command"
    line '├' '┼' '┤'
    cells "$title" "\$ $command"
    line '├' '┼' '┤'
    [ -z "$first$shown" ] || cells "$first" "$shown"
    cells "$(printf '%6d ms' "$first_took")" "$(printf '%6d ms' "$took")"
}

run_both() {
    local work entry
    work=$(mktemp -d /dev/shm/hybrid-demo.XXXXXX) || fail "cannot make a directory in /dev/shm"
    trap 'rm -rf "$work"' EXIT
    export HYBRID_ROOT=$work/root HYBRID_DATA=$work/data
    mkdir "$HYBRID_ROOT" "$HYBRID_DATA"
    failures=0
    "$hybrid" run --rm "$image" true || fail "the embedded image $image does not run"
    line '┌' '┬' '┐'
    cells "hybrid run --isolation=container $image" "hybrid run --isolation=vm $image"
    for entry in "${workloads[@]}"; do
        show "${entry%%|*}" "${entry#*|}"
    done
    line '└' '┴' '┘'
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
    # What is timed is read from memory: the emulated host sees the caller's files slowly.
    mkdir /dev/shm/build
    cp -r "$build"/{hybrid,hybrid-image,hybrid-vmm,vmlinux,guest-root.erofs,images} /dev/shm/build || exit 1
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
