"""Target `gke`: everything on a Kubernetes cluster."""
