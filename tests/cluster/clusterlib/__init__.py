"""A single-node Kubernetes made of packages alone, for the end-to-end tests."""
