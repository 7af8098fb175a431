"""specgen compiles a YAML description of a neural network to PyTorch and ONNX."""
