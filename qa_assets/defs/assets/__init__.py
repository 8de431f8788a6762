"""The assets, a file a stage: what is made, from what, and what is worth showing of it."""
