"""From a candidate to what serves: the gate, the registry, promotion and rollback, the card."""
