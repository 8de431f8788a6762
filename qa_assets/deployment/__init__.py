"""From a Hugging Face directory to what serves: the ONNX graph and the Spark NLP pipeline."""
