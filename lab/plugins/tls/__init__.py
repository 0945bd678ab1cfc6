"""The `tls` plugin: keys, certificate requests and certificates, made in memory."""
