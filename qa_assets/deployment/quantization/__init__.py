"""Int8: activation statistics, SmoothQuant, GPTQ, ONNX graphs, and the choice of a recipe."""
