"""From a Hugging Face directory to what serves: engines, int8, parity with transformers."""
