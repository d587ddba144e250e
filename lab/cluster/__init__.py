"""A real Kubernetes on one machine, for tests, benchmarks and a person to play with."""
