"""A compiler from a YAML spec of a neural network to PyTorch code and ONNX."""

__version__ = "0.1.0"
