#!/bin/sh
# Hands every shader to compilers other than naga: the WGSL to Chromium's, the SPIR-V to spirv-val. The shaders are written by a
# test of the crate; its cargo command is in CARGO_TEST. Where ZILCH_WGSL names a folder that a run of the tests has written them to,
# they are taken from there.
set -eu
cd "$(dirname "$0")/.."

say() {
    printf 'wgsl.sh: %s\n' "$*" >&2
}

has_browser() {
    [ -n "${CHROMIUM:-}" ] || command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 \
        || command -v google-chrome >/dev/null 2>&1
}

is_ready() {
    has_browser && command -v spirv-val >/dev/null 2>&1
}

if ! is_ready; then
    # Debian alone has both as packages; Ubuntu's chromium is a snap, which a container cannot run.
    if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" -eq 0 ]; then
        say 'installing chromium and spirv-tools'
        apt-get update -q >&2 || true # a source that fails may be none of ours; the install decides
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends chromium spirv-tools >&2 </dev/null || true
    fi
    is_ready || {
        say 'Chromium (or Chrome; CHROMIUM may name its program) and spirv-val are needed; on Debian: apt-get install chromium spirv-tools'
        exit 1
    }
fi

if [ -n "${ZILCH_WGSL:-}" ] && [ -e "$ZILCH_WGSL/shaders.json" ]; then
    exec python3 -B scripts/wgsl.py "$ZILCH_WGSL"
fi
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
# shellcheck disable=SC2086 # a command and its options
ZILCH_WGSL="$folder" ${CARGO_TEST:-cargo test --package zilch --release --locked} --lib -- \
    --exact device::gpu::kernels::tests::every_shader_validates_and_is_written_to_spirv_msl_and_hlsl
python3 -B scripts/wgsl.py "$folder"
