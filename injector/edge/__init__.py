"""The edge proxy: the Nginx before our own apps."""
