"""From x to logits: a stem that reads x, a backbone, and one head per target."""
