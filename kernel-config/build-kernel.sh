#!/bin/bash
# Builds the guest kernel: build-kernel.sh OUTPUT
#
# Debian's linux-source package, unpatched, configured by fragment.config. The result is cached outside
# the tree under a hash of everything that goes into it; OUTPUT becomes a copy of it.
set -euo pipefail

package=linux-source-6.12
source=/usr/src/$package.tar.xz
here=$(dirname "$(realpath "$0")")
fragment=$here/fragment.config
cache=${HYBRID_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hybrid}
output=${1:?usage: build-kernel.sh OUTPUT}
objects=1100 # that a build compiles, roughly: for the progress line only

fail() {
    echo "build-kernel: $*" >&2
    exit 1
}

hash_of_inputs() {
    {
        cat "$fragment" "$here/build-kernel.sh"
        dpkg-query -W "$package" 2>/dev/null || sha256sum "$source"
        gcc --version | head -n 1
        ld --version | head -n 1
    } | sha256sum | cut -c 1-16
}

# The kernel's own makefiles must see neither our make's variables and job server nor a user's CFLAGS.
kernel_make() {
    env -i PATH="$PATH" HOME="$HOME" LC_ALL=C \
        KBUILD_BUILD_USER=hybrid KBUILD_BUILD_HOST=hybrid \
        KBUILD_BUILD_TIMESTAMP="$(LC_ALL=C date -u -r "$source")" \
        make -C "$work/$package" ARCH=x86_64 "$@"
}

# kconfig drops an option whose dependencies are not met without a word: compare, line by line.
check_config() {
    local line option config=$work/$package/.config
    while IFS= read -r line; do
        case $line in
        CONFIG_*)
            grep -qxF -- "$line" "$config" ||
                fail "fragment.config says $line, but kconfig made it:" \
                    "$(grep -w -- "${line%%=*}" "$config" || echo "(no such option, or hidden)")"
            ;;
        '# CONFIG_'*' is not set')
            option=${line#\# }
            option=${option% is not set}
            if grep -q "^$option=" "$config"; then
                fail "fragment.config says that $option is not set, but another option selects it"
            fi
            ;;
        esac
    done <"$fragment"
}

# One line in place on a terminal, a line every half minute elsewhere, until it is killed.
show_progress() {
    local seconds=30 start=$SECONDS compiled text sleeper
    [ -t 2 ] && seconds=2
    # The sleep must not outlive this: it would hold the caller's stderr open.
    trap 'kill $sleeper; exit' TERM
    while :; do
        sleep $seconds &
        sleeper=$!
        wait $sleeper
        compiled=$(grep -cE '^  (CC|AS) ' "$log" || true)
        text="kernel: $compiled of about $objects objects compiled, $((SECONDS - start)) s"
        if [ -t 2 ]; then
            printf '\r%s ' "$text" >&2
        else
            echo "$text" >&2
        fi
    done
}

run_logged() {
    if ! "$@" >>"$log" 2>&1; then
        tail -n 25 "$log" >&2
        fail "'${*:2}' failed (above: the end of $log)"
    fi
}

build() {
    echo "kernel: building the guest kernel from $package, once; some minutes" >&2
    rm -rf "$work"
    mkdir -p "$work"
    : >"$log"
    tar -C "$work" -xf "$source"
    run_logged kernel_make KCONFIG_ALLCONFIG="$fragment" allnoconfig
    check_config

    show_progress &
    progress=$!
    run_logged kernel_make -j"$(nproc)" vmlinux
    kill $progress
    wait $progress 2>/dev/null || true

    mkdir "$work/result"
    cp "$work/$package/.config" "$work/result/config"
    cp "$work/$package/System.map" "$work/result/System.map"
    strip -s -o "$work/result/vmlinux" "$work/$package/vmlinux"
    mv -T "$work/result" "$kernel"
    if [ -t 2 ]; then
        echo >&2
    fi
    echo "kernel: $(kernel_make -s kernelrelease), vmlinux of $(stat -c %s "$kernel/vmlinux") bytes;" \
        "$(size -A -d "$kernel/vmlinux" | awk '$1 == ".text" { print $2 }') of them text" >&2
}

for tool in gcc:gcc ld:binutils flex:flex bison:bison bc:bc xz:xz-utils perl:perl; do
    command -v "${tool%:*}" >/dev/null ||
        fail "${tool%:*} not found; run: make packages, or apt-get install ${tool#*:}"
done
for need in "$source:$package" /usr/include/gelf.h:libelf-dev; do
    [ -r "${need%:*}" ] ||
        fail "${need%:*} not found; run: make packages, or apt-get install ${need#*:}"
done

mkdir -p "$cache"
kernel=$cache/kernel-$(hash_of_inputs)
work=$kernel.work
log=$kernel.log
progress=

if [ ! -e "$kernel/vmlinux" ]; then
    # Builds of the same kernel wait here for the first one; the lock ends with its process.
    exec 9>"$cache/kernel.lock"
    flock 9
    if [ ! -e "$kernel/vmlinux" ]; then
        trap '[ -z "$progress" ] || kill $progress 2>/dev/null || true; rm -rf "$work"' EXIT
        trap 'exit 130' INT
        trap 'exit 143' TERM HUP
        build 9>&-
        rm -f "$log"
    fi
    exec 9>&-
fi
cp "$kernel/vmlinux" "$output.new"
mv "$output.new" "$output"
