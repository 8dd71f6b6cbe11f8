"""A local package, which is part of the artifact."""
