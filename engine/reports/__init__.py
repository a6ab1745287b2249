"""Shows runs to people: reports, comparisons, charts and sheets. Imports neither torch nor the rooms that train."""
