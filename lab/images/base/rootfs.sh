#!/bin/sh
# rootfs.sh SUITE ARCHIVE CERTIFICATES [SOURCE...]: a small Debian as a tar file that also trusts the *.crt files of the
# folder CERTIFICATES. Without lines for its list of sources, mmdebstrap takes Debian's own mirrors.
set -eu
suite=$1
archive=$2
export CERTIFICATES="$3"
shift 3

# As in the official slim images: no recommended packages, no translations, no manuals. Nothing here outlives a crash,
# so nothing has to wait for the disk. policy-rc.d: packages must not start services, because no init system runs here.
exec mmdebstrap --mode=root --format=tar --variant=minbase --include=ca-certificates \
    --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
    --skip=output/dev,chroot/policy-rc.d \
    --aptopt='APT::Install-Recommends "false"' \
    --aptopt='Acquire::Languages "none"' \
    --aptopt='Acquire::GzipIndexes "true"' \
    --aptopt='DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; }' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt=force-unsafe-io \
    --customize-hook='printf "#!/bin/sh\nexit 101\n" > "$1/usr/sbin/policy-rc.d"; chmod 755 "$1/usr/sbin/policy-rc.d"' \
    --customize-hook='cp "$CERTIFICATES"/*.crt "$1/usr/local/share/ca-certificates/" 2>/dev/null || true' \
    --customize-hook='chroot "$1" update-ca-certificates' \
    --customize-hook='rm -rf "$1"/var/log/* "$1/etc/hostname" "$1/etc/resolv.conf"' \
    "$suite" "$archive" "$@"
