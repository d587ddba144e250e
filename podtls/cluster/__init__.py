"""What `podtls check` and `podtls status` read of a cluster, and what they make of it. Nothing is ever written."""
