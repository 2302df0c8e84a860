#!/bin/sh
# Calls rustc for cargo (RUSTC_WRAPPER) with the instrumentation that the fuzzer needs: edge coverage and compared values. Only the fuzzed
# crates get it, so that all other crates are reused from an ordinary build. The flags are those of cargo-fuzz without the sanitizer,
# which needs a nightly Rust.
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
    # Tracing comparisons and indirect calls takes two thirds of the time of `plan`, whose inputs are choices without magic numbers.
    if [ "${FUZZ_COMPARES:-yes}" = yes ]; then
        set -- "$@" -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-trace-compares
    else
        set -- "$@" -Cllvm-args=-sanitizer-coverage-level=3
    fi
fi
exec "$@"
