#!/bin/bash
# Makes the database on the first start from POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB, then runs postgres.
set -euo pipefail

make_database() {
    local user=${POSTGRES_USER:-postgres} method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
    local database=${POSTGRES_DB:-$user}
    if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "$method" != trust ]; then
        echo "Error: POSTGRES_PASSWORD is empty and the database is new: set it (or POSTGRES_HOST_AUTH_METHOD=trust)." >&2
        exit 1
    fi
    local password=()
    [ -z "${POSTGRES_PASSWORD:-}" ] || password=(--pwfile=/dev/stdin)
    initdb --pgdata="$PGDATA" --username="$user" --encoding=UTF8 --auth-local=trust --auth-host="$method" \
        "${password[@]}" <<< "${POSTGRES_PASSWORD:-}"
    echo "host all all all $method" >> "$PGDATA/pg_hba.conf"
    # Without a server, so that no health check succeeds before the database is there.
    if [ "$database" != postgres ]; then
        postgres --single -D "$PGDATA" postgres <<< "CREATE DATABASE \"${database//\"/\"\"}\"" >/dev/null
    fi
}

if [ $# -eq 0 ] || [ "${1#-}" != "$1" ]; then
    set -- postgres "$@"
fi
if [ "$1" != postgres ]; then
    exec "$@"
fi
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /var/run/postgresql
    chown postgres:postgres "$PGDATA" /var/run/postgresql
    chmod 700 "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$BASH_SOURCE" "$@"
fi
[ -s "$PGDATA/PG_VERSION" ] || make_database
shift
exec postgres -c listen_addresses='*' "$@"
