"""Views: the stored faces shown through their tables."""
