"""`podtls status`: which pods are enrolled, which are not, and why."""
