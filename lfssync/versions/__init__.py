"""What people do with the history: release a version, look at versions, fetch one back.

They stand above the line, which knows nothing of them.
"""
