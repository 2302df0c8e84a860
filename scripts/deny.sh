#!/bin/sh
# Holds the crates of zilch and of benches/products to deny.toml: licences, versions and sources always; advisories and yanked
# versions where their database can be fetched.
set -eu
cd "$(dirname "$0")/.."
CARGO="${CARGO:-cargo}"

# Versions that are there twice are told by `cargo deny check bans`; an exception for one package is none that the other needs.
check() {
    for manifest in Cargo.toml benches/products/Cargo.toml; do
        "$CARGO" deny --locked --config deny.toml --manifest-path "$manifest" check --hide-inclusion-graph \
            --allow license-exception-not-encountered --allow duplicate "$@"
    done
}

check bans licenses sources
if "$CARGO" deny --config deny.toml fetch db >/dev/null 2>&1; then
    check --disable-fetch advisories
else
    echo 'deny: advisories and yanked versions were NOT looked up: their database cannot be reached from here' >&2
fi
