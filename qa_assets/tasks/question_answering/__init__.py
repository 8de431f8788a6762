"""Question answering on texts in the format of SQuAD."""
