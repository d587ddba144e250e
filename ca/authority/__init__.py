"""Root, issuing CA and the leaves they sign."""
