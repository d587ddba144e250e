"""What we try podtls with: a sandbox, a demo, a real cluster and benchmarks. Never in a wheel or an image."""
