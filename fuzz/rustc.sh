#!/bin/sh
# Calls rustc for cargo (RUSTC_WRAPPER), with what the fuzzer needs to see: which edges ran, and what was compared. Only the crates that
# are fuzzed get it, so that all others are those of an ordinary build. It is what cargo-fuzz sets, less the sanitizer, which needs a
# nightly Rust.
set -eu

fuzzed() {
    for word in "$@"; do
        if [ "${previous-}" = --crate-name ]; then
            case "$word" in
                zilch | zilch_cli | zilch_lab | zilch_fuzz | fuzz_* | safetensors) return 0 ;;
                *) return 1 ;;
            esac
        fi
        previous=$word
    done
    return 1
}

if fuzzed "$@"; then
    set -- "$@" --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table
    # Comparisons and indirect calls are two thirds of the time of plans, which are made of choices, not of magic numbers.
    if [ "${FUZZ_COMPARES:-yes}" = yes ]; then
        set -- "$@" -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-trace-compares
    else
        set -- "$@" -Cllvm-args=-sanitizer-coverage-level=3
    fi
fi
exec "$@"
