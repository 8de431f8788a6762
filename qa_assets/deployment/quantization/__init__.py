"""Eight-bit weights: SmoothQuant, GPTQ, and the choice of a recipe."""
