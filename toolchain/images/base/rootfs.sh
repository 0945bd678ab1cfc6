#!/bin/sh
# rootfs.sh ROOT CERTIFICATES: a small Debian in ROOT that also trusts the *.crt files of the folder CERTIFICATES.
set -eu
root=$1
certificates=$2

# Without --force-check-gpg, a missing keyring would be a warning only. The mirror is debootstrap's own choice.
debootstrap --force-check-gpg --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
    --variant=minbase --include=ca-certificates bookworm "$root"

mirror=$(sed -n 's/^deb \([^ ]*\) .*/\1/p' "$root/etc/apt/sources.list")
cat > "$root/etc/apt/sources.list" <<SOURCES
deb $mirror bookworm main
deb $mirror bookworm-updates main
deb $mirror-security bookworm-security main
SOURCES

# As in the official slim images: no recommended packages, no translations, no manuals.
cat > "$root/etc/apt/apt.conf.d/90image" <<'APT'
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };
APT
cat > "$root/etc/dpkg/dpkg.cfg.d/90image" <<'DPKG'
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/man/*
DPKG
# Packages must not start services: no init system runs here.
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"

cp "$certificates"/*.crt "$root/usr/local/share/ca-certificates/" 2>/dev/null || true
chroot "$root" update-ca-certificates

rm -rf "$root"/usr/share/doc/* "$root"/usr/share/info/* "$root"/usr/share/locale/* "$root"/usr/share/man/* \
    "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/dev/* \
    "$root/etc/hostname" "$root/etc/resolv.conf"
