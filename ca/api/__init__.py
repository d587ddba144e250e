"""The CA API: what answers a pod that enrolls."""
