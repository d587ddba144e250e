"""What an installation of podtls consists of: kustomize base, components and overlays, shipped as package data."""
