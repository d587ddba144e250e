"""The nginx.conf of a pod and what it depends on."""
