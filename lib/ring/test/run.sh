#!/bin/sh
# Builds and runs the host tests of lib/ring: unit tests under ASan and UBSan, threads under TSan, a short fuzz run.
# usage: run.sh [build directory] [fuzz runs]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$(mktemp -d)}
runs=${2:-200000}
cc=${CC:-clang-19}
flags="-std=c23 -D_POSIX_C_SOURCE=200809L -O1 -g -Wall -Wextra -Werror -fno-sanitize-recover=all -I$here/../include -I$here/../../core/include"
sources="$here/../src/socket_queue.c $here/../src/frame_queue.c"
mkdir -p "$out"
for test in socket_queue_test frame_queue_test; do
    $cc $flags -fsanitize=address,undefined -o "$out/$test" "$here/$test.c" $sources
    "$out/$test"
done
$cc $flags -fsanitize=thread -o "$out/ring_thread_test" "$here/ring_thread_test.c" $sources -lpthread
timeout 120 "$out/ring_thread_test"
$cc $flags -fsanitize=fuzzer,address,undefined -o "$out/ring_fuzz" "$here/ring_fuzz.c" $sources
timeout 300 "$out/ring_fuzz" -runs="$runs" -max_len=1024 -seed=1 -artifact_prefix="$out/" >"$out/ring_fuzz.log" 2>&1 || {
    cat "$out/ring_fuzz.log"
    exit 1
}
echo "ring fuzz: $runs runs passed"
