"""A stand-in Kubernetes for a machine without a cluster and without root."""
