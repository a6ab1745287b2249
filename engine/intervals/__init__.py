"""Says how sure figures are: answers picture by picture, which of them belong together, and draws of them."""
