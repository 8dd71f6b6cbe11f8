"""Starts this worker in place of RunPod's runtime package of the same name.

With `image=`, SDK 2.0 starts the container by a command that runs one of these modules. It installs the package from
PyPI only if it can't be imported.
"""
