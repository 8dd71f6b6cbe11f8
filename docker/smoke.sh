#!/bin/sh
# Whether an image works: what it has, every fixture, a job as RunPod hands it out, and an end by SIGTERM.
#   docker run --rm IMAGE /opt/worker-tetra/smoke.sh
# In a GPU image with --gpus all; a fixture whose machine is not there counts as skipped, and says so.
set -eu

cd /opt/worker-tetra
echo "== doctor"
worker-tetra doctor >/tmp/doctor.txt
sed "/^Settings/,\$d" /tmp/doctor.txt

echo "== fixtures"
worker-tetra run --check fixtures/*.json

echo "== one job as RunPod hands it out"
worker-tetra start --test_input "$(cat fixtures/hello_world.json)"

echo "== load balancer, health and SIGTERM"
PORT=18080 tini -s -- worker-tetra start >/tmp/smoke.log 2>&1 &
pid=$!
tries=0
until PORT=18080 bin/node health.mjs; do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || { cat /tmp/smoke.log; exit 1; }
    sleep 0.5
done
kill -TERM "$pid"
wait "$pid"
echo "== all is well"
