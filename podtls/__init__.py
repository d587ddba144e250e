"""The operator's command, thin over the packages below it."""
