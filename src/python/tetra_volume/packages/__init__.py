"""Packages that are installed in virtual environments."""
