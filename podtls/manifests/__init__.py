"""The manifests that are shipped with this command: read as objects, and written to a folder by `podtls manifests`."""
