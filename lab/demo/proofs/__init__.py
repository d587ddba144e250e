"""What the demo proves, each proof able to fail."""
