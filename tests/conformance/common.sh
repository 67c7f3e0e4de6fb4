# Shared by the scripts of this directory, each of which drives hybrid through one real container engine: on private
# paths, with a daemon that it starts and stops itself. Sourced with bash; $1 of the script is the build directory.
#
# Engines that are not installed are unpacked (not installed: their daemons would be started) from Debian's packages
# into the cache. What cannot be had is SKIP with the reason.
set -u

ENGINE=$(basename "$0")
SCRIPT=$(realpath "$0")
BUILD=$(realpath "${1:?usage: $0 BUILD}")
HYBRID=$BUILD/hybrid
CACHE=${HYBRID_CACHE:-$HOME/.cache/hybrid}/conformance
failures=0
daemons=()
# Who makes the cgroups: the engine, or with HYBRID_CGROUPS=systemd a systemd that is process 1: in the emulated host,
# tests/testbed/run --init systemd --env HYBRID_CGROUPS=systemd -- tests/conformance/NAME build
# A script that has its engine do so sets CGROUPS_BY_SYSTEMD=yes before it sources this.
CGROUPS=${HYBRID_CGROUPS:-cgroupfs}
CTR_CGROUPS=() # arguments of `ctr run`, for one container at a time
[ "$CGROUPS" = cgroupfs ] || CTR_CGROUPS=(--runc-systemd-cgroup --cgroup conformance.slice:ctr:one)
loaded= # modules of the kernel

skip() {
    echo "SKIP conformance/$ENGINE: $*"
    exit 0
}

[ "$(id -u)" = 0 ] || skip "needs root"
[[ $CGROUPS =~ ^(cgroupfs|systemd)$ ]] || { echo "FAIL conformance/$ENGINE: HYBRID_CGROUPS=$CGROUPS is neither cgroupfs nor systemd"; exit 1; }
[ "$CGROUPS" = cgroupfs ] || [ "${CGROUPS_BY_SYSTEMD:-}" = yes ] || skip "it has no run with HYBRID_CGROUPS=systemd"
[ "$CGROUPS" = cgroupfs ] || ENGINE=systemd/$ENGINE
[ "$CGROUPS" = cgroupfs ] || [ -d /run/systemd/system ] || skip "systemd does not run here"
[ -x "$HYBRID" ] || { echo "FAIL conformance/$ENGINE: $HYBRID is not built"; exit 1; }
ON_TERMINAL=$(dirname "$(realpath "$0")")/on_terminal
DIRECTORY=$(mktemp -d /tmp/hybrid-conformance-XXXXXX)
export HYBRID_DATA=$DIRECTORY/data
unset HYBRID_ROOT
# Whoever is not told which daemon to ask, in the clean-up for instance, must not reach this machine's own.
export DOCKER_HOST=unix://$DIRECTORY/docker.sock CONTAINERD_ADDRESS=$DIRECTORY/containerd.sock
cd "$DIRECTORY" || exit 1 # conmon leaves a file "oom" where it was started

