#!/bin/sh
# Everything to be tested and measured on a real GPU, in one call: make gpu, or sh benches/gpu.sh
#
#   OUT=DIR            where the figures go (default target/gpu); paths are taken from the repository's root
#   SOFTWARE=1         go on where the only adapter is a program that imitates a GPU
#   ZILCH=FILE         a built program; the tests and kernels are then left out, since they need cargo
#   PEERS_PYTHON=FILE  an interpreter with torch and jax for CUDA; else their environment is made (7 GB)
#   SECONDS_EACH=2     seconds for every rule and tile
#
# In order: what the adapter is; correctness on its driver; the tiles it likes; every rule on S, M, L and W (4096⁵),
# with launches and submissions; mixed precision where there are matrix units; the peers, turn by turn.
set -eu
cd "$(dirname "$0")/.."
out=${OUT:-target/gpu}
each=${SECONDS_EACH:-2}
mkdir -p "$out"
export ZILCH_TUNE="$out/tune.json"

say() { printf '\n== %s\n' "$*"; }

if [ -n "${ZILCH:-}" ]; then
    zilch=$ZILCH
else
    cargo build --release --locked
    zilch=${CARGO_TARGET_DIR:-target}/release/zilch
fi

command -v python3 >/dev/null 2>&1 || { echo 'gpu.sh: the peers need python3 (3.11 or later)' >&2; exit 1; }

say 'adapter'
"$zilch" info >"$out/info.txt"
cat "$out/info.txt"
if [ -z "${SOFTWARE:-}" ] && ! "$zilch" info --json | grep -q '"software": *false'; then
    echo 'gpu.sh: there is no real GPU here, and figures of a software one would say nothing' >&2
    exit 3
fi
command -v nvidia-smi >/dev/null 2>&1 &&
    nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,clocks.max.mem,power.limit --format=csv | tee -a "$out/info.txt"

if [ -z "${ZILCH:-}" ]; then
    say 'correctness on this driver'
    status=0
    cargo test --release --locked --test numerics -- --nocapture exactness:: twins:: oracle:: >"$out/tests.txt" 2>&1 || status=$?
    cat "$out/tests.txt"
    [ "$status" -eq 0 ] || { echo 'gpu.sh: tests fail on this driver; nothing is measured' >&2; exit "$status"; }
fi
say 'Z-IL against BP on this driver'
rm -rf "$out/bp" "$out/zil"
for rule in bp zil; do
    "$zilch" train --data digits --layers 784,32,32,10 --rule $rule --device gpu --updates 500 --out "$out/$rule"
done
cmp "$out/bp/weights.safetensors" "$out/zil/weights.safetensors" ||
    { echo 'gpu.sh: Z-IL and BP end with other weights; nothing is measured' >&2; exit 1; }
echo 'the same weights, to the bit'

measure() { # name, layers, batch
    say "$1: $2, batch $3"
    "$zilch" tune --layers "$2" --batch "$3" --device gpu --seconds "$each" >"$out/tune-$1.txt"
    "$zilch" compare --layers "$2" --batch "$3" --devices gpu --seconds "$each" >"$out/compare-$1.txt"
    cat "$out/tune-$1.txt" "$out/compare-$1.txt"
    "$zilch" compare --layers "$2" --batch "$3" --devices gpu --seconds "$each" --json >"$out/compare-$1.json"
    status=0
    "$zilch" compare --layers "$2" --batch "$3" --devices gpu --seconds "$each" --precision mixed >"$out/mixed-$1.txt" 2>&1 || status=$?
    cat "$out/mixed-$1.txt"
    # 3: the adapter has no such units.
    [ "$status" -eq 0 ] || [ "$status" -eq 3 ] || echo "gpu.sh: MIXED PRECISION FAILED, exit code $status" >&2
}
measure S 784,32,32,32,10 20
measure M 784,512,512,10 64
measure L 784,2048,2048,2048,10 256
measure W 4096,4096,4096,4096,4096 256

if [ -z "${ZILCH:-}" ]; then
    say 'kernels'
    ZILCH_BENCH_LARGE=1 cargo bench --locked --bench kernels >"$out/kernels.txt" 2>&1
    cat "$out/kernels.txt"
fi

say 'peers'
set -- --device gpu --peers torch,jax,fabricpc --zilch "$zilch" --rounds 5 --seconds 0.5 --out "$out/peers.json"
if [ -n "${PEERS_PYTHON:-}" ]; then
    set -- "$@" --peers torch,jax --main-python "$PEERS_PYTHON"
fi
python3 benches/peers/compare.py "$@" >"$out/peers.txt"
cat "$out/peers.txt"
say "figures: $out"
