"""Shows stored faces through their tables."""
