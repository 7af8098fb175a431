"""YAML 1.2, read with the parser of PyYAML, which implements YAML 1.1."""
