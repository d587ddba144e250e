"""`podtls audit`: what an auditor reads."""
