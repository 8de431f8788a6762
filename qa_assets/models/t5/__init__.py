"""The fast path for T5: its loss, and its decoding."""
