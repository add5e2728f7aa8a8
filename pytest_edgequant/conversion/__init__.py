"""Making variants of a model: sources, the variants' registry, conversion, and checks."""
