"""Training one recipe: the loop and what it is made of."""
