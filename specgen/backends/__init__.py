"""The outputs of a compiled network: PyTorch, ONNX, reports."""
