"""What knows a SQuAD question: reading, validating, splitting, prompts and the official metric."""
