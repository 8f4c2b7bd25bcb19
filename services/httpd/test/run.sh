#!/bin/sh
# Builds and runs the host tests under ASan and UBSan, then fuzzes for FUZZ_SECONDS (default 10). GEN: folder of the generated headers.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
root=$(cd "$here/../.." && pwd)
ring=${RING:-$root/lib/ring}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
gen=${GEN:-$out/gen}
[ -d "$gen" ] || python3 "$root/tools/idlc/idlc.py" --abi "$root/abi" --out "$gen"
flags="-std=c23 -O1 -g -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover=all -I$here/include -I$ring/include -I$gen -idirafter $root/lib/core/include"
pure="$here/src/http_parser.c $here/src/http_path.c $here/src/http_date.c $here/src/http_response.c $here/src/text.c $here/src/connection.c
$here/src/site.c $here/src/static_files.c $here/src/status_html.c $here/src/status_json.c $root/lib/core/src/fmt.c $root/lib/core/src/cpio.c
$ring/src/socket_queue.c $gen/tess/abi_names.c"
for name in parser connection status; do
    clang-19 $flags -o "$out/$name" "$here/test/${name}_test.c" $pure
    echo "$name:"; "$out/$name"
done
"$out/status" json | python3 -c 'import json, sys; json.load(sys.stdin)'
clang-19 $flags -fsanitize=fuzzer -o "$out/fuzz" "$here/test/http_fuzz.c" $pure
mkdir "$out/corpus"
printf '\377GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: "e"\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabcHEAD /%%41/../x?y HTTP/1.0\r\n\r\n' >"$out/corpus/seed"
"$out/fuzz" -max_total_time="${FUZZ_SECONDS:-10}" -max_len=16384 -verbosity=0 "$out/corpus" 2>"$out/log" || { cat "$out/log"; exit 1; }
echo "fuzz: no finding"
