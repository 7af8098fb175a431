"""From files and options to a validated spec."""
