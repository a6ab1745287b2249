"""Labels that are probably wrong, as runs say that were not trained on them, and faces that are there twice."""
