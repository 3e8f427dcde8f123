"""Clusters and requests for their nodes."""
