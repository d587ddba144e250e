"""The stand-in for kube-apiserver."""
