"""`podtls audit`: records listed, shown and compared with pods, for an auditor."""
