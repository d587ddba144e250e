"""The demo: a namespace is labelled, two workloads speak mTLS, everything else is refused."""
