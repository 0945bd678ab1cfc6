module gitlab-dind-runners/toolchain/dns-relay

go 1.19
