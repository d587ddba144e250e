"""The stand-in for Kube DNS and kube-proxy."""
