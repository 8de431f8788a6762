"""Fine-tuning of text-to-text models: knows rows of `id, source, target, references`, not SQuAD."""
