"""Rewrites and measures of the graph, one a file."""
