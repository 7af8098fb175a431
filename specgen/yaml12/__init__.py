"""YAML 1.2, read with the parser of PyYAML, which is for YAML 1.1."""
