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
targets: idx weights checkpoint plan arguments cifar csv npy config runs tasks rules layers pages; without one, all
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
: "${targets:=idx weights checkpoint plan arguments cifar csv npy config runs tasks rules layers pages}"

# The longest input of a target, in bytes.
longest() {
    case "$1" in
        checkpoint | cifar | npy) echo 8192 ;;
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
pids=''
trap 'rm -rf "$scratch"' EXIT
# A process in the background does not see Ctrl-C.
trap 'kill $pids 2>/dev/null || true; exit 130' INT TERM
mkdir -p fuzz/found

# The options of libFuzzer for a target. Without the entropic schedule, which costs more than running an input where so much code is reached.
options() {
    printf '%s ' -entropic=0 "-max_len=$(longest "$1")" -timeout=10 -rss_limit_mb=512 "-artifact_prefix=fuzz/found/$1-"
    if [ -f "fuzz/dictionaries/$1.dict" ]; then printf '%s' "-dict=fuzz/dictionaries/$1.dict"; fi
}

# Feeds a target in the background.
feed() {
    mkdir -p "fuzz/corpus/$1" "${new:-$scratch}/$1" "fuzz/crashes/$1"
    if [ -n "$runs" ]; then much="-runs=$runs"; else much="-max_total_time=$seconds"; fi
    # The first folder is the one that new inputs go to.
    # shellcheck disable=SC2046 # words of their own
    "$built/release/fuzz-$1" $(options "$1") "$much" -print_final_stats=1 "${new:-$scratch}/$1" "fuzz/corpus/$1" "fuzz/crashes/$1" \
        >"$scratch/$1.log" 2>&1 &
    pids="$pids $!"
}

# Makes a target's corpus anew, by edges alone, not by how often each is taken: far fewer inputs.
merge() {
    mkdir "$scratch/merged"
    # shellcheck disable=SC2046
    "$built/release/fuzz-$1" $(options "$1") -set_cover_merge=1 -use_counters=0 "$scratch/merged" "fuzz/corpus/$1" "${new:-$scratch}/$1" \
        >"$scratch/$1.log" 2>&1 || { cat "$scratch/$1.log" >&2; exit 1; }
    rm -rf "fuzz/corpus/$1"
    mv "$scratch/merged" "fuzz/corpus/$1"
}

# As many targets at a time as there are processors.
processors=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
failed=''
# shellcheck disable=SC2086 # names
set -- $targets
while [ $# -gt 0 ]; do
    now=''
    while [ $# -gt 0 ] && [ "$(echo "$now" | wc -w)" -lt "$processors" ]; do
        feed "$1"
        now="$now $1"
        shift
    done
    printf 'fuzz.sh:%s\n' "$now"
    waiting=$pids
    for target in $now; do
        pid=${waiting# }
        pid=${pid%% *}
        waiting=${waiting# "$pid"}
        if ! wait "$pid"; then
            cat "$scratch/$target.log" >&2
            failed="$failed $(sed -n 's/.*Test unit written to //p' "$scratch/$target.log")"
            continue
        fi
        grep -E '^(#[0-9]+[[:space:]]+DONE|Done |stat::(number_of_executed_units|peak_rss_mb))' "$scratch/$target.log" | sed "s/^/$target: /"
        if [ "$merge" = yes ]; then merge "$target"; fi
    done
    pids=''
done
if [ -n "$failed" ]; then
    printf 'fuzz.sh: failed; the inputs are%s. fuzz/README.md says how one becomes a test\n' "$failed" >&2
    exit 1
fi
