#!/bin/sh
# Feeds zilch's parsers and plans with what nobody would write, and fails on a panic, a hang or too much memory. Needs a stable Rust and a
# C++ compiler. fuzz/README.md says more.
set -eu

usage() {
    cat >&2 <<'END'
usage: sh scripts/fuzz.sh [--seconds N | --runs N] [--new DIR] [--merge] [TARGET ...]
  --seconds N  feed each target for so long (60)
  --runs N     feed each target with so many inputs
  --new DIR    keep new inputs in DIR/TARGET, from where the next call goes on; else they are thrown away
  --merge      then make the corpus anew: the fewest inputs, old and new ones, that reach what all reach
targets: idx weights checkpoint plan arguments cifar config runs tasks rules layers pages; without one, all
END
    exit 2
}

seconds=60 runs='' new='' merge=no targets=''
while [ $# -gt 0 ]; do
    case "$1" in
        --seconds | --runs | --new)
            [ $# -ge 2 ] || usage
            case "$1" in
                --seconds) seconds=$2 ;;
                --runs) runs=$2 ;;
                --new) new=$2 ;;
            esac
            shift
            ;;
        --merge) merge=yes ;;
        -*) usage ;;
        *) targets="$targets $1" ;;
    esac
    shift
done
cd "$(dirname "$0")/.."
for target in $targets; do
    if [ ! -f "fuzz/targets/$target.rs" ]; then
        printf 'fuzz.sh: there is no target %s\n' "$target" >&2
        usage
    fi
done
: "${targets:=idx weights checkpoint plan arguments cifar config runs tasks rules layers pages}"

# The longest input of a target, in bytes.
longest() {
    case "$1" in
        checkpoint | cifar) echo 8192 ;;
        idx | weights | pages) echo 4096 ;;
        runs) echo 2048 ;;
        plan) echo 256 ;;
        *) echo 1024 ;;
    esac
}

if ! command -v "${CXX:-c++}" >/dev/null 2>&1; then
    echo 'fuzz.sh: libFuzzer needs a C++ compiler (c++): install g++ (Debian, Ubuntu), gcc-c++ (Fedora), gcc (Arch) or the Xcode' \
        'command line tools (macOS)' >&2
    exit 1
fi
built=${CARGO_TARGET_DIR:-target}
RUSTC_WRAPPER="$PWD/fuzz/rustc.sh" "${CARGO:-cargo}" build --release --locked --manifest-path fuzz/Cargo.toml --target-dir "$built"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM HUP
mkdir -p fuzz/found
failed=''
for target in $targets; do
    fuzz="$built/release/fuzz-$target" corpus="fuzz/corpus/$target" kept="${new:-$scratch}/$target"
    mkdir -p "$corpus" "$kept" "fuzz/crashes/$target"
    # Without the entropic schedule, which costs more than running an input where so much code is reached.
    set -- -entropic=0 -max_len="$(longest "$target")" -timeout=10 -rss_limit_mb=512 -artifact_prefix="fuzz/found/$target-"
    if [ -f "fuzz/dictionaries/$target.dict" ]; then set -- "$@" -dict="fuzz/dictionaries/$target.dict"; fi
    if [ -n "$runs" ]; then much="-runs=$runs"; else much="-max_total_time=$seconds"; fi
    printf 'fuzz.sh: %s\n' "$target"
    # The first folder is the one that new inputs go to.
    if ! "$fuzz" "$@" "$much" -print_final_stats=1 "$kept" "$corpus" "fuzz/crashes/$target" >"$scratch/log" 2>&1; then
        cat "$scratch/log" >&2
        failed="$failed $(sed -n 's/.*Test unit written to //p' "$scratch/log")"
        continue
    fi
    grep -E '^(#[0-9]+[[:space:]]+DONE|Done |stat::(number_of_executed_units|peak_rss_mb))' "$scratch/log" || true
    if [ "$merge" = yes ]; then
        mkdir "$scratch/merged"
        # By edges alone, not by how often each is taken: far fewer inputs.
        "$fuzz" "$@" -set_cover_merge=1 -use_counters=0 "$scratch/merged" "$corpus" "$kept" >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2; exit 1; }
        rm -rf "$corpus"
        mv "$scratch/merged" "$corpus"
    fi
done
if [ -n "$failed" ]; then
    printf 'fuzz.sh: failed; the inputs are%s. fuzz/README.md says how one becomes a test\n' "$failed" >&2
    exit 1
fi
