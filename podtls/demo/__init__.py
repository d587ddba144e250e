"""The demo: stand-ins for the API server and the kubelet, everything else real."""