stop_daemons() {
    local i pid
    for ((i = ${#daemons[@]} - 1; i >= 0; i--)); do
        pid=${daemons[i]}
        [ -n "$pid" ] || continue # its end was seen: the number may be somebody else's
        kill "$pid" 2>/dev/null
        for _ in $(seq 150); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        kill -9 "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
    done
}

clean_up() {
    trap : TERM HUP INT # which would end it half done
    type -t end_engine >/dev/null && end_engine >/dev/null 2>&1
    stop_daemons
    [ -z "$loaded" ] || eventually unload_modules 2>/dev/null
    awk -v d="$DIRECTORY/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | sort -r | xargs -r umount -l
    eventually rm -rf "$DIRECTORY" # what was killed a moment ago may still write
    # What engines make and leave for their next run: their own directories, and parents of cgroups.
    rmdir /run/containerd/s /run/containerd/fifo /run/containerd /run/docker/plugins /run/docker 2>/dev/null
    cgroup_parents | sort | comm -23 - "$DIRECTORY.cgroups" | sort -r | xargs -r rmdir 2>/dev/null
    rm -f "$DIRECTORY.cgroups"
    return 0
}
cgroup_parents() {
    find /sys/fs/cgroup -mindepth 1 -maxdepth 4 -type d -regex '.*/\(docker\|conformance\|libpod_parent\)\(/.*\)?'
}

cgroup_parents | sort >"$DIRECTORY.cgroups"
trap clean_up EXIT
trap 'exit 143' TERM HUP
trap 'exit 130' INT

# Unpacks Debian packages into the cache.
fetch() {
    local package
    mkdir -p "$CACHE/packages" "$CACHE/root"
    (cd "$CACHE/packages" && apt-get download -qq "$@" >/dev/null 2>"$DIRECTORY/apt") || return 1
    for package; do
        dpkg-deb -x "$(ls -t "$CACHE/packages/${package}"_*.deb | head -n 1)" "$CACHE/root"
    done
}

# Makes programs available: need PACKAGE... -- PROGRAM...
need() {
    local packages=() program missing=
    while [ "$1" != -- ]; do packages+=("$1"); shift; done
    shift
    export PATH=$PATH:$CACHE/root/usr/bin:$CACHE/root/usr/sbin:/usr/sbin:/sbin
    for program; do command -v "$program" >/dev/null || missing="$missing $program"; done
    [ -n "$missing" ] || return 0
    fetch "${packages[@]}" || skip "not installed and not to be had:$missing ($(tail -n 1 "$DIRECTORY/apt"))"
    for program; do
        missing=$(ldd "$(command -v "$program")" 2>/dev/null | grep 'not found')
        [ -z "$missing" ] || skip "$program lacks libraries: $missing"
    done
}

# A daemon of this run: its output goes to a log whose errors are shown if something fails.
start_daemon() { # NAME SOCKET COMMAND...
    local name=$1 socket=$2
    shift 2
    setsid "$@" >"$DIRECTORY/$name.log" 2>&1 &
    daemons+=($!)
    for _ in $(seq 150); do
        [ -S "$socket" ] && return 0
        kill -0 "${daemons[-1]}" 2>/dev/null || break
        sleep 0.2
    done
    skip "$name does not start here: $(tail -n 1 "$DIRECTORY/$name.log" | cut -c1-300)"
}

# Modules that the kernel may have; those that were not there before go again at the end.
load_modules() { # NAME...
    local before
    before=$(modules)
    modprobe -q -a "$@"
    loaded="$(modules | grep -vxF "$before") $loaded"
}
unload_modules() {
    local module
    for module in $loaded; do [ ! -e "/sys/module/$module" ] || rmmod "$module" || return; done
}
# Each comes before those that it needs.
modules() { cut -d ' ' -f 1 /proc/modules 2>/dev/null; }

# containerd's configuration, all of it below a directory: containerd_configuration DIRECTORY
containerd_configuration() {
    cat <<END
version = 2
root = "$1/containerd"
state = "$1/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "$1/containerd.sock"
[ttrpc]
  address = "$1/ttrpc.sock"
END
}

# policy FLOORS: what engines' containers have by it is a container with these floors.
policy() {
    echo "{ \"version\": 1, \"rules\": [], \"default\": \"container\", \"floors\": { $1 } }" >"$DIRECTORY/policy.json"
}

# Mounts that come and go while a container runs, on both sides: check_propagation ENGINE IMAGE RUN...
check_propagation() {
    local engine=$1 image=$2 shared=$DIRECTORY/shared
    shift 2
    mkdir "$shared" && mount -t tmpfs shared "$shared" && mount --make-shared "$shared" && mkdir "$shared/later" "$shared/inside"
    check propagation 0 '^[0-9a-f]{64}$' "$@" -d --name mounts --cap-add sys_admin -v "$shared:/mnt:rslave" -v "$shared:/both:rshared" "$image" sleep 1000
    mount -t tmpfs later "$shared/later" && touch "$shared/later/file"
    check propagation-from-the-host 0 '^file file$' "$engine" exec mounts sh -c 'echo $(ls /mnt/later) $(ls /both/later)'
    check propagation-of-a-slave 0 '' "$engine" exec mounts mount -t tmpfs inside /mnt/inside
    check propagation-of-a-slave-ends-there 32 '' mountpoint -q "$shared/inside"
    check propagation-to-the-host 0 '' bash -c '"$@" mount -t tmpfs inside /both/inside && mountpoint -q "$0"' "$shared/inside" "$engine" exec mounts
    "$engine" kill mounts >/dev/null
    eventually "$engine" rm -f mounts >/dev/null
    umount "$shared/inside" "$shared/later" "$shared"
}

# A root file system of Debian's busybox, as a tar archive.
busybox_archive() {
    local root=$DIRECTORY/busybox
    [ -x /bin/busybox ] || skip "/bin/busybox is not installed"
    mkdir -p "$root/bin" "$root/tmp" "$root/etc"
    cp /bin/busybox "$root/bin/"
    # Its own shell makes links without another program for each, of which an emulated processor starts a few a second.
    (cd "$root/bin" && ./busybox sh -c 'for applet in $(./busybox --list); do [ -e "$applet" ] || ln -s busybox "$applet"; done')
    printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
    tar -C "$root" -c . >"$DIRECTORY/busybox.tar"
}

# Debian 12's docker-compose, of Python: unpacked with what it imports. COMPOSE: where it is then, if it is to be had.
fetch_compose() {
    COMPOSE=$CACHE/root/usr/bin/docker-compose
    [ -e "$COMPOSE" ] || fetch docker-compose python3-cached-property python3-distro python3-docker python3-dockerpty \
        python3-docopt python3-dotenv python3-jsonschema python3-requests python3-texttable python3-websocket python3-yaml \
        python3-distutils python3-lib2to3 python3-attr python3-pyrsistent python3-urllib3 python3-certifi python3-chardet \
        python3-charset-normalizer python3-idna python3-six python3-packaging python3-pkg-resources python3-pyparsing libyaml-0-2
}

# Makes the command `compose`, for $DIRECTORY/compose.yml and the dockerd of this socket.
compose_at() { # SOCKET
    local libraries=("$CACHE"/root/usr/lib/*-linux-gnu)
    wrap compose env DOCKER_HOST="unix://$1" HOME="$DIRECTORY/client" LD_LIBRARY_PATH="${libraries[0]}" \
        PYTHONPATH="$CACHE/root/usr/lib/python3/dist-packages:$CACHE/root/usr/lib/python3.11" /usr/bin/python3 "$COMPOSE" \
        -p pair -f "$DIRECTORY/compose.yml"
}

# Goes on in a network namespace of its own, where bridges, addresses and packet filters are nobody else's. To be
# called when all that is downloaded is there.
in_own_network() {
    if [ -z "${HYBRID_OWN_NETWORK:-}" ]; then
        cd / || exit 1
        clean_up
        trap - EXIT
        exec unshare --net env HYBRID_OWN_NETWORK=1 "$SCRIPT" "$BUILD"
    fi
    ip link set lo up
}

# HANDLER: what HYBRID_HANDLER names, one of these, by default the first; others are in the names of results.
choose_handler() { # NAME...
    HANDLER=${HYBRID_HANDLER:-$1}
    [[ " $* " = *" $HANDLER "* ]] || { echo "FAIL conformance/$ENGINE: HYBRID_HANDLER=$HANDLER is none of $*"; exit 1; }
    [ "$HANDLER" = "$1" ] || ENGINE=$ENGINE/$HANDLER
}

has_vms() { "$HYBRID" doctor --json 2>/dev/null | grep -q '"vm": *true'; }
need_vms() { has_vms || skip "no VMs here: $(what_is_missing)"; }
# Rows of the doctor, in one line.
what_is_missing() { "$HYBRID" doctor | awk '$2 == "missing"' | cut -c1-200 | paste -sd '|'; }

# Goes on in the emulated host if no VM can run here. To be called when all that is downloaded is there. QEMU now and
# then stops for good: such a boot is given up and repeated, and what it printed is not shown.
where_vms_run() {
    has_vms && return
    if [ -n "${TESTBED:-}" ]; then
        [ -e /dev/kvm ] || need_vms
        echo "FAIL conformance/$ENGINE: no VMs in the emulated host: $(what_is_missing)"
        exit 1
    fi
    [ "$CGROUPS" = cgroupfs ] || need_vms # the emulated host of this function has no systemd
    local boot status tests
    tests=$(dirname "$(dirname "$SCRIPT")")
    cd "$tests/.." || exit 1
    for boot in 1 2 3; do
        "$tests/testbed/run" --timeout 600 -- bash -uc 'tests/testbed/copy-build "$1" /dev/shm/build &&
            exec "$2" /dev/shm/build' "$ENGINE" "$BUILD" "$SCRIPT" >"$DIRECTORY/emulated" 2>&1
        status=$?
        [ $status = 124 ] || [ $status = 125 ] || break
        echo "NOTE the emulated host stopped (boot $boot of 3): $(tail -n 1 "$DIRECTORY/emulated" | cut -c1-200)"
    done
    cat "$DIRECTORY/emulated"
    exit $status
}

# Functions end by themselves; programs are given two minutes, or LIMIT seconds.
limited() {
    if [ "$(type -t "$1")" = function ]; then "$@"; else timeout "${LIMIT:-120}" "$@"; fi
}

# Runs a command and judges it: check NAME STATUS EXPRESSION COMMAND... STATUS is an expression too.
# EXPRESSION is matched against everything it printed; '' is not looked at.
check() {
    local name=$1 status=$2 expression=$3 seen out
    shift 3
    out=$(limited "$@" </dev/null 2>&1 | tr -d '\0'; exit "${PIPESTATUS[0]}")
    seen=$?
    if [[ $seen =~ ^($status)$ ]] && { [ -z "$expression" ] || grep -qE -- "$expression" <<<"$out"; }; then
        echo "PASS conformance/$ENGINE/$name"
    else
        failures=$((failures + 1))
        echo "FAIL conformance/$ENGINE/$name: status $seen (wanted $status), output (wanted /$expression/): $(tr '\n' ' ' <<<"$out" | cut -c1-600)"
    fi
}

# A program on the path of this script, with arguments given already: wrap NAME COMMAND...
wrap() {
    local name=$1
    shift
    mkdir -p "$DIRECTORY/bin"
    printf '#!/bin/sh\nexec %s "$@"\n' "$(printf '%q ' "$@")" >"$DIRECTORY/bin/$name"
    chmod +x "$DIRECTORY/bin/$name"
    PATH=$DIRECTORY/bin:$PATH
}

# Whether a command succeeds within ten seconds.
eventually() {
    local i
    for i in $(seq 100); do "$@" && return; sleep 0.1; done
    return 1
}

# A unit that systemd has, and the limits that it knows of it: check_unit NAME UNIT [EXPRESSION]
check_unit() {
    [ "$CGROUPS" = systemd ] || return 0
    check "unit-$1" 0 "ActiveState=active .*${3:-}" bash -c \
        'systemctl show "$1" -p ActiveState,CPUQuotaPerSecUSec,MemoryLimit,MemoryMax,TasksMax | sort | paste -sd " "' bash "$2"
}
# Scopes and slices of engines that there are still, but for those of conmon, which ends by itself; and what has failed.
no_units_left() {
    local there failed left
    there=$(systemctl list-units --all --no-legend --plain 'libpod-*.scope' 'docker-*.scope' 'cri-containerd-*.scope' 'ctr-*.scope' 'machine-*.slice') &&
        failed=$(systemctl list-units --failed --no-legend --plain '*.scope' '*.slice') || return
    left=$(grep -v '^libpod-conmon-' <<<"$there"; echo "$failed")
    echo "$left"
    [ -z "$left" ]
}

finish() {
    if [ "$CGROUPS" = systemd ]; then
        end_engine >/dev/null 2>&1
        check no-units-left 0 '' eventually no_units_left
    fi
    [ "$failures" = 0 ] && exit
    grep -hE 'level=(error|fatal)' "$DIRECTORY"/*.log "$DIRECTORY"/*/*.log 2>/dev/null | tail -n 10 | cut -c1-400
    exit 1
}
