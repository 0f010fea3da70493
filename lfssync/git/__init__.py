"""Everything that talks to git: the commands, the working copy, commits, merges and pushes.

Nothing outside this package starts git by itself, but for the git-lfs transfer.
"""
