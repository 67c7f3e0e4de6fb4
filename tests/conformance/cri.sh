# What `kubernetes` calls containerd's CRI by, as a kubelet does: the daemon and the messages. Sourced after common.sh, by a script that calls itself
# with BUILD alone (in_own_network). Handlers of a pod: hybrid and hybrid-vm.
need containerd iproute2 curl -- containerd ctr containerd-shim-runc-v2 ip curl
PLUGINS=/usr/lib/cni
[ -x $PLUGINS/bridge ] || PLUGINS=$CACHE/root/usr/lib/cni
[ -x "$PLUGINS/bridge" ] || fetch containernetworking-plugins || skip "CNI plugins are not installed and not to be had"
# gRPC's Python, unpacked with what it imports and links.
grpc() {
    local libraries=("$CACHE"/root/usr/lib/*-linux-gnu)
    env LD_LIBRARY_PATH="${libraries[0]}" PYTHONPATH="$CACHE/root/usr/lib/python3/dist-packages" /usr/bin/python3 "$@"
}
grpc -c 'import grpc' 2>/dev/null || fetch python3-grpcio python3-protobuf python3-six libabsl20220623 libc-ares2 libre2-9 &&
    grpc -c 'import grpc' 2>/dev/null || skip "gRPC for Python is not installed and not to be had"
in_own_network

ln -s "$HYBRID" "$DIRECTORY/hybrid-vm"
# What a kubelet of either cgroupDriver names as the parent of a pod.
if [ "$CGROUPS" = systemd ]; then SYSTEMD_CGROUP=true PARENT=conformance-pods.slice; else SYSTEMD_CGROUP=false PARENT=/conformance/pods; fi
# A handler as README.md has it; all else keeps this containerd apart from others.
handler() { # NAME PROGRAM
    cat <<END
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.$1]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.$1.options]
        BinaryName = "$2"
        SystemdCgroup = $SYSTEMD_CGROUP
        Root = "$DIRECTORY/runc"
END
}
containerd_configuration "$DIRECTORY" | sed 's/"io.containerd.grpc.v1.cri", //' >"$DIRECTORY/config.toml"
cat >>"$DIRECTORY/config.toml" <<END
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/pause:latest"
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$PLUGINS"
    conf_dir = "$DIRECTORY/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    default_runtime_name = "hybrid"
$(handler hybrid "$HYBRID")
$(handler hybrid-vm "$DIRECTORY/hybrid-vm")
END
mkdir "$DIRECTORY/net.d" "$DIRECTORY/logs" "$DIRECTORY/www"
echo 'from the pod' >"$DIRECTORY/www/index.html"
cat >"$DIRECTORY/net.d/10-pods.conflist" <<END
{"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "bridge", "bridge": "pods0", "isGateway": true,
 "ipam": {"type": "host-local", "dataDir": "$DIRECTORY/addresses", "ranges": [[{"subnet": "10.240.0.0/24"}]]}}]}
END
POD=
ALLOCATED=$(ls -d /var/lib/cni 2>/dev/null) # what the plugins of CNI remember
end_engine() {
    [ -z "$POD" ] || { cri StopPodSandbox "{\"1\": \"$POD\"}"; cri RemovePodSandbox "{\"1\": \"$POD\"}"; }
    [ -n "$ALLOCATED" ] || rm -rf /var/lib/cni
}
start_daemon containerd "$DIRECTORY/containerd.sock" containerd -c "$DIRECTORY/config.toml"
cri() { grpc "$(dirname "$SCRIPT")/cri_call" "$DIRECTORY/containerd.sock" "$@"; }

busybox_archive
"$HYBRID" import -q -c 'CMD ["sleep", "1000000"]' "$DIRECTORY/busybox.tar" pause >"$DIRECTORY/import" 2>&1 &&
    "$HYBRID" save -o "$DIRECTORY/pause.tar" pause >"$DIRECTORY/import" 2>&1 &&
    ctr -a "$DIRECTORY/containerd.sock" -n k8s.io image import --snapshotter native "$DIRECTORY/pause.tar" >"$DIRECTORY/import" 2>&1 ||
    skip "no image for pods: $(tail -n 1 "$DIRECTORY/import")"

# A pod and its containers, in the numbers of api.proto (k8s.io/cri-api, v1).
SANDBOX='{"1": {"1": "pair", "2": "uid-pair", "3": "default"}, "2": "pair", "3": "'$DIRECTORY/logs'",
 "8": {"1": "'$PARENT'", "3": {"1": "net.ipv4.ip_unprivileged_port_start", "2": "77"}}}'
MOUNTS='{"1": "/www", "2": "'$DIRECTORY/www'", "3": 1}' # of its containers
ATTEMPT=0
OWN_PROCESSES='"2": {"3": {"2": 1}}' # as a kubelet asks, unless a pod has shareProcessNamespace
pod() { echo "{\"1\": $SANDBOX, \"2\": \"$1\"}"; } # HANDLER
strings() { printf '"%s",' "$@" | sed 's/,$//'; }
container() { # NAME LINUX COMMAND...
    printf '{"1": "%s", "3": %s, "2": {"1": {"1": "%s", "2": %s}, "2": {"1": "docker.io/library/pause:latest"}, "11": "%s.log",' \
        "$POD" "$SANDBOX" "$1" "$ATTEMPT" "$1"
    printf '"15": %s, "7": [%s], "3": [%s]}}' "$2" "$MOUNTS" "$(strings "${@:3}")"
}
# What a command in a container printed (field 1), or its status (3).
exec_sync() { cri ExecSync "{\"1\": \"$1\", \"2\": [$(strings "${@:3}")], \"3\": 60}" "$2"; } # ID FIELD COMMAND...
has_exited() { [ "$(cri ContainerStatus "{\"1\": \"$1\"}" 1.3)" = 2 ]; }
# Makes and starts a container, whose id is then in the variable of its name.
start() { # NAME LINUX COMMAND...
    local id
    id=$(cri CreateContainer "$(container "$@")" 1 2>&1)
    printf -v "$1" %s "$id"
    check "create-$1" 0 '^[0-9a-f]{64}$' echo "$id"
    check "start-$1" 0 '' cri StartContainer "{\"1\": \"$id\"}"
}
LIMIT_OF='cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true'

