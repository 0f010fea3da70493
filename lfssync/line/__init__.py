"""The line that every change takes: watch, scan, settle, stage, secure, commit, push, verify.

`pipeline` runs one pass of it; each step is a module of its own, and none calls back.
"""
