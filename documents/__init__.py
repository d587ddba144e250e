"""YAML and JSON documents, read as kubectl reads them and edited in place. Knows nothing of Kubernetes or podtls."""
