"""`podtls inject` and `podtls uninject`: the webhook's patch, offline."""
