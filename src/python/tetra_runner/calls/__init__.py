"""The execution of calls."""
