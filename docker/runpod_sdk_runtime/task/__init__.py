"""Resources of the kind `task`."""
