"""What the sandbox needs of Linux: namespaces, mounts, processes, packets."""
