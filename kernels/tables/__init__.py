"""Draws the tables that say how views are shown, by pure functions of a key."""
