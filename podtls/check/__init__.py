"""`podtls check`: whether an installation is sound."""
