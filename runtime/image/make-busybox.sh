#!/bin/sh
# Makes the embedded image: an OCI archive of Debian's busybox-static. The same busybox gives the
# same bytes: names sorted, owners 0, times 0.
#
#   make-busybox.sh /bin/busybox OUTPUT.tar
set -eu
umask 022
export LC_ALL=C

busybox=$1
output=$2
if [ ! -x "$busybox" ] || ldd "$busybox" >/dev/null 2>&1; then
    echo "$busybox is missing or not static; install the package busybox-static" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

root=$work/root
layout=$work/layout
mkdir -p "$root/bin" "$root/etc" "$root/root" "$root/tmp" "$root/var/spool/mail" "$root/usr/bin" \
    "$root/usr/sbin" "$root/sbin" "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/home" \
    "$layout/blobs/sha256"
cp "$busybox" "$root/bin/busybox"
chmod 755 "$root/bin/busybox"
"$busybox" --list-full | while read -r applet; do
    [ "$applet" = linuxrc ] || [ -e "$root/$applet" ] || {
        mkdir -p "$root/${applet%/*}"
        ln "$root/bin/busybox" "$root/$applet"
    }
done
chmod 700 "$root/root"
chmod 1777 "$root/tmp"
cat >"$root/etc/passwd" <<'END'
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
mail:x:8:8:mail:/var/spool/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
END
cat >"$root/etc/group" <<'END'
root:x:0:
daemon:x:1:
bin:x:2:
tty:x:5:
mail:x:8:
www-data:x:33:
users:x:100:
nobody:x:65534:
END

# pack DIRECTORY OUTPUT: the same bytes for the same tree
pack() {
    tar --create --file="$2" --directory="$1" --format=gnu --sort=name --mtime=@0 --owner=0 \
        --group=0 --numeric-owner .
}

# blob FILE: moves it into the layout; sets $digest (hex) and $size
blob() {
    digest=$(sha256sum "$1" | cut -d' ' -f1)
    size=$(stat -c %s "$1")
    mv "$1" "$layout/blobs/sha256/$digest"
}

case $(uname -m) in
x86_64) architecture=amd64 ;;
aarch64) architecture=arm64 ;;
*) echo "no name known for the architecture $(uname -m)" >&2; exit 1 ;;
esac

pack "$root" "$work/layer.tar"
diff_id=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
gzip -n -9 "$work/layer.tar"
blob "$work/layer.tar.gz"
layer='{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:'$digest'","size":'$size'}'

path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
printf '%s' '{"created":"1970-01-01T00:00:00Z","architecture":"'$architecture'","os":"linux",' \
    '"config":{"Env":["PATH='$path'"],"Cmd":["sh"]},' \
    '"rootfs":{"type":"layers","diff_ids":["sha256:'"$diff_id"'"]},' \
    '"history":[{"created":"1970-01-01T00:00:00Z","created_by":"busybox-static"}]}' >"$work/config"
blob "$work/config"
config='{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:'$digest'","size":'$size'}'

printf '%s' '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",' \
    '"config":'"$config"',"layers":['"$layer"']}' >"$work/manifest"
blob "$work/manifest"
printf '%s' '{"schemaVersion":2,"manifests":[{"mediaType":' \
    '"application/vnd.oci.image.manifest.v1+json","digest":"sha256:'"$digest"'","size":'"$size"',' \
    '"platform":{"architecture":"'$architecture'","os":"linux"},"annotations":{' \
    '"io.containerd.image.name":"docker.io/library/busybox:latest",' \
    '"org.opencontainers.image.ref.name":"latest"}}]}' >"$layout/index.json"
printf '%s' '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
chmod -R u=rwX,go=rX "$layout"

pack "$layout" "$work/output.tar"
mkdir -p "$(dirname "$output")"
mv "$work/output.tar" "$output"
