"""Evidence: the durable record of every patch and every certificate."""
