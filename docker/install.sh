#!/bin/sh
# Installs the contents of both images in two steps, so that a new worker does not rebuild the layer with Python:
#   install.sh base VERSION   system packages, uv, and the base virtual environment with this Python version
#   install.sh worker         the program in /opt/worker-tetra/dist, which runs on /opt/worker-tetra/bin/node
# Works as root on any Debian or Ubuntu, also without Docker.
set -eu

ROOT=/opt/worker-tetra
TINI_VERSION=0.19.0

# The version of a package that the worker itself also installs.
version_of() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" "$ROOT/versions.json"; }

base() {
    version=$1
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    apt-get install -y -q --no-install-recommends ca-certificates git util-linux zstd "tini=$TINI_VERSION-*"

    # Uses the image's interpreter if it has the right version.
    python=
    for candidate in /opt/conda/bin/python /usr/local/bin/python3 python3; do
        found=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        if [ "$found" = "$version" ]; then
            python=$(command -v "$candidate")
            break
        fi
    done
    any=${python:-$(command -v python3 || true)}
    if [ -z "$any" ]; then
        apt-get install -y -q --no-install-recommends python3
        any=$(command -v python3)
    fi
    if ! "$any" -m pip --version >/dev/null 2>&1; then
        apt-get install -y -q --no-install-recommends python3-pip
    fi
    apt-get clean
    rm -rf /var/lib/apt/lists/*

    # The variable instead of the flag, which pip 22.0 (Ubuntu 22.04) does not have.
    PIP_ROOT_USER_ACTION=ignore "$any" -m pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps \
        --target "$ROOT/uv" "uv==$(version_of uv)"
    ln -sf "$ROOT/uv/bin/uv" /usr/local/bin/uv

    # System site packages: packages of the image, PyTorch in particular, are available to jobs.
    export UV_PYTHON_INSTALL_DIR="$ROOT/python" UV_NO_CACHE=1 UV_LINK_MODE=copy
    uv venv --quiet --python "${python:-$version}" --system-site-packages "$ROOT/base"
    uv pip install --quiet --python "$ROOT/base/bin/python" --compile-bytecode \
        "cloudpickle==$(version_of cloudpickle)" -r "$ROOT/requirements.txt"
    uv pip install --quiet --python "$ROOT/base/bin/python" --compile-bytecode --no-deps \
        -r "$ROOT/requirements-runpod.txt"
}

worker() {
    # The machine puts the archive of a deployed app below /root. With --user, the worker must be able to reach it, and to
    # unpack it into /app.
    mkdir -p /app
    chmod 1777 /app
    chmod a+x /root
    printf '#!/bin/sh\nexec %s/bin/node %s/dist/bin.mjs "$@"\n' "$ROOT" "$ROOT" \
        >/usr/local/bin/worker-tetra
    chmod 755 /usr/local/bin/worker-tetra
    packages=$("$ROOT/base/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    ln -sfn "$ROOT/runpod_sdk_runtime" "$packages/runpod_sdk_runtime"
    "$ROOT/base/bin/python" -m compileall -q "$ROOT/dist/python" "$ROOT/runpod_sdk_runtime"
    # Run as the worker's user: these runs fill Node's compile cache, and build the virtual environment in /app for
    # containers without a volume.
    export WORKER_PYTHON="$ROOT/base/bin/python" WORKER_IMAGE_PYTHON="$ROOT/base/bin/python"
    worker-tetra start --test_input '{"input": {"function_name": "f", "function_code": "def f(): pass"}}'
    report=$(worker-tetra doctor) || { printf '%s\n' "$report" >&2; exit 1; }
    rm -rf "$HOME/.cache/uv"
}

case ${1-} in
base) base "${2:?expected a Python version, such as 3.12}" ;;
worker) worker ;;
*)
    echo "usage: install.sh base VERSION | install.sh worker" >&2
    exit 2
    ;;
esac
