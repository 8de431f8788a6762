"""Hugging Face models: loading, saving, token counting, decoding."""
