module gitlab-dind-runners/toolchain/oci-wrapper

go 1.19
