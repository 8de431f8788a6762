"""One module for each runtime or file format that a model is exported to."""
