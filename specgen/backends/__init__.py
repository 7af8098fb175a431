"""What a compiled network is written down as."""
