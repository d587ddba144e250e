"""What the commands read of a cluster."""
