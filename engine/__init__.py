"""The training engine: recipes, views, tasks, the multi-task loop, run folders and reports."""
