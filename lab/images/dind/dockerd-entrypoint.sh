#!/bin/sh
# Starts dockerd as the official docker:dind image does: with no arguments, or with options only, it makes the
# certificates, adds the listeners and passes the options on; `dockerd ...` is started as it is; anything else is run.
set -eu

CERTIFICATE_DAYS=825

# Keys are kept and certificates made anew at every start, because the container's addresses change.
make_key() {
    [ -s "$1" ] || { (umask 077; openssl ecparam -name prime256v1 -genkey -noout -out "$1.new"); mv "$1.new" "$1"; }
}

# The names and addresses under which clients may reach this daemon, as one subjectAltName.
subject_alt_names() {
    {
        ip -oneline address | awk '{ sub(/\/.*/, "", $4); print "IP:" $4 }'
        printf 'DNS:%s\n' docker localhost "$(hostname)"
        echo "${DOCKER_TLS_SAN:-}" | tr ', ' '\n\n' | sed '/^$/d'
    } | sort -u | paste -sd, -
}

# issue DIRECTORY SUBJECT EXTENSIONS: a key and a certificate signed by our CA, and the CA's certificate beside them.
issue() {
    mkdir -p "$1"
    make_key "$1/key.pem"
    printf '%s\n' "$3" > "$1/openssl.cnf"
    openssl req -new -key "$1/key.pem" -subj "$2" -out "$1/csr.pem"
    openssl x509 -req -in "$1/csr.pem" -CA "$certs/ca/cert.pem" -CAkey "$certs/ca/key.pem" -CAcreateserial \
        -days "$CERTIFICATE_DAYS" -extfile "$1/openssl.cnf" -out "$1/cert.pem.new" 2>/dev/null
    rm "$1/csr.pem" "$1/openssl.cnf"
    mv "$1/cert.pem.new" "$1/cert.pem"
    cp "$certs/ca/cert.pem" "$1/ca.pem.new"
    mv "$1/ca.pem.new" "$1/ca.pem"
    openssl verify -CAfile "$1/ca.pem" "$1/cert.pem"
}

make_certificates() {
    certs=$1
    if [ -s "$certs/server/ca.pem" ] && [ -s "$certs/server/cert.pem" ] && [ -s "$certs/server/key.pem" ] \
        && [ ! -s "$certs/ca/key.pem" ]; then
        # Somebody else manages the CA and keeps its key elsewhere; what is wrong is said, and left to them.
        openssl verify -CAfile "$certs/server/ca.pem" "$certs/server/cert.pem" || true
        return
    fi
    mkdir -p "$certs/ca"
    make_key "$certs/ca/key.pem"
    # Kept until its last month: clients that hold the CA's certificate stay valid across restarts.
    if ! openssl x509 -checkend 2592000 -noout -in "$certs/ca/cert.pem" >/dev/null 2>&1; then
        openssl req -new -x509 -key "$certs/ca/key.pem" -subj '/CN=docker:dind CA' -days "$CERTIFICATE_DAYS" \
            -out "$certs/ca/cert.pem.new"
        mv "$certs/ca/cert.pem.new" "$certs/ca/cert.pem"
    fi
    issue "$certs/server" '/CN=docker:dind server' "subjectAltName=$(subject_alt_names)"
    issue "$certs/client" '/CN=docker:dind client' 'extendedKeyUsage=clientAuth'
    # Whoever has the volume is a client, whichever user it runs as.
    chmod 755 "$certs/client"
    chmod 644 "$certs/client/key.pem"
}

# A container has no boot that would clear these, and a number in them may now belong to another process.
remove_stale_pid_files() {
    find /run /var/run \( -iname 'docker*.pid' -o -iname 'containerd*.pid' \) -delete 2>/dev/null || true
}

# On cgroup v2 a group with processes cannot hand controllers to children, so our own processes step aside.
prepare_cgroups() {
    [ -f /sys/fs/cgroup/cgroup.controllers ] || return 0
    mkdir -p /sys/fs/cgroup/init
    xargs -rn1 < /sys/fs/cgroup/cgroup.procs > /sys/fs/cgroup/init/cgroup.procs 2>/dev/null || true
    sed -e 's/ / +/g' -e 's/^/+/' < /sys/fs/cgroup/cgroup.controllers > /sys/fs/cgroup/cgroup.subtree_control || true
}

use_legacy_iptables_where_nft_fails() {
    iptables -nL >/dev/null 2>&1 && return 0
    modprobe ip_tables 2>/dev/null || true
    update-alternatives --set iptables /usr/sbin/iptables-legacy >/dev/null
    update-alternatives --set ip6tables /usr/sbin/ip6tables-legacy >/dev/null
}

# On a user-defined network the container's resolver is Docker's at 127.0.0.11, out of reach for containers in here:
# without this they would be given 8.8.8.8. Prints the option that names the relay.
relay_dns_unless_configured() {
    grep -q '^nameserver 127\.0\.0\.11$' /etc/resolv.conf || return 0
    grep -qs '"dns"' /etc/docker/daemon.json && return 0
    for option; do case $option in --dns | --dns=*) return 0 ;; esac; done
    address=$(ip -oneline -4 address show scope global | awk '{ sub(/\/.*/, "", $4); print $4; exit }')
    [ -n "$address" ] || return 0
    dns-relay "$address:53" 127.0.0.11:53 >&2 &
    echo "--dns=$address"
}

if [ $# -eq 0 ] || [ "${1#-}" != "$1" ]; then
    case "${DOCKER_HOST:-}" in
        unix://*) socket=$DOCKER_HOST ;;
        *) socket=unix:///var/run/docker.sock ;;
    esac
    if [ -n "${DOCKER_TLS_CERTDIR:-}" ]; then
        make_certificates "$DOCKER_TLS_CERTDIR"
        set -- --host="$socket" --host=tcp://0.0.0.0:2376 --tlsverify \
            --tlscacert "$DOCKER_TLS_CERTDIR/server/ca.pem" --tlscert "$DOCKER_TLS_CERTDIR/server/cert.pem" \
            --tlskey "$DOCKER_TLS_CERTDIR/server/key.pem" "$@"
    else
        set -- --host="$socket" --host=tcp://0.0.0.0:2375 "$@"
    fi
    set -- dockerd "$@"
fi

if [ "$1" = dockerd ]; then
    export container=docker
    remove_stale_pid_files
    prepare_cgroups
    use_legacy_iptables_where_nft_fails
    # Builds and containers leave orphans behind: process 1 has to collect them.
    set -- docker-init -- "$@" $(relay_dns_unless_configured "$@")
fi
exec "$@"
