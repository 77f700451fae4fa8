#!/bin/sh
# Simulates a build of 60 steps, five a second: progress on standard output, a warning now and then on standard error, and the
# details in ../../target/demo.log.
set -eu
cd "$(dirname "$0")/../.."
mkdir -p target
log=target/demo.log

# Each build appends to the log. At 1 MB, the log is rotated, as logrotate would do.
if [ -f "$log" ] && [ "$(wc -c < "$log")" -gt 1000000 ]; then
    mv "$log" "$log.1"
fi

detail() {
    printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >> "$log"
}

detail "build $$ started"
steps=60
step=1
while [ "$step" -le "$steps" ]; do
    printf '[%3d%%] Building object part-%02d.o\n' $((step * 100 / steps)) "$step"
    detail "part-$step: compiled with -O2, $((step * 37 % 91 + 9)) kB"
    if [ $((step % 17)) -eq 0 ]; then
        echo "part-$step.c:$((step * 7)): warning: unused variable 'spare'" >&2
        detail "part-$step: one warning"
    fi
    step=$((step + 1))
    sleep 0.2
done
echo "Built target demo"
detail "build $$ finished"
