"""The stand-in for the kubelet: pods as processes in namespaces."""
