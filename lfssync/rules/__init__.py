"""The rules, as pure functions and values without I/O: names, ignore patterns, what is LFS, groups, times to wait.

They stand right above the words of `model`; every other package may ask them.
"""
