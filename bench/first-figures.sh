#!/usr/bin/env bash
# First figures of a produce and consume run: bench/first-figures.sh BINARY BOOTSTRAP [PID of the broker]
# BINARY is the release build of streamhouse; the broker at BOOTSTRAP may be any that speaks Kafka.
set -euo pipefail
binary=$1 bootstrap=$2 pid=${3:-}

cpu() { [ -n "$pid" ] && awk '{print ($14+$15)/100}' "/proc/$pid/stat" || echo 0; }
rss() { [ -n "$pid" ] && awk '/VmHWM/ {print $2" kB peak"}' "/proc/$pid/status" || true; }

run() {
    local before after
    before=$(cpu)
    echo "\$ streamhouse bench $*"
    "$binary" bench "$@" -b "$bootstrap"
    after=$(cpu)
    [ -n "$pid" ] && echo "broker: $(echo "$after - $before" | bc) CPU seconds, warm-up included; $(rss)"
    echo
}

date -u +%F; nproc; uname -r
for size in 100 1024; do
    for connections in 1 4; do
        run produce --topic "p$size-$connections" --record-size "$size" --connections "$connections" --seconds 5 --warm-up 1
    done
done
run produce --topic one --record-size 1024 --batch-size 1 --connections 4 --rate 5000 --seconds 10 --warm-up 2
run produce --topic large --record-size 1024 --batch-size 1048000 --connections 1 --seconds 5 --warm-up 1
if [ "${CONSUME:-yes}" = yes ]; then
    run consume --topic large --seconds 5
fi
