"""Who runs the line, and when: the daemon, its workers, and the socket by which commands reach them.

`operations` is the same for commands without a daemon.
"""
