"""Rewrites and measurements of the graph, one per file."""
